# shellcheck shell=sh
# Swap off, now and after a reboot: the kubelet refuses to start with swap on (failSwapOn is its default).
# Three things bring swap back at boot: /etc/fstab, systemd .swap units, and zram generators (Fedora, EL 9 and newer).

active_swap() { sed -n '2,$s/[[:space:]].*//p' /proc/swaps; }

fstab_swap() { awk '$1 !~ /^#/ && $3 == "swap" { print FNR ": " $0 }' /etc/fstab 2>/dev/null; }

swap_units() {
    systemctl list-unit-files --type=swap --no-legend --no-pager 2>/dev/null |
        awk '$2 != "masked" && $2 != "generated" && $2 != "transient" { print $1 }'
}

zram_generator() {
    [ -e /usr/lib/systemd/system-generators/zram-generator ] && [ ! -e /etc/systemd/zram-generator.conf ]
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
    if [ -n "$(active_swap)" ]; then
        run swapoff -a
    fi
    if [ -n "$(fstab_swap)" ]; then
        keep_original /etc/fstab
        new=$(mktemp /etc/fstab.kbXXXXXX)
        awk '$1 !~ /^#/ && $3 == "swap" { print "# off by kbootstrap: " $0; next } { print }' /etc/fstab >"$new"
        replace_with "$new" /etc/fstab 644
    fi
    for unit in $(swap_units); do
        run systemctl mask --now "$unit"
    done
    if zram_generator; then
        put_file /etc/systemd/zram-generator.conf 644 '# off by kbootstrap: an empty file makes no zram device'
    fi
}
