# shellcheck shell=sh
# The original /etc/hosts. Where somebody has changed the file since, only the cluster's block is removed.
# Params: CLUSTER

EDITS="/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d"

as_written() {
    has_original /etc/hosts && [ -r "$KB_STATE/hosts" ] && [ "$(cksum </etc/hosts)" = "$(cat "$KB_STATE/hosts")" ]
}

check() { show "$(edits_left /etc/hosts "$EDITS")"; }

apply() {
    if as_written; then
        put_back /etc/hosts
    else
        take_edits_out /etc/hosts "$EDITS"
    fi
}
