# shellcheck shell=sh
# A block of our own in /etc/hosts, so that the nodes find each other without DNS. A line that gives a node's name another
# address would win or lose by its place, so the name is taken out of it; other names and lines stay as they are.
# Params: CLUSTER, LINES ("address name" per line)

wanted() {
    printf '# kbootstrap %s begin\n%s\n# kbootstrap %s end\n' "$CLUSTER" "$LINES" "$CLUSTER"
}

there() { sed -n "/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/p" /etc/hosts; }

# The lines outside our block; without the names of ours that they give another address.
rest() {
    sed "/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d" /etc/hosts | awk -v ours="$LINES" '
        BEGIN {
            count = split(ours, lines, "\n")
            for (i = 1; i <= count; i++) { split(lines[i], part, " "); at[part[2]] = part[1] }
        }
        {
            kept = $1; taken = 0; names = 0
            for (i = 2; i <= NF && $i !~ /^#/; i++) {
                if ($i in at && at[$i] != $1) taken++
                else { kept = kept " " $i; names++ }
            }
            if (/^[ \t]*#/ || !taken) print
            else if (names) { for (; i <= NF; i++) kept = kept " " $i; print kept }
        }'
}

others() { sed "/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d" /etc/hosts; }

check() {
    found=0
    if [ "$(there)" != "$(wanted)" ]; then
        echo "/etc/hosts:"
        printf '%s\n' "$LINES" | sed 's/^/+ /'
        found=1
    fi
    if [ "$(rest)" != "$(others)" ]; then
        echo "/etc/hosts gives names of nodes other addresses:"
        others | while read -r line; do
            rest | grep -qxF -- "$line" || printf -- '- %s\n' "$line"
        done
        found=1
    fi
    return "$found"
}

apply() {
    put_file /etc/hosts 644 "$(rest)
$(wanted)"
    # reset sees by it whether anybody has changed the file since.
    cksum </etc/hosts >"$KB_STATE/hosts"
}
