# shellcheck shell=sh
# services.sh - systemd units.
# requires: state

# Where systemd reads units from, an earlier folder first (systemd.unit(5)). The generators write below /run.
KB_UNITS="/etc/systemd/system /run/systemd/system /run/systemd/generator /usr/local/lib/systemd/system
    /usr/lib/systemd/system /lib/systemd/system /run/systemd/generator.late"

# Services that are switched off for Kubernetes, where they are on: those that make swap, those that write packet filter rules,
# and those that set the clock beside chrony.
# shellcheck disable=SC2034 # steps use it
KB_SWAP_SERVICES="dphys-swapfile zramswap zram-config zram-swap armbian-zram-config zramd swapspace systemd-swap"
# shellcheck disable=SC2034
KB_FIREWALLS="firewalld ufw netfilter-persistent iptables ip6tables nftables"
# shellcheck disable=SC2034
KB_CLOCKS="ntpsec ntpd ntp openntpd"

# unit_there UNIT - has systemd a file of this name? Not for a masked unit, and not for another name of a unit. It costs no
# process where there is none, so hosts without the service pay next to nothing.
unit_there() {
    for kb_folder in $KB_UNITS; do
        if [ -L "$kb_folder/$1" ]; then
            kb_target=$(readlink "$kb_folder/$1")
            [ "${kb_target##*/}" = "$1" ]
            return
        elif [ -s "$kb_folder/$1" ]; then
            return 0
        fi
    done
    return 1
}

# services_on SERVICE... - print those that are there and enabled or active.
services_on() {
    for kb_unit in "$@"; do
        case $kb_unit in
            *.*) kb_file=$kb_unit ;;
            *) kb_file=$kb_unit.service ;;
        esac
        unit_there "$kb_file" || continue
        # A unit that is static, or indirectly enabled, counts only while it is active: it cannot be disabled.
        case $(unit_state "$kb_unit") in
            enabled* | *' active') echo "$kb_unit" ;;
        esac
    done
}

# services_off SERVICE... - record the state of those that are on, and switch them off.
services_off() {
    for kb_service in $(services_on "$@"); do
        save_unit_state "$kb_service"
        run systemctl disable --now "$kb_service"
    done
}

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
