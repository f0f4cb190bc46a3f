# shellcheck shell=sh
# runner.sh - runs the steps of one phase on this host and reports what happened.
#
# Before it stand the exit statuses (kbootstrap/protocol.py). After it come the libraries that the steps name, and then two
# parts per step: a function `kb_load`, which sets the step's parameters and defines its `check` and `apply`, and a call of
# `kb_step`, which runs each of the two in a subshell of its own. `plan` and `up` differ only in KB_MODE:
#   plan    run `check` and report ok, change or unknown; nothing on the host changes
#   check   the beginning of `up`: run `check` and report ok; where it does not hold, end with KB_TO_DO
#   apply   run `check`, where it does not hold `apply`, then `check` again
# Reports are lines that begin with KB_MARKER. It is new for every run, so output is never mistaken for a report.
# Everything printed between two reports belongs to the running step.

KB_MODE=${KB_MODE:-${1:-plan}}
KB_MARKER=${KB_MARKER:-@kbootstrap}
KB_DIR=${KB_DIR:-/run/kbootstrap/by-hand}
# shellcheck disable=SC2034 # the libraries use it
KB_STATE=/var/lib/kbootstrap
LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin
export LC_ALL PATH
umask 022

kb_report() { printf '%s %s\n' "$KB_MARKER" "$*"; }

# kb_begin ID - the first step begins, unless the run was asked to stop.
kb_begin() {
    if [ -e "$KB_DIR/stop" ]; then
        exit "$KB_STOPPED"
    fi
    kb_report begin "$1"
}

# kb_end ID NEXT STATE - a step has succeeded, and the next one begins unless the run was asked to stop. Both reports are one
# write, because each write wakes `tail` and sshd on the host, and kbootstrap on the other side.
kb_end() {
    if [ -z "$2" ]; then
        kb_report end "$1" "$3"
    elif [ -e "$KB_DIR/stop" ]; then
        kb_report end "$1" "$3"
        exit "$KB_STOPPED"
    else
        printf '%s end %s %s\n%s begin %s\n' "$KB_MARKER" "$1" "$3" "$KB_MARKER" "$2"
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

# kb_step ID RETRIES WAITS [NEXT] - check the step, which has begun, and apply it where it does not hold; then NEXT begins.
# Ends the script with 1 (failed), KB_STOPPED or KB_TO_DO.
# A step that only WAITS for something changes nothing: its success is always "ok", and a plan cannot foresee it.
# `set -e` has no effect inside a condition, so neither this function nor its parts are ever called in one.
kb_step() {
    kb_check
    kb_status=$?
    if [ "$kb_status" -eq 0 ]; then
        kb_end "$1" "${4:-}" ok
        return
    fi
    case $KB_MODE in
        apply) kb_change "$@" ;;
        check) exit "$KB_TO_DO" ;;
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
    [ -d "$KB_DIR" ] || (umask 077 && mkdir -p "$KB_DIR") # a script that is run by hand
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

# kb_try ID RETRIES - run apply, and again after 2, 4, 8 ... seconds where it may be retried. A step that called `fail` is not.
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
        if [ "$kb_status" -eq 0 ] || [ "$kb_status" -eq "$KB_FAILED_WITH_MESSAGE" ] || [ "$kb_left" -le 0 ]; then
            return "$kb_status"
        fi
        kb_report retry "$1" "$kb_pause"
        sleep "$kb_pause"
        kb_left=$((kb_left - 1))
        kb_pause=$((kb_pause * 2))
    done
}

# kb_leave_session - before the first change on a host with systemd, move this shell and the one around it to a scope of their
# own. Else logind may kill what an SSH session leaves behind (KillUserProcesses=yes). A script that only checks needs no scope.
# This is done once per script. Without a bus there is no logind, and nothing to leave.
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

# kb_shortage - a disk that is full or read-only explains most failures: report it.
kb_shortage() {
    for kb_at in /etc /usr /var/lib /run; do
        if [ -d "$kb_at" ] && [ ! -w "$kb_at" ]; then
            kb_report hint "$kb_at cannot be written to: is its file system read-only? \`findmnt -T $kb_at\` and \`dmesg\` show why. Then run the same command again. [read-only]"
        fi
    done
    for kb_at in $(df -Pk / /etc /usr /var /var/lib /run 2>/dev/null | awk 'NR > 1 && $4 < 1024 { print $6 }' | sort -u); do
        kb_report hint "The file system at $kb_at is full. Make room there (df -h $kb_at), then run the same command again. [disk-full]"
    done
}

# --- functions for every step -----------------------------------------------------------------------------------------

# run COMMAND... - run it; a failure of the step names it. Never put a secret in arguments.
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
    exit "$KB_FAILED_WITH_MESSAGE"
}

# requirement_failed TEXT - called by a check: this host cannot take part. The step fails, also in a plan, and the host stays
# as it is.
requirement_failed() { kb_report requirement_failed "$1"; }

# value NAME TEXT - hand a value to later phases (at most 1 MiB; it is treated as a secret). A script that is run by hand has no
# later phases, and does not print it.
value() {
    if [ "$KB_MARKER" != @kbootstrap ]; then
        kb_report value "$1" "$(printf '%s' "$2" | base64 | tr -d '\n')"
    fi
}

# have COMMAND - is this command installed?
have() { command -v "$1" >/dev/null 2>&1; }

# show LINES - the end of a check: print the differences; status 1 where there are any.
show() {
    if [ -n "$1" ]; then
        printf '%s\n' "$1"
        return 1
    fi
}
