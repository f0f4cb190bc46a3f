# shellcheck shell=sh
# The original ~/.kube/config of the user who logs in. A file that somebody has changed since stays.

changed_since() {
    [ -f "$1" ] && [ "$(cksum <"$1")" != "$(cat "$KB_STATE/kubeconfig" 2>/dev/null)" ] &&
        ! cmp -s "$1" "$KB_STATE/before$1"
}

ours() {
    for path in $(changed_files '*/.kube/config'); do
        changed_since "$path" || printf '%s\n' "$path"
    done
}

check() {
    for path in $(changed_files '*/.kube/config'); do
        if changed_since "$path"; then
            kb_report warning "$path was changed since kbootstrap wrote it, and stays"
        fi
    done
    # shellcheck disable=SC2046 # paths are words
    show "$(files_differ $(ours))"
}

apply() {
    # shellcheck disable=SC2046 # paths are words
    put_back $(ours)
}
