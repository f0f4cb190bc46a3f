# shellcheck shell=sh
# runner.sh - runs the steps of one phase on this host and reports what happened.
#
# The rest of the script has two parts per step: a function `kb_load`, which sets the step's parameters and defines its `check`
# and `apply`, and a call of `kb_step`, which runs each of the two in a subshell of its own. KB_MODE is the only thing in which
# `plan` and `up` differ:
#   plan    run `check` and report ok, change or unknown; nothing on the host is touched
#   look    the beginning of `up`: run `check` and report ok; where it does not hold, end with status 76
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

# kb_begin ID - the first step begins, unless the run was asked to stop.
kb_begin() {
    if [ -e "$KB_DIR/stop" ]; then
        exit 75
    fi
    kb_report begin "$1"
}

# kb_end ID NEXT STATE - a step has ended well, and the next one begins unless the run was asked to stop. Both are said in one
# write, because each wakes `tail` and sshd here, and kbootstrap there.
kb_end() {
    if [ -z "$2" ]; then
        kb_report end "$1" "$3"
    elif [ -e "$KB_DIR/stop" ]; then
        kb_report end "$1" "$3"
        exit 75
    else
        printf '%s end %s %s\n%s begin %s\n' "$KB_MARK" "$1" "$3" "$KB_MARK" "$2"
    fi
}

# kb_check - run the check of the step that kb_load defines. Returns its status.
kb_check() {
    (
        kb_load
        set -u
        check
    ) </dev/null
}

# kb_step ID RETRIES WAITS [NEXT] - check the step, which has begun, and change what is to be changed; then NEXT begins.
# Ends the script with 1 (failed), 75 (asked to stop) or 76 (only looked, and there is something to do).
# A step that only WAITS for something changes nothing, so success is always "ok" and plan cannot foresee it.
# `set -e` is void wherever a function is called in a condition, so neither this function nor its parts ever are.
kb_step() {
    kb_check
    kb_status=$?
    if [ "$kb_status" -eq 0 ]; then
        kb_end "$1" "${4:-}" ok
        return
    fi
    case $KB_MODE in
        apply) kb_change "$@" ;;
        look) exit 76 ;;
        *)
            if [ "$kb_status" -eq 1 ] && [ "$3" = 0 ]; then
                kb_end "$1" "${4:-}" change
            else
                kb_end "$1" "${4:-}" unknown
            fi
            ;;
    esac
}

# kb_change ID RETRIES WAITS [NEXT] - the same for a step whose check is known not to hold.
kb_change() {
    kb_leave_session
    kb_report apply "$1"
    kb_try "$1" "$2"
    kb_status=$?
    if [ "$kb_status" -ne 0 ]; then
        kb_shortage
        kb_report end "$1" failed "$kb_status"
        exit 1
    fi
    kb_report verify "$1"
    kb_check
    kb_status=$?
    if [ "$kb_status" -ne 0 ]; then
        kb_report end "$1" unverified "$kb_status"
        exit 1
    fi
    if [ "$3" = 0 ]; then
        kb_end "$1" "${4:-}" changed
    else
        kb_end "$1" "${4:-}" ok
    fi
}

# kb_try ID RETRIES - run apply, again after 2, 4, 8 ... seconds when it may be retried. What `fail` ended is final.
kb_try() {
    kb_left=$2
    kb_pause=2
    while :; do
        (
            kb_load
            set -eu
            apply
        ) </dev/null
        kb_status=$?
        if [ "$kb_status" -eq 0 ] || [ "$kb_status" -eq 64 ] || [ "$kb_left" -le 0 ]; then
            return "$kb_status"
        fi
        kb_report retry "$1" "$kb_pause"
        sleep "$kb_pause"
        kb_left=$((kb_left - 1))
        kb_pause=$((kb_pause * 2))
    done
}

# kb_leave_session - before the first change below systemd: move this shell and the one around it to a scope of their own,
# because logind may end what an SSH session leaves behind (KillUserProcesses=yes). A script that only looks needs none.
# Asked once per script: without a bus there is no logind either, and nothing to leave.
kb_leave_session() {
    if [ -z "${KB_SCOPE:-}" ] || [ -e "$KB_DIR/$KB_SCOPE" ]; then
        return
    fi
    : >"$KB_DIR/$KB_SCOPE"
    timeout 10 busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \
        StartTransientUnit 'ssa(sv)a(sa(sv))' "$KB_SCOPE" fail 1 PIDs au 2 "$PPID" "$$" 0 >/dev/null 2>&1 || return 0
    kb_left=100
    until kb_in_scope || [ "$kb_left" -eq 0 ]; do
        sleep 0.02
        kb_left=$((kb_left - 1))
    done
}

