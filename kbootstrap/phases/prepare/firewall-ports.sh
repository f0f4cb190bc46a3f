# shellcheck shell=sh
# firewalld stays on: the ports of this role are opened, pod and Service networks are trusted. Where firewalld does not
# run there is nothing to open.
# Params: PORTS ("6443/tcp 8472/udp ..."), SOURCES (networks)

running() { systemctl is-active --quiet firewalld 2>/dev/null; }

missing() {
    opened=$(firewall-cmd "$@" --list-ports)
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

check() {
    running || return 0
    found=$(missing && missing --permanent)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sort -u | sed 's/^/+ /'
        return 1
    fi
}

# firewalld rewrites the zones, and keeps the old files as .old.
save_rules() {
    for zone in "$(firewall-cmd --get-default-zone)" trusted; do
        keep_original "/etc/firewalld/zones/$zone.xml"
        keep_original "/etc/firewalld/zones/$zone.xml.old"
    done
    missing --permanent | while read -r kind rule; do
        save_state "$kind" "$rule"
    done
}

apply() {
    save_rules
    for port in $PORTS; do
        run firewall-cmd --permanent --add-port="$port"
    done
    for source in $SOURCES; do
        run firewall-cmd --permanent --zone=trusted --add-source="$source"
    done
    run firewall-cmd --reload
}
