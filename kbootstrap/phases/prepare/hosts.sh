# shellcheck shell=sh
# A block of our own in /etc/hosts, so that the nodes find each other without DNS. Other lines stay as they are.
# Params: CLUSTER, LINES ("address name" per line)

wanted() {
    printf '# kbootstrap %s begin\n%s\n# kbootstrap %s end\n' "$CLUSTER" "$LINES" "$CLUSTER"
}

there() { sed -n "/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/p" /etc/hosts; }

check() {
    [ "$(there)" = "$(wanted)" ] && return 0
    echo "/etc/hosts:"
    printf '%s\n' "$LINES" | sed 's/^/+ /'
    return 1
}

apply() {
    rest=$(sed "/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d" /etc/hosts)
    put_file /etc/hosts 644 "$rest
$(wanted)"
}
