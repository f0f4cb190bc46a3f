# shellcheck shell=sh
# Swap off, now and after a reboot: the kubelet refuses to start with swap on (failSwapOn is its default).
# Three things bring swap back at boot: /etc/fstab, systemd .swap units, and zram generators (Fedora, EL 9 and newer).

active_swap() { sed -n '2,$s/[[:space:]].*//p' /proc/swaps; }

fstab_swap() { awk '$1 !~ /^#/ && $3 == "swap" { print FNR ": " $0 }' /etc/fstab 2>/dev/null; }

# Unit files of administrators and packages; a masked one is a link to /dev/null.
swap_units() {
    for unit in /etc/systemd/system/*.swap /usr/lib/systemd/system/*.swap; do
        [ -f "$unit" ] || continue
        name=${unit##*/}
        if [ ! -L "/etc/systemd/system/$name" ] || [ "$(readlink "/etc/systemd/system/$name")" != /dev/null ]; then
            echo "$name"
        fi
    done | sort -u
}

zram_generator() {
    [ -e /usr/lib/systemd/system-generators/zram-generator ] || return 1
    [ ! -e /etc/systemd/zram-generator.conf ] || grep -q '^\[zram' /etc/systemd/zram-generator.conf
}

check() {
    found=0
    for device in $(active_swap); do
        echo "swap is on: $device"
        found=1
    done
    lines=$(fstab_swap)
    if [ -n "$lines" ]; then
        printf '%s\n' "$lines" | sed 's/^/fstab line /'
        found=1
    fi
    for unit in $(swap_units); do
        echo "unit $unit turns swap on at boot"
        found=1
    done
    if zram_generator; then
        echo "zram-generator makes compressed swap at boot"
        found=1
    fi
    return "$found"
}

apply() {
    for device in $(active_swap); do
        save_state swap "$device"
    done
    if [ -n "$(active_swap)" ]; then
        run swapoff -a
    fi
    if [ -n "$(fstab_swap)" ]; then
        keep_original /etc/fstab
        new=$(mktemp /etc/fstab.kbXXXXXX)
        awk '$1 !~ /^#/ && $3 == "swap" { print "# off by kbootstrap: " $0; next } { print }' /etc/fstab >"$new"
        replace_with "$new" /etc/fstab
    fi
    for unit in $(swap_units); do
        # The mask is a link of the same name, so the unit file in /etc is removed first.
        if [ -f "/etc/systemd/system/$unit" ]; then
            keep_original "/etc/systemd/system/$unit"
            rm -f "/etc/systemd/system/$unit"
        fi
        save_state mask "$unit"
        run systemctl mask --now "$unit"
    done
    if zram_generator; then
        put_file /etc/systemd/zram-generator.conf 644 '# off by kbootstrap: an empty file makes no zram device'
    fi
}
