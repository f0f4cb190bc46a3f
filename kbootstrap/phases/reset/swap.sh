# shellcheck shell=sh
# The original swap: its lines in /etc/fstab, its units and services, the configuration of zram, and the devices that were on,
# with their priorities.

EDITS='s/^# off by kbootstrap: //'

paths() { changed_files '/etc/systemd/system/*.swap' '/etc/systemd/zram-generator.conf*' '/etc/rpi/*'; }

masked() {
    for unit in $(saved_keys mask); do
        if [ "$(readlink "/etc/systemd/system/$unit" 2>/dev/null)" = /dev/null ]; then
            echo "$unit"
        fi
    done
}

off() {
    for device in $(saved_keys swap); do
        if ! awk -v device="$device" 'NR > 1 && $1 == device { found = 1 } END { exit !found }' /proc/swaps; then
            echo "$device"
        fi
    done
}

differences() {
    if has_original /etc/fstab; then
        edits_left /etc/fstab "$EDITS"
    fi
    masked | sed 's/^/~ unmasked: /'
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
    # shellcheck disable=SC2086 # names are words
    units_differ $KB_SWAP_SERVICES
    off | sed 's/^/~ swap on: /'
}

check() { show "$(differences)"; }

apply() {
    if has_original /etc/fstab && [ -n "$(edits_left /etc/fstab "$EDITS")" ]; then
        take_edits_out /etc/fstab "$EDITS"
    fi
    for unit in $(masked); do
        run systemctl unmask "$unit"
    done
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    run systemctl daemon-reload
    # shellcheck disable=SC2086 # names are words
    units_back $KB_SWAP_SERVICES
    off | while read -r device; do
        swap_on "$device" "$(saved_state swap "$device")"
    done
}

# swap_on DEVICE PRIORITY - the unit that the generator writes makes zram's device. The kernel gives negative priorities itself.
swap_on() {
    case $1:$2 in
        /dev/zram*) run systemctl start "dev-${1#/dev/}.swap" ;;
        *:[0-9]*) run swapon -p "$2" "$1" ;;
        *) run swapon "$1" ;;
    esac || fail "swap on $1 cannot be turned on again" \
        "Is the device still there? reset --keep-host-settings leaves swap, and everything else of the host, as it is. [reset-leftovers]"
}
