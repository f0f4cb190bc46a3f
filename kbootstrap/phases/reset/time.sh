# shellcheck shell=sh
# The original configuration of chrony and the original state of the time services. A chrony that came with kbootstrap stays on,
# with the configuration of its package: a host needs a time service.

EDITS='/^# kbootstrap begin$/,/^# kbootstrap end$/d
s/^# off by kbootstrap: //'

configs() { changed_files /etc/chrony.conf /etc/chrony/chrony.conf; }

units() {
    for unit in systemd-timesyncd chrony chronyd; do
        case $(saved_state unit "$unit") in
            '' | absent*) ;;
            *) echo "$unit" ;;
        esac
    done
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
