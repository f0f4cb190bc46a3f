# shellcheck shell=sh
# The original kernel settings, and no files that set them at boot. Loaded modules stay loaded until the host reboots, because
# other programs may use them.

EDITS='s/^# off by kbootstrap: //'

paths() { changed_files /etc/sysctl.d/zzz-kubernetes.conf '/etc/modules-load.d/*'; }

# Files of others that had lines about our settings.
edited() { changed_files '*/sysctl.d/*' /etc/sysctl.conf | grep -vxF /etc/sysctl.d/zzz-kubernetes.conf; }

# A key that no longer exists was removed with its module.
settings() {
    for key in $(saved_keys sysctl); do
        path=/proc/sys/$(printf '%s' "$key" | tr . /)
        before=$(saved_state sysctl "$key")
        if [ -r "$path" ] && [ "$(cat "$path")" != "$before" ]; then
            printf '%s=%s\n' "$key" "$before"
        fi
    done
}

differences() {
    for file in $(edited); do
        edits_left "$file" "$EDITS"
    done
    settings | sed 's/^/~ /'
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
}

check() { show "$(differences)"; }

apply() {
    for file in $(edited); do
        if [ -n "$(edits_left "$file" "$EDITS")" ]; then
            take_edits_out "$file" "$EDITS"
        fi
    done
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    settings | while read -r setting; do
        run sysctl -q -w "$setting"
    done
}
