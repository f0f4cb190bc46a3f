# shellcheck shell=sh
# The original /etc/hosts, and cloud-init's files about it. Where somebody has changed the file since, only the cluster's block is
# removed.
# Params: CLUSTER

EDITS="/^# kbootstrap $CLUSTER begin\$/,/^# kbootstrap $CLUSTER end\$/d"

as_written() {
    has_original /etc/hosts && [ -r "$KB_STATE/hosts" ] && [ "$(cksum </etc/hosts)" = "$(cat "$KB_STATE/hosts")" ]
}

cloud_files() { changed_files '/etc/cloud/*'; }

differences() {
    edits_left /etc/hosts "$EDITS"
    # shellcheck disable=SC2046 # paths are words
    files_differ $(cloud_files)
}

check() { show "$(differences)"; }

apply() {
    # shellcheck disable=SC2046 # paths are words
    put_back $(cloud_files)
    if as_written; then
        put_back /etc/hosts
    else
        take_edits_out /etc/hosts "$EDITS"
    fi
}
