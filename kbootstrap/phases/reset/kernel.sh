# shellcheck shell=sh
# The kernel's settings as they were, and no files that set them at boot. Modules that are loaded stay loaded until the host
# starts anew: whoever uses them by now is not asked.

paths() { changed_files '/etc/sysctl.d/*' '/etc/modules-load.d/*'; }

# A key without a value any more has gone with its module.
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
    settings | sed 's/^/~ /'
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
}

check() { show "$(differences)"; }

apply() {
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    settings | while read -r setting; do
        run sysctl -q -w "$setting"
    done
}