kb_in_scope() {
    while read -r kb_rest; do
        case $kb_rest in
            *"/$KB_SCOPE") return 0 ;;
        esac
    done </proc/self/cgroup
    return 1
}

# kb_shortage - a full disk explains most failures: say so.
kb_shortage() {
    for kb_at in $(df -Pk / /etc /usr /var /run 2>/dev/null | awk 'NR > 1 && $4 < 1024 { print $6 }' | sort -u); do
        kb_report hint "The file system at $kb_at is full. Make room there (df -h $kb_at), then run the same command again."
    done
}

# --- words for steps -------------------------------------------------------------------------------------------------

# run COMMAND... - run it and let a failure name it. Secrets never belong in arguments.
run() {
    kb_report command "$*"
    "$@"
}

# run_judged PATTERN COMMAND... - run it; a failure that trying again cannot mend ends the step at once. Programs that have one
# exit status for everything are judged by their words: PATTERN is what is final, unless the network had a part in it.
run_judged() {
    kb_final_words=$1
    shift
    kb_listen "$@" || kb_judge "$kb_final_words"
}

kb_network='[Tt]imed out|[Tt]imeout|Could not resolve|no such host|Temporary failure|Connection (reset|refused|failed)|connection (reset|refused)|unexpected EOF|Status code: 5|HTTP Error 5| 50[0-9] '

kb_names_hint() {
    if grep -Eq 'Could not resolve|no such host|Temporary failure in name' "$KB_DIR/said"; then
        kb_report hint "This host cannot resolve names: look at /etc/resolv.conf and its name servers there."
    fi
}

kb_listen() {
    mkdir -p "$KB_DIR"
    rm -f "$KB_DIR/failed"
    kb_report command "$*"
    { "$@" 2>&1 || echo "$?" >"$KB_DIR/failed"; } | tee "$KB_DIR/said"
    [ ! -e "$KB_DIR/failed" ]
}

kb_judge() {
    if ! grep -Eq "$kb_network" "$KB_DIR/said"; then
        kb_words=$(grep -E "$1" "$KB_DIR/said" | head -n 1)
        if [ -n "$kb_words" ]; then
            fail "$kb_words" "Trying again would not help. Look at the addresses, versions and keys in the inventory."
        fi
    fi
    kb_names_hint
    return "$(cat "$KB_DIR/failed")"
}

kb_lock_wait=300

# run_packages COMMAND... - run a package manager; as long as another one is at work it waits, and says for whom. The OS
# vocabulary has the words for that, and for what is final.
run_packages() {
    kb_waited=0
    until kb_listen "$@"; do
        kb_words=$(grep -E "$(kb_locked_words)" "$KB_DIR/said" | tail -n 1)
        if [ -z "$kb_words" ]; then
            kb_judge "$(kb_final_words)"
            return
        fi
        kb_report hint "Another package manager is at work$(kb_holder "$kb_words"): updates begin by themselves after a boot. Wait, or end it."
        if [ "$kb_waited" -ge "$kb_lock_wait" ]; then
            fail "another package manager has been at work for $kb_lock_wait s$(kb_holder "$kb_words"): $kb_words"
        fi
        sleep 5
        kb_waited=$((kb_waited + 5))
    done
}

# kb_holder WORDS - which process that is, where the words have its number.
kb_holder() {
    kb_pid=$(printf '%s\n' "$1" | sed -n 's/.*\(by\|pid\|process\) \([0-9][0-9]*\).*/\2/p')
    if [ -n "$kb_pid" ]; then
        printf ' (process %s%s)' "$kb_pid" "$(sed 's/^/, /' "/proc/$kb_pid/comm" 2>/dev/null)"
    fi
}

# fetch URL FILE - with curl; what the server does not have is not asked for again.
fetch() {
    kb_report command "curl -fsSL $1"
    kb_failed=0
    kb_code=$(curl -fsSL --connect-timeout 20 --max-time 120 --max-filesize 1000000 -w '%{http_code}' -o "$2" "$1" \
        2>"$KB_DIR/said") || kb_failed=$?
    cat "$KB_DIR/said"
    case $kb_code in
        408 | 425 | 429) ;;
        4*) fail "$1: the server answers with status $kb_code" "Is that address right? The inventory, or a mirror it names, has it." ;;
    esac
    kb_names_hint
    return "$kb_failed"
}

