# shellcheck shell=sh
# The host's firewall stays on. The ports of this role are opened where the node's address is, in firewalld (in the zone of
# that interface) or in ufw. Pod and Service networks are trusted. Other services that write packet filter rules are named.
# Params: PORTS ("6443/tcp 8472/udp ..."), SOURCES (networks, addresses), POD_CIDR, NODE_IP

UFW_RULES=/etc/ufw/user.rules

firewalld() { systemctl is-active --quiet firewalld 2>/dev/null; }

ufw_on() { grep -qs '^ENABLED=yes' /etc/ufw/ufw.conf; }

# The zone of the interface with the node's address.
zone() {
    at=$(ip -o -4 addr show | awk -v address="$NODE_IP" '{ split($4, own, "/"); if (own[1] == address) { print $2; exit } }')
    if its=$(firewall-cmd --get-zone-of-interface="$at" 2>/dev/null) && [ -n "$its" ]; then
        echo "$its"
    else
        firewall-cmd --get-default-zone
    fi
}

# missing ZONE [--permanent] - what is not open in firewalld.
missing() {
    in_zone=$1
    shift
    opened=$(firewall-cmd "$@" --zone="$in_zone" --list-ports)
    for port in $PORTS; do
        case " $opened " in
            *" $port "*) ;;
            *) echo "port $port" ;;
        esac
    done
    trusted=$(firewall-cmd "$@" --zone=trusted --list-sources)
    for source in $SOURCES; do
        case " $trusted " in
            *" $source "*) ;;
            *) echo "source $source" ;;
        esac
    done
}

# ufw's rules: what ufw is told, and how its file has it, in one line each.
ufw_rules() {
    for port in $PORTS; do
        number=$(printf '%s' "${port%/*}" | tr - :)
        echo "allow $number/${port#*/}=allow ${port#*/} $number 0.0.0.0/0 any 0.0.0.0/0 in"
    done
    for source in $SOURCES; do
        echo "allow from $source=allow any any 0.0.0.0/0 any $source in"
    done
    echo "route allow from $POD_CIDR=route:allow any any 0.0.0.0/0 any $POD_CIDR in"
    echo "route allow to $POD_CIDR=route:allow any any $POD_CIDR any 0.0.0.0/0 in"
}

ufw_missing() {
    ufw_rules | awk -F= -v file="$UFW_RULES" '
        BEGIN { while ((getline line < file) > 0) if (sub(/^### tuple ### /, "", line)) { sub(/ comment=.*/, "", line); has[line] = 1 } }
        !($2 in has) { print $1 }'
}

differences() {
    if firewalld; then
        its_zone=$(zone)
        { missing "$its_zone" && missing "$its_zone" --permanent; } | sort -u | sed "s/^port .*/& (zone $its_zone)/; s/^/+ /"
    fi
    if ufw_on; then
        ufw_missing | sed 's/^/+ ufw /'
    fi
}

# Services with rules of their own, and rules of nobody: kbootstrap does not change them.
others() {
    # shellcheck disable=SC2086 # names are words
    unknown=$(services_on $KB_FIREWALLS | grep -vxE 'firewalld|ufw')
    for service in $unknown; do
        kb_report warning "$service filters packets here: let the ports $PORTS through, and $SOURCES, or set cluster.firewall: disable"
    done
    if [ -z "$unknown" ] && ! firewalld && ! ufw_on; then
        warn_of_blocking_rules
    fi
}

check() {
    others
    show "$(differences)"
}

# firewalld rewrites the zones, and keeps the old files as .old.
save_rules() {
    for each in "$1" trusted; do
        keep_original "/etc/firewalld/zones/$each.xml"
        keep_original "/etc/firewalld/zones/$each.xml.old"
    done
    save_state zone "$1"
    missing "$1" --permanent | while read -r kind rule; do
        save_state "$kind" "$rule"
    done
}

apply() {
    if firewalld; then
        its_zone=$(zone)
        save_rules "$its_zone"
        # shellcheck disable=SC2046,SC2086 # words
        run firewall-cmd --permanent --zone="$its_zone" $(printf ' --add-port=%s' $PORTS)
        # shellcheck disable=SC2046,SC2086 # words
        run firewall-cmd --permanent --zone=trusted $(printf ' --add-source=%s' $SOURCES)
        run firewall-cmd --reload
    fi
    if ufw_on; then
        ufw_missing | while read -r rule; do
            save_state ufw "$(printf '%s' "$rule" | tr ' ' _)"
            # shellcheck disable=SC2086 # words
            run ufw $rule </dev/null
        done
    fi
}
