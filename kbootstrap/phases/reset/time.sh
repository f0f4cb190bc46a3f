# shellcheck shell=sh
# The original configuration of chrony and the original state of the time services. A chrony that came with kbootstrap stays on,
# with the configuration of its package, where no other service kept the time before: a host needs one.

EDITS='/^# kbootstrap begin$/,/^# kbootstrap end$/d
s/^# off by kbootstrap: //'

configs() { changed_files /etc/chrony.conf /etc/chrony/chrony.conf; }

# Other services that kept the time before, and that are still installed.
others() {
    # shellcheck disable=SC2086 # names are words
    for unit in $KB_CLOCKS systemd-timesyncd; do
        case $(saved_state unit "$unit") in
            enabled* | *' active') ! unit_there "$unit.service" || echo "$unit" ;;
        esac
    done
}

# chrony first: it cannot run beside the others.
units() {
    for unit in chrony chronyd; do
        case $(saved_state unit "$unit") in
            '') ;;
            absent*) [ -z "$(others)" ] || echo "$unit" ;;
            *) echo "$unit" ;;
        esac
    done
    others
}

differences() {
    for config in $(configs); do
        edits_left "$config" "$EDITS"
    done
    # shellcheck disable=SC2046 # units are words
    units_differ $(units)
}

check() { show "$(differences)"; }

apply() {
    for config in $(configs); do
        if [ -n "$(edits_left "$config" "$EDITS")" ]; then
            take_edits_out "$config" "$EDITS"
            run systemctl try-restart chronyd chrony 2>/dev/null || true
        fi
    done
    # shellcheck disable=SC2046 # units are words
    units_back $(units)
}
