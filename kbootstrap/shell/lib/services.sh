# shellcheck shell=sh
# services.sh - systemd units.
# requires: state

# save_unit_state UNIT... - record whether they are enabled and active, before they are changed.
save_unit_state() {
    for kb_unit in "$@"; do
        if ! saved_state unit "$kb_unit" >/dev/null; then
            save_state unit "$kb_unit" "$(unit_state "$kb_unit")"
        fi
    done
}

# unit_state UNIT - print "enabled active", "disabled inactive", "absent inactive" ... ("failed" is inactive).
unit_state() {
    kb_enabled=$(systemctl is-enabled "$1" 2>/dev/null) || true
    kb_active=$(systemctl is-active "$1" 2>/dev/null) || true
    case $kb_enabled in
        '' | not-found) kb_enabled=absent ;;
    esac
    case $kb_active in
        active | activating | reloading) kb_active=active ;;
        *) kb_active=inactive ;;
    esac
    printf '%s %s\n' "$kb_enabled" "$kb_active"
}

# service_is UNIT - is it enabled and running? Prints what is not so.
service_is() {
    kb_ok=0
    if ! systemctl is-enabled --quiet "$1" 2>/dev/null; then
        printf '%s is not enabled\n' "$1"
        kb_ok=1
    fi
    if ! systemctl is-active --quiet "$1" 2>/dev/null; then
        printf '%s is not running\n' "$1"
        kb_ok=1
    fi
    return "$kb_ok"
}

# service_on UNIT - enable it and (re)start it; show the log of one that does not start. Its state is recorded for `reset`
# unless it is on already.
service_on() {
    service_is "$1" >/dev/null || save_unit_state "$1"
    run systemctl enable "$1"
    if ! run systemctl restart "$1"; then
        journalctl -u "$1" -n 10 --no-pager 2>/dev/null || true
        return 1
    fi
}