# fail MESSAGE [HINT] - end this step with a message a person can act on.
fail() {
    printf '%s\n' "$1"
    if [ $# -gt 1 ]; then
        kb_report hint "$2"
    fi
    exit 64
}

# unfit TEXT - said by a check: this host cannot take part. The step fails, in a plan too, and the host stays as it is.
unfit() { kb_report unfit "$1"; }

# value NAME TEXT - hand a value to the phases that follow (at most 1 MiB; kept secret on the way).
value() { kb_report value "$1" "$(printf '%s' "$2" | base64 | tr -d '\n')"; }

# have COMMAND - is this command installed?
have() { command -v "$1" >/dev/null 2>&1; }

# reaches ADDRESS:PORT - does a TCP connection open within 5 seconds? Yes where there is nothing to try it with.
reaches() {
    if have bash && have timeout; then
        timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1
    fi
}

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
# kbootstrap is kept (see keep_original).
put_file() {
    make_folder "$(dirname "$1")"
    keep_original "$1"
    kb_new=$(mktemp "$1.kbXXXXXX")
    printf '%s\n' "$3" >"$kb_new"
    replace_with "$kb_new" "$1" "$2"
}

# replace_with NEW PATH [MODE] - move a finished file over another: mode (default: as it was) and SELinux context set,
# content on disk first.
replace_with() {
    chmod "${3:-$(stat -c %a "$2")}" "$1"
    to_disk "$1"
    mv -f "$1" "$2"
    if have restorecon; then
        restorecon "$2" || true
    fi
}

# to_disk FILE - its content survives a power cut from here on.
to_disk() { sync "$1" 2>/dev/null || sync; }

# --- what was there before -------------------------------------------------------------------------------------------
# /var/lib/kbootstrap/before has a copy of every file as kbootstrap found it, /var/lib/kbootstrap/was one line for everything
# else that was changed: KIND KEY VALUE. Only the first word about a thing is kept, so that no later run takes our own work
# for what was there. `reset` reads both, and puts everything back.

state_folder() { [ -d "$KB_STATE" ] || mkdir -m 700 "$KB_STATE"; }

# remember KIND KEY [VALUE] - what KEY was, before it is changed.
remember() {
    if recall "$1" "$2" >/dev/null; then
        return 0
    fi
    state_folder
    printf '%s %s %s\n' "$1" "$2" "${3:-}" >>"$KB_STATE/was"
    to_disk "$KB_STATE/was"
}

# recall KIND KEY - the value that was remembered; fails when nothing was.
recall() {
    [ -r "$KB_STATE/was" ] || return 1
    while read -r kb_kind kb_key kb_value; do
        if [ "$kb_kind $kb_key" = "$1 $2" ]; then
            printf '%s\n' "$kb_value"
            return 0
        fi
    done <"$KB_STATE/was"
    return 1
}

# keep_original PATH - copy the file as it was before kbootstrap first touched it, or remember that there was none.
keep_original() {
    kb_copy=$KB_STATE/before$1
    if [ -e "$kb_copy" ] || recall absent "$1" >/dev/null; then
        return 0
    fi
    if [ ! -e "$1" ]; then
        remember absent "$1"
        return 0
    fi
    state_folder
    mkdir -p "$(dirname "$kb_copy")"
    cp -p "$1" "$kb_copy.new"
    to_disk "$kb_copy.new"
    mv "$kb_copy.new" "$kb_copy"
}

# make_folder PATH - with its parents; those that were not there are remembered.
make_folder() {
    kb_made=''
    kb_at=$1
    while [ ! -d "$kb_at" ]; do
        kb_made="$kb_at $kb_made"
        kb_at=$(dirname "$kb_at")
    done
    for kb_at in $kb_made; do
        remember folder "$kb_at"
        mkdir "$kb_at"
    done
}

# remember_unit UNIT... - are they enabled, do they run? Before they are touched.
remember_unit() {
    for kb_unit in "$@"; do
        if ! recall unit "$kb_unit" >/dev/null; then
            remember unit "$kb_unit" "$(unit_state "$kb_unit")"
        fi
    done
}

# unit_state UNIT - "enabled active", "disabled inactive", "absent inactive" ... ("failed" is inactive).
unit_state() {
    kb_enabled=$(systemctl is-enabled "$1" 2>/dev/null) || true
    kb_active=$(systemctl is-active "$1" 2>/dev/null) || true
    case $kb_enabled in
        '' | not-found) kb_enabled=absent ;;
    esac
    case $kb_active in
        active | activating | reloading) kb_active=active ;;
        *) kb_active=inactive ;;
    esac
    printf '%s %s\n' "$kb_enabled" "$kb_active"
}

