# shellcheck shell=sh
# A block of our own in /etc/hosts, so that the nodes find each other without DNS. A line that gives a node's name another
# address may come first and win, so the name is removed from it, in capitals too. Other names and lines stay as they are.
# Where cloud-init writes the file anew at each boot (manage_etc_hosts: true), its template becomes the same text.
# Params: CLUSTER, NODES ("address name" per line), TEMPLATE (of cloud-init for /etc/hosts)

wanted() {
    printf '# kbootstrap %s begin\n%s\n# kbootstrap %s end\n' "$CLUSTER" "$NODES" "$CLUSTER"
}

BLOCK="/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/"

there() { sed -n "${BLOCK}p" /etc/hosts; }

others() { sed "${BLOCK}d" /etc/hosts; }

# Two texts for one awk, with a line \001 between them. As arguments they could be too long.
both() { printf '%s\n\001\n%s\n' "$1" "$2"; }

# The lines outside our block, without our names where they have another address.
rest() {
    both "$NODES" "$(others)" | awk '
        !second { if (/^\001$/) second = 1; else at[tolower($2)] = $1; next }
        {
            kept = $1; taken = 0; names = 0
            for (i = 2; i <= NF && $i !~ /^#/; i++) {
                name = tolower($i)
                if (name in at && at[name] != $1) taken++
                else { kept = kept " " $i; names++ }
            }
            if (/^[ \t]*#/ || !taken) print
            else if (names) { for (; i <= NF; i++) kept = kept " " $i; print kept }
        }'
}

# The lines of the second text that are not in the first one.
added() {
    both "$1" "$2" | awk '!second { if (/^\001$/) second = 1; else has[$0] = 1; next } !($0 in has) && NF'
}

# listed SIGN - print lines as changes, at most 50: every host lists every node.
listed() { awk -v sign="$1" 'NR <= 50 { print sign, $0 } END { if (NR > 50) print sign, "... " (NR - 50) " more" }'; }

# What cloud-init does with /etc/hosts at each boot, by its own files and what the cloud gives to the host. The last one counts.
manage_etc_hosts() {
    if [ -d /etc/cloud/templates ] && [ ! -e /etc/cloud/cloud-init.disabled ]; then
        sed -n "s/^manage_etc_hosts:[[:space:]]*[\"']\{0,1\}\([A-Za-z]*\).*/\1/p" \
            /etc/cloud/cloud.cfg /etc/cloud/cloud.cfg.d/*.cfg \
            /var/lib/cloud/instance/vendor-cloud-config.txt /var/lib/cloud/instance/cloud-config.txt 2>/dev/null | tail -n 1
    fi
}

OFF=/etc/cloud/cloud.cfg.d/zz-kubernetes.cfg

# The file of cloud-init that keeps our names: the template that becomes /etc/hosts at each boot, because the cloud's word counts
# more than the files in /etc/cloud; or, where only a line for the host's own name is added, a file that switches that off.
cloud_file() {
    case $(manage_etc_hosts) in
        [Tt]rue | [Yy]es | on | template) echo "$TEMPLATE" ;;
        localhost) echo "$OFF" ;;
        *) [ ! -e "$OFF" ] || echo "$OFF" ;;
    esac
}

# cloud_text FILE HOSTS - what it should hold. The first line of the template is cloud-init's, and is no part of what it writes.
cloud_text() {
    if [ "$1" = "$OFF" ]; then
        echo 'manage_etc_hosts: false'
    else
        printf '## template:jinja\n%s\n' "$2"
    fi
}

check() {
    found=0
    if [ "$(there)" != "$(wanted)" ]; then
        echo "/etc/hosts:"
        added "$(wanted)" "$(there)" | listed -
        added "$(there)" "$NODES" | listed +
        found=1
    fi
    if [ "$(rest)" != "$(others)" ]; then
        echo "/etc/hosts gives names of nodes other addresses:"
        added "$(rest)" "$(others)" | listed -
        found=1
    fi
    cloud=$(cloud_file)
    if [ -n "$cloud" ] && ! cloud_text "$cloud" "$(rest)
$(wanted)" | cmp -s - "$cloud"; then
        echo "cloud-init changes /etc/hosts at each boot: ~ $cloud"
        found=1
    fi
    return "$found"
}

apply() {
    # A separate line: where it fails, the step ends before the file is replaced.
    kept=$(rest)
    put_file /etc/hosts 644 "$kept
$(wanted)"
    cloud=$(cloud_file)
    if [ -n "$cloud" ]; then
        now=$(cat /etc/hosts)
        put_file "$cloud" 644 "$(cloud_text "$cloud" "$now")"
    fi
    # With it `reset` knows whether anybody has changed the file since.
    cksum </etc/hosts >"$KB_STATE/hosts"
}
