# shellcheck shell=sh
# Forwarding, and bridged traffic through iptables. Without them pods have no network. The limits of inotify are raised where they
# are lower: with many pods the kubelet, kube-proxy and the pods run out of them ("too many open files").
# The file's name sorts last. A file that is read still later, as `sysctl --system` reads /etc/sysctl.conf, loses its lines about
# these settings.
# Params: SETTINGS ("key=value" per line), MINIMUMS (the same)

FILE=/etc/sysctl.d/zzz-kubernetes.conf

path_of() { echo "/proc/sys/$(printf '%s' "$1" | tr . /)"; }

# value_of PATH - what the kernel has. `read` of dash asks for one byte at a time, and gets only the first one from /proc/sys.
value_of() { cat "$1" 2>/dev/null || true; }

# What the file should hold. A limit that is higher already stays. In a container the limits are those of the whole machine, so
# they stay too.
wanted() {
    printf '%s\n' "$SETTINGS"
    [ ! -e /run/systemd/container ] || return 0
    for setting in $MINIMUMS; do
        path=$(path_of "${setting%%=*}")
        [ -w "$path" ] || continue
        now=$(value_of "$path")
        if [ "${now:-0}" -gt "${setting#*=}" ]; then
            setting=${setting%%=*}=$now
        fi
        echo "$setting"
    done
}

live() {
    for setting in $all; do
        key=${setting%%=*}
        now=$(value_of "$(path_of "$key")")
        if [ "$now" != "${setting#*=}" ]; then
            echo "$key is ${now:-not there}, wanted ${setting#*=}"
        fi
    done
}

# The files that are read after ours.
later_files() {
    for folder in /etc /run /usr/local/lib /usr/lib; do
        for file in "$folder"/sysctl.d/*.conf; do
            [ ! -f "$file" ] || [ -L "$file" ] || echo "${file##*/} $file"
        done
    done | awk -v mine="${FILE##*/}" '$1 > mine { print $2 }'
    [ ! -f /etc/sysctl.conf ] || echo /etc/sysctl.conf
}

# later FILE - print the file with its lines that set one of our settings to another value as comments.
later() {
    printf '%s\n' "$all" | awk '
        NR == FNR { if (split($0, part, "=") == 2) value[part[1]] = part[2]; next }
        /=/ && !/^[ \t]*[#;]/ {
            key = $0; sub(/=.*/, "", key); gsub(/[ \t]/, "", key); sub(/^-/, "", key)
            if (index(key, "/")) gsub(/\//, ".", key)
            if (key == "net.ipv4.conf.all.forwarding") key = "net.ipv4.ip_forward"
            to = $0; sub(/[^=]*=/, "", to); gsub(/^[ \t]+|[ \t]+$/, "", to)
            if (key in value && value[key] != to) { print "# off by kbootstrap: " $0; next }
        }
        { print }' - "$1"
}

overridden() {
    for file in $(later_files); do
        later "$file" | cmp -s - "$file" || echo "$file"
    done
}

check() {
    found=0
    all=$(wanted)
    file_is "$FILE" "$all" || found=1
    different=$(live)
    if [ -n "$different" ]; then
        printf '%s\n' "$different"
        found=1
    fi
    for file in $(overridden); do
        echo "$file overrides these settings:"
        later "$file" | sed -n 's/^# off by kbootstrap: /- /p'
        found=1
    done
    return "$found"
}

# A setting that does not exist yet comes with its module, so there is nothing to record.
save_setting() {
    path=$(path_of "$1")
    if [ -r "$path" ]; then
        save_state sysctl "$1" "$(cat "$path")"
    fi
}

apply() {
    # Before the file is written: it would change the settings if the host rebooted in between.
    all=$(wanted)
    for setting in $all; do
        save_setting "${setting%%=*}"
    done
    put_file "$FILE" 644 "$all"
    for file in $(overridden); do
        # A separate line: where it fails, the step ends before the file is replaced.
        text=$(later "$file")
        put_file "$file" "$(stat -c %a "$file")" "$text"
    done
    for setting in $all; do
        run sysctl -q -w "$setting"
    done
}
