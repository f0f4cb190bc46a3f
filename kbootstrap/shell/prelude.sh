# shellcheck shell=sh
# prelude.sh - runs the steps of one phase on this host and reports what happened.
#
# The rest of the script is a list of subshells, one per step; each sets the step's parameters, defines `check` and
# `apply`, and calls `kb_step`. KB_MODE is the only thing in which `plan` and `up` differ:
#   plan    run `check` and report ok, change or unknown; nothing on the host is touched
#   apply   run `check`, where it does not hold `apply`, then `check` again
# Reports are lines that begin with KB_MARK, a word made anew for every run, so that no output can be taken for one.
# Everything printed between two reports belongs to the step that runs.

KB_MODE=${KB_MODE:-${1:-plan}}
KB_MARK=${KB_MARK:-@kbootstrap}
KB_DIR=${KB_DIR:-/run/kbootstrap/by-hand}
KB_STATE=/var/lib/kbootstrap
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin
export LC_ALL PATH
umask 022

kb_report() { printf '%s %s\n' "$KB_MARK" "$*"; }

# kb_step ID RETRIES WAITS - run the check and apply of this subshell. Returns 0 (holds), 1 (failed), 75 (asked to stop).
# A step that only WAITS for something changes nothing, so success is always "ok" and plan cannot foresee it.
# `set -e` is void wherever a function is called in a condition, so neither this function nor its parts ever are.
kb_step() {
    if [ -e "$KB_DIR/stop" ]; then
        return 75
    fi
    kb_report begin "$1"
    (
        set -u
        check
    ) </dev/null
    kb_status=$?
    if [ "$kb_status" -eq 0 ]; then
        kb_report end "$1" ok
        return 0
    fi
    if [ "$KB_MODE" != apply ]; then
        if [ "$kb_status" -eq 1 ] && [ "$3" = 0 ]; then
            kb_report end "$1" change
        else
            kb_report end "$1" unknown
        fi
        return 0
    fi
    kb_report apply "$1"
    kb_try "$1" "$2"
    kb_status=$?
    if [ "$kb_status" -ne 0 ]; then
        kb_report end "$1" failed "$kb_status"
        return 1
    fi
    kb_report verify "$1"
    (
        set -u
        check
    ) </dev/null
    kb_status=$?
    if [ "$kb_status" -ne 0 ]; then
        kb_report end "$1" unverified "$kb_status"
        return 1
    fi
    if [ "$3" = 0 ]; then
        kb_report end "$1" changed
    else
        kb_report end "$1" ok
    fi
}

# kb_try ID RETRIES - run apply, again after 2, 4, 8 ... seconds when it may be retried.
kb_try() {
    kb_left=$2
    kb_pause=2
    while :; do
        (
            set -eu
            apply
        ) </dev/null
        kb_status=$?
        if [ "$kb_status" -eq 0 ] || [ "$kb_left" -le 0 ]; then
            return "$kb_status"
        fi
        kb_report retry "$1" "$kb_pause"
        sleep "$kb_pause"
        kb_left=$((kb_left - 1))
        kb_pause=$((kb_pause * 2))
    done
}

# --- words for steps -------------------------------------------------------------------------------------------------

# run COMMAND... - run it and let a failure name it. Secrets never belong in arguments.
run() {
    kb_report command "$*"
    "$@"
}

# fail MESSAGE [HINT] - end this step with a message a person can act on.
fail() {
    printf '%s\n' "$1"
    if [ $# -gt 1 ]; then
        kb_report hint "$2"
    fi
    exit 64
}

# value NAME TEXT - hand a value to the phases that follow (at most 1 MiB; kept secret on the way).
value() { kb_report value "$1" "$(printf '%s' "$2" | base64 | tr -d '\n')"; }

# have COMMAND - is this command installed?
have() { command -v "$1" >/dev/null 2>&1; }

# file_is PATH TEXT - does the file hold exactly this text? Prints the difference when it does not.
file_is() {
    if [ ! -f "$1" ]; then
        printf '+ %s (new file)\n' "$1"
        return 1
    fi
    printf '%s\n' "$2" | cmp -s - "$1" && return 0
    printf '%s\n' "$2" | diff -u "$1" - | sed '1s|.*|--- '"$1"'|; 2s|.*|+++ wanted|'
    return 1
}

# put_file PATH MODE TEXT - replace the file in one move, so that nobody ever sees half of it. What was there before
# kbootstrap is kept once below /var/lib/kbootstrap/before.
put_file() {
    mkdir -p "$(dirname "$1")"
    keep_original "$1"
    kb_new=$(mktemp "$1.kbXXXXXX")
    printf '%s\n' "$3" >"$kb_new"
    replace_with "$kb_new" "$1" "$2"
}

# replace_with NEW PATH [MODE] - move a finished file over another: mode (default: as it was) and SELinux context set,
# content on disk first.
replace_with() {
    chmod "${3:-$(stat -c %a "$2")}" "$1"
    sync "$1" 2>/dev/null || sync
    mv -f "$1" "$2"
    if have restorecon; then
        restorecon "$2" || true
    fi
}

# keep_original PATH - copy the file as it was before kbootstrap first touched it.
keep_original() {
    kb_copy=$KB_STATE/before$1
    if [ ! -e "$1" ] || [ -e "$kb_copy" ]; then
        return 0
    fi
    mkdir -p "$(dirname "$kb_copy")"
    chmod 700 "$KB_STATE"
    cp -p "$1" "$kb_copy"
}

# service_is UNIT - enabled and running? Prints what is not.
service_is() {
    kb_ok=0
    if ! systemctl is-enabled --quiet "$1" 2>/dev/null; then
        printf '%s is not enabled\n' "$1"
        kb_ok=1
    fi
    if ! systemctl is-active --quiet "$1" 2>/dev/null; then
        printf '%s is not running\n' "$1"
        kb_ok=1
    fi
    return "$kb_ok"
}

# service_on UNIT - enable it and (re)start it; a service that does not start says why.
service_on() {
    run systemctl enable "$1"
    if ! run systemctl restart "$1"; then
        journalctl -u "$1" -n 10 --no-pager 2>/dev/null || true
        return 1
    fi
}

# --- words for steps that speak to the cluster (on a control plane host) ---------------------------------------------

# admin ARGUMENTS... - kubectl as the cluster's administrator.
admin() { kubectl --kubeconfig /etc/kubernetes/admin.conf --request-timeout=15s "$@"; }

# api_answers - is there a cluster here whose API server answers?
api_answers() { have kubectl && [ -s /etc/kubernetes/admin.conf ] && admin get --raw /healthz >/dev/null 2>&1; }

# nodes - one line per node, fields separated by tabs: name, Ready status, kubelet version, address, labels, reason.
nodes() {
    admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.conditions[?(@.type=="Ready")].status}{"\t"}{.status.nodeInfo.kubeletVersion}{"\t"}{.status.addresses[?(@.type=="InternalIP")].address}{"\t"}{.metadata.labels}{"\t"}{.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}'
}

# pods NAMESPACE-OPTIONS - one line per pod: namespace, name, phase, ready flags, owner, waiting reasons and messages.
pods() {
    admin get pods "$@" -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.containerStatuses[*].ready}{"\t"}{.metadata.ownerReferences[*].kind}{"\t"}{.status.containerStatuses[*].state.waiting.reason}{"\t"}{.status.containerStatuses[*].state.waiting.message}{"\n"}{end}'
}
