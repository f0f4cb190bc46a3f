# shellcheck shell=sh
# wait.sh - words for steps that watch the cluster. Such a step defines `troubles`, which prints a line for each one it
# finds, and nothing when all is well. When it fails itself, nothing is known, and least of all that all is well.

# no_troubles - the check: prints what is wrong.
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

# wait_out_troubles SECONDS HINT - the apply: waits until there are none; what is left at the end is the failure.
wait_out_troubles() {
    have_cluster
    kb_left=$1
    while ! kb_found=$(troubles) || [ -n "$kb_found" ]; do
        if [ "$kb_left" -le 0 ]; then
            printf '%s\n' "$kb_found"
            kb_report hint "$2"
            return 1
        fi
        sleep 1
        kb_left=$((kb_left - 1))
    done
}
