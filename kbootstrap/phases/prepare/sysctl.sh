# shellcheck shell=sh
# Forwarding, and bridged traffic through iptables. Without them pods have no network. The file's name sorts last, so no other
# file overrides the values at boot.
# Params: SETTINGS ("key=value" per line)

FILE=/etc/sysctl.d/99-zz-kubernetes.conf

live() {
    for setting in $SETTINGS; do
        key=${setting%%=*}
        now=''
        path=/proc/sys/$(printf '%s' "$key" | tr . /)
        if [ -r "$path" ]; then
            read -r now <"$path" || true
        fi
        if [ "$now" != "${setting#*=}" ]; then
            echo "$key is ${now:-not there}, wanted ${setting#*=}"
        fi
    done
}

check() {
    found=0
    file_is "$FILE" "$SETTINGS" || found=1
    different=$(live)
    if [ -n "$different" ]; then
        printf '%s\n' "$different"
        found=1
    fi
    return "$found"
}

# A setting that does not exist yet comes with its module, so there is nothing to record.
save_setting() {
    path=/proc/sys/$(printf '%s' "$1" | tr . /)
    if [ -r "$path" ]; then
        save_state sysctl "$1" "$(cat "$path")"
    fi
}

apply() {
    # Before the file is written: it would change the settings if the host rebooted in between.
    for setting in $SETTINGS; do
        save_setting "${setting%%=*}"
    done
    put_file "$FILE" 644 "$SETTINGS"
    for setting in $SETTINGS; do
        run sysctl -q -w "$setting"
    done
}
