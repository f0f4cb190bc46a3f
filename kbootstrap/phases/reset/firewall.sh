# shellcheck shell=sh
# The host's firewall: on again where it was on, without the ports and networks that kbootstrap opened in firewalld or ufw. For a
# zone that nobody else has changed since, the original file is put back.

ZONES=/etc/firewalld/zones

running() { systemctl is-active --quiet firewalld 2>/dev/null; }

# The zone's file without the ports and networks that kbootstrap opened.
without_ours() {
    awk -v ports="$(saved_keys port | tr '\n' ' ')" -v sources="$(saved_keys source | tr '\n' ' ')" '
        BEGIN { opened = split(ports, port, " "); trusted = split(sources, source, " ") }
        function ours(i, part) {
            for (i = 1; i <= opened; i++) {
                split(port[i], part, "/")
                if (/<port / && index($0, "port=\"" part[1] "\"") && index($0, "protocol=\"" part[2] "\"")) return 1
            }
            for (i = 1; i <= trusted; i++) if (/<source / && index($0, "address=\"" source[i] "\"")) return 1
            return 0
        }
        !ours() { print }' "$1"
}

# The rules of a zone, without order, indentation and headings: firewalld rewrites its files in its own format.
rules() { sed 's/^[[:space:]]*//; /^$/d; /^<?xml/d; /^<\/\{0,1\}zone/d; /^<short>/d; /^<description>/d; /^<forward\/>/d' | sort; }

# The original rules of a zone: those of its file, or of the file that firewalld comes with.
rules_before() {
    if has_original "$1"; then
        rules <"$KB_STATE/before$1"
    elif [ -f "/usr/lib/firewalld/zones/${1##*/}" ]; then
        rules <"/usr/lib/firewalld/zones/${1##*/}"
    fi
}

changed_zones() {
    for zone in $(changed_files "$ZONES/*.xml"); do
        if [ -f "$zone" ] && [ "$(without_ours "$zone")" != "$(cat "$zone")" ]; then
            echo "$zone"
        fi
    done
}

# Ports that are open although they are no longer in the files: until firewalld reads the files again.
open_still() {
    running || return 0
    for zone in $(saved_keys zone); do
        permanent=$(firewall-cmd --permanent --zone="$zone" --list-ports)
        for port in $(firewall-cmd --zone="$zone" --list-ports); do
            case " $permanent " in
                *" $port "*) ;;
                *) saved_keys port | grep -xF "$port" || true ;;
            esac
        done
    done
}

# The rules that kbootstrap gave to ufw and that are still there, as ufw takes them.
ufw_rules() {
    if [ -z "$(saved_keys ufw)" ] || ! have ufw; then
        return 0
    fi
    added=$(ufw show added 2>/dev/null) || return 0
    saved_keys ufw | tr _ ' ' | while read -r rule; do
        printf '%s\n' "$added" | sed -n "s|^ufw \($rule\)\$|\1|p"
    done
}

differences() {
    changed_zones | sed 's/$/, without the ports and networks of kbootstrap/; s/^/~ /'
    open_still | sed 's/^/- open port /'
    # shellcheck disable=SC2046 # paths are words
    files_differ $(changed_files "$ZONES/*.xml.old")
    ufw_rules | sed 's/^/- ufw /'
    # shellcheck disable=SC2086 # names are words
    units_differ $KB_FIREWALLS
}

check() { show "$(differences)"; }

apply() {
    for zone in $(changed_zones); do
        if [ "$(without_ours "$zone" | rules)" = "$(rules_before "$zone")" ]; then
            put_back "$zone"
        else
            new=$(mktemp "$zone.kbXXXXXX")
            without_ours "$zone" >"$new"
            replace_with "$new" "$zone"
        fi
    done
    # shellcheck disable=SC2046 # paths are words
    put_back $(changed_files "$ZONES/*.xml.old")
    if running; then
        run firewall-cmd --reload
    fi
    ufw_rules | while read -r rule; do
        case $rule in
            'route '*) rule="route delete ${rule#route }" ;;
            *) rule="delete $rule" ;;
        esac
        # shellcheck disable=SC2086 # words
        run ufw $rule </dev/null
    done
    # shellcheck disable=SC2086 # names are words
    units_back $KB_FIREWALLS
}