# packages_before, packages_after - around an installation: what came with it, and what had to go. The list from before
# outlives an installation that breaks off.
packages_before() {
    state_folder
    if [ ! -s "$KB_STATE/packages" ]; then
        pkg_list >"$KB_STATE/packages.new"
        mv "$KB_STATE/packages.new" "$KB_STATE/packages"
    fi
}

packages_unfinished() { [ -s "$KB_STATE/packages" ]; }

packages_after() {
    pkg_list >"$KB_STATE/packages.new"
    for kb_name in $(comm -13 "$KB_STATE/packages" "$KB_STATE/packages.new"); do
        # What had to go and is here again did not come with us.
        recall replaced "$kb_name" >/dev/null || remember package "$kb_name"
    done
    for kb_name in $(comm -23 "$KB_STATE/packages" "$KB_STATE/packages.new"); do
        remember replaced "$kb_name"
    done
    rm -f "$KB_STATE/packages" "$KB_STATE/packages.new"
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

# service_on UNIT - enable it and (re)start it; a service that does not start says why. One that is on already stays as it
# was, so nothing is noted for reset.
service_on() {
    service_is "$1" >/dev/null || remember_unit "$1"
    run systemctl enable "$1"
    if ! run systemctl restart "$1"; then
        journalctl -u "$1" -n 10 --no-pager 2>/dev/null || true
        return 1
    fi
}

# --- words for steps that speak to the cluster (on a control plane host) ---------------------------------------------

# admin ARGUMENTS... - kubectl as the cluster's administrator. Its cache is on tmpfs: a plan leaves nothing in /root/.kube.
admin() { kubectl_admin --request-timeout=15s "$@"; }

# kubectl_admin ARGUMENTS... - the same without a deadline, for what takes its time.
kubectl_admin() { kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kbootstrap/kubectl "$@"; }

# is_control_plane - was kubeadm init or join of a control plane done here?
is_control_plane() { have kubectl && [ -s /etc/kubernetes/admin.conf ]; }

# have_cluster - end this step where there is no control plane to speak to.
have_cluster() {
    is_control_plane || fail "there is no control plane on this host (no /etc/kubernetes/admin.conf)" "Run \`kbootstrap up\` with all its phases first."
}

# api_answers - is there a cluster here whose API server answers?
api_answers() { have kubectl && [ -s /etc/kubernetes/admin.conf ] && admin get --raw /healthz >/dev/null 2>&1; }

# wait_for_api - before anything is asked of it. After a reboot the control plane needs a while; only then is silence a failure.
wait_for_api() {
    have_cluster
    kb_left=60
    while ! api_answers; do
        if [ "$kb_left" -le 0 ]; then
            fail "the API server on this host does not answer" \
                "See journalctl -u kubelet and crictl ps -a there. If the cluster is really gone: kbootstrap reset, then up."
        fi
        kb_left=$((kb_left - 1))
        sleep 2
    done
}

# nodes - one line per node, fields separated by tabs: name, Ready status, kubelet version, address, labels, reason.
nodes() {
    admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.conditions[?(@.type=="Ready")].status}{"\t"}{.status.nodeInfo.kubeletVersion}{"\t"}{.status.addresses[?(@.type=="InternalIP")].address}{"\t"}{.metadata.labels}{"\t"}{.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}'
}

# pods NAMESPACE-OPTIONS - one line per pod: namespace, name, phase, ready flags, owner, waiting reasons and messages.
pods() {
    admin get pods "$@" -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.containerStatuses[*].ready}{"\t"}{.metadata.ownerReferences[*].kind}{"\t"}{.status.containerStatuses[*].state.waiting.reason}{"\t"}{.status.containerStatuses[*].state.waiting.message}{"\n"}{end}'
}
