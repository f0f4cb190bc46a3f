# shellcheck shell=sh
# The original SELinux mode, in the configuration and in the running system.

CONFIG=/etc/selinux/config

mode_of() { sed -n 's/^SELINUX=\([a-z]*\).*/\1/p' "$1"; }

edits() { echo "s/^SELINUX=.*/SELINUX=$(mode_of "$KB_STATE/before$CONFIG")/"; }

enforcing_before() {
    before=$(saved_state enforce now) || return 0
    if [ -r /sys/fs/selinux/enforce ] && [ "$(cat /sys/fs/selinux/enforce)" != "$before" ]; then
        echo "$before"
    fi
}

differences() {
    if has_original "$CONFIG"; then
        edits_left "$CONFIG" "$(edits)"
    fi
    enforcing_before | sed 's/^/~ running system: enforce is to be /'
}

check() { show "$(differences)"; }

apply() {
    if has_original "$CONFIG" && [ -n "$(edits_left "$CONFIG" "$(edits)")" ]; then
        take_edits_out "$CONFIG" "$(edits)"
    fi
    now=$(enforcing_before)
    if [ -n "$now" ]; then
        run setenforce "$now"
    fi
}
