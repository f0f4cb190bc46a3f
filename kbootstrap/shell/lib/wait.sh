# shellcheck shell=sh
# wait.sh - wait for the cluster, on a control plane host. A step that watches the cluster defines `troubles`, which prints a
# line for each trouble. No line means that all is well. When `troubles` itself fails, nothing is known.
# requires: cluster

# uptime_seconds - seconds since the boot: a clock that nobody sets.
uptime_seconds() {
    read -r kb_now _ </proc/uptime
    echo "${kb_now%%.*}"
}

# wait_for_api - wait up to two minutes for the API server: after a reboot the control plane needs some time.
wait_for_api() {
    have_cluster
    kb_until=$(($(uptime_seconds) + 120))
    while ! api_answers; do
        if [ "$(uptime_seconds)" -ge "$kb_until" ]; then
            fail "the API server on this host does not answer" \
                "See journalctl -u kubelet and crictl ps -a there. If the cluster is really gone: kbootstrap reset, then up. [api-server]"
        fi
        sleep 2
    done
}

# no_troubles - the check of such a step: prints the troubles.
no_troubles() {
    if ! is_control_plane; then
        echo "known once the cluster exists"
        return 2
    fi
    kb_found=$(troubles) || return 2
    if [ -n "$kb_found" ]; then
        printf '%s\n' "$kb_found"
        return 1
    fi
}

# pause_since UPTIME - the pause between two looks since then: short at first, because most waits end within seconds.
pause_since() {
    if [ $(($(uptime_seconds) - $1)) -ge 3 ] || ! sleep 0.2 2>/dev/null; then
        sleep 1
    fi
}

# wait_out_troubles SECONDS HINT - its apply: wait until there are none. Those left at the end are the failure. It goes by the
# clock, not by the number of looks: against a busy API server one look may take half a minute.
wait_out_troubles() {
    have_cluster
    kb_since=$(uptime_seconds)
    kb_until=$((kb_since + $1))
    while ! kb_found=$(troubles) || [ -n "$kb_found" ]; do
        if [ "$(uptime_seconds)" -ge "$kb_until" ]; then
            printf '%s\n' "${kb_found:-the cluster does not say how it is}"
            kb_report hint "$2"
            return 1
        fi
        pause_since "$kb_since"
    done
}
