# shellcheck shell=sh
# launcher.sh - serves one connection: it reads scripts from stdin and streams their reports back. bootstrap.sh has read it,
# and KB_MARKER, which begins every report.
#
#   sh -c "$(cat bootstrap.sh)" kbootstrap MODE RUN OWNER        (below sudo where the inventory says so)
#
# Protocol, a line each on stdin; sizes in bytes (kbootstrap/protocol.py has all words):
#   inline NAME SIZE + SIZE bytes     run this script from memory; it only checks, and no file is written
#   detached NAME SIZE + SIZE bytes   run it detached from this connection, once, and follow its log from the first byte;
#                                     the line `whole` after it says that all of it has arrived
#   follow NAME OFFSET                follow the log of a script started before, from this byte (1 is the first)
#   ping N | kill SIGNAL N            is it alive | kill the whole script; the answer repeats N, the number of the script
#   stop                              stop after the running step
#   quit                              remove the files of this run and end
# Answers: ready, busy WHO, waiting STEP WHO (again every few seconds), done STATUS, alive N, gone [N], killed N; or
# unusable WHY, and then the connection ends.
#
# In apply mode two locks guard the host. This process holds `session`. It also holds `script` from the first script on, and so
# does every running script. A second operator is turned away at once; a script whose operator is gone is waited for. No lock
# can be stale, because both are released when the processes that hold them end. A script that only checks holds no lock.

umask 077
kb_mode=$1 kb_run=$2 kb_owner=$3
kb_root=/run/kbootstrap
KB_DIR=$kb_root/$kb_run
kb_script='' kb_starter='' kb_tail='' kb_inline=''
export KB_DIR

kb_say() { printf '%s %s\n' "$KB_MARKER" "$*"; }

# kb_read SIZE - exactly this many bytes of stdin. busybox's `head -c` takes more.
kb_read() { dd bs="$1" count=1 iflag=fullblock 2>/dev/null; }

# kb_unusable WHY - nothing can be done on this host. /run may be full or read-only, or a program may be missing.
kb_unusable() {
    kb_say unusable "$*"
    exit 1
}

# kb_run_inline TEXT - in a process of its own, so that this one can still read requests. It reports itself how it ended.
kb_run_inline() {
    kb_script=''
    (
        trap 'kb_say "done" $?' EXIT
        eval "$1"
    ) </dev/null 2>&1 9>&- 8>&- &
    kb_inline=$!
}

# kb_inline_runs - does the inline script still run? Its number alone may be another process's by now.
kb_inline_runs() {
    # PID (NAME) STATE PARENT ...
    [ -n "$kb_inline" ] && read -r kb_at 2>/dev/null <"/proc/$kb_inline/stat" || return
    case $kb_at in
        *") "[!Z]" $$ "*) return 0 ;;
    esac
    return 1
}

# kb_end_all PID - kill a process and all its descendants. Each one is stopped first, so that it starts no other meanwhile. Where
# the kernel does not list children, they end by themselves: nobody reads their output any more.
kb_end_all() {
    kill -s STOP "$1" 2>/dev/null || return 0
    kb_below=''
    read -r kb_below 2>/dev/null <"/proc/$1/task/$1/children"
    for kb_pid in $kb_below; do
        kb_end_all "$kb_pid"
    done
    kill -s KILL "$1" 2>/dev/null
}

kb_unfollow() {
    if [ -n "$kb_tail" ]; then
        kill "$kb_tail" 2>/dev/null
        kb_tail=''
    fi
    if kb_inline_runs; then
        kb_end_all "$kb_inline"
    fi
}

kb_follow() {
    kb_unfollow
    tail -c "+$1" -f "$kb_script.log" 2>/dev/null 9>&- 8>&- &
    kb_tail=$!
}

# kb_wait_for_lock FD - take it within some ten seconds. busybox has no `flock -w`, and some no `sleep 0.1`.
kb_wait_for_lock() {
    kb_left=100
    until flock -n "$1"; do
        kb_left=$((kb_left - 1))
        [ "$kb_left" -gt 0 ] || return
        sleep 0.1 2>/dev/null || sleep 1
    done
}

kb_lock() {
    command -v flock >/dev/null || kb_unusable "the command flock is missing (package util-linux)"
    [ -d "$kb_root" ] || kb_error=$(mkdir -m 700 "$kb_root" 2>&1) || [ -d "$kb_root" ] || kb_unusable "$kb_error"
    kb_error=$( (: >>"$kb_root/session" && : >>"$kb_root/script") 2>&1) || kb_unusable "$kb_error"
    exec 8>>"$kb_root/session" 9>>"$kb_root/script"
    if ! flock -n 8; then
        read -r kb_other kb_other_pid kb_who <"$kb_root/owner"
        if [ "$kb_other" != "$kb_run" ]; then
            kb_say busy "$kb_who"
            exit 0
        fi
        # Our own earlier connection, which is broken although sshd here has not noticed.
        kill "$kb_other_pid" 2>/dev/null
        kb_wait_for_lock 8 || exit 1
    fi
    for kb_old in "$kb_root"/r-*; do
        if [ -e "$kb_old" ] && [ "$kb_old" != "$KB_DIR" ]; then
            flock -n 9 || kb_wait_for_script
            rm -rf "$kb_old"
        fi
    done
    printf '%s %s %s\n' "$kb_run" "$$" "$kb_owner" >"$kb_root/owner"
}

# kb_folder - make the folder for the scripts of this run. The first one makes it, so a run that changes nothing has none.
kb_folder() { [ -d "$KB_DIR" ] || kb_error=$(mkdir "$KB_DIR" 2>&1) || kb_unusable "$kb_error"; }

# kb_wait_for_script - another run's script is still running here although nobody follows it. Report its step until it ends.
kb_wait_for_script() {
    read -r kb_other kb_other_pid kb_who <"$kb_root/owner"
    while :; do
        kb_say waiting "$(kb_step_of "$kb_root/$kb_other")" "$kb_who"
        sleep 2
        flock -n 9 && return
    done
}

# kb_step_of DIR - the phase and step a run is at, as PHASE.STEP; "-" when it has not begun one.
kb_step_of() {
    kb_log=$(find "$1" -name '*.log' -exec ls -t {} + 2>/dev/null | head -n 1)
    kb_at=$(sed -n 's/^@kb-[0-9a-f]* begin //p' "$kb_log" 2>/dev/null | tail -n 1)
    kb_log=${kb_log##*/}
    printf '%s' "${kb_at:+${kb_log%.log}.}${kb_at:--}"
}

# kb_detach - start $kb_script so that it survives this connection, the SSH session and sshd. It gets a session of its own, and
# before its first change a systemd scope of its own (kb_leave_session in runner.sh). The .pid file has its process group.
# The shell around the script holds the lock: a daemon that a step leaves behind (dnf's gpg-agent) must not hold it. That
# shell also reports how a script ended that was killed.
kb_detach() {
    if [ -d /run/systemd/system ]; then
        KB_SCOPE=kbootstrap-$kb_run-${kb_script##*/}.scope
        export KB_SCOPE
    fi
    # shellcheck disable=SC2016 # expanded by the inner shell
    KB_MODE=apply setsid sh -c '
        printf "%s\n" "$$" >"$1.pid"
        sh "$1.sh" >>"$1.log" 2>&1 9>&-
        printf "%s done %s\n" "$KB_MARKER" $? >>"$1.log"
    ' kbootstrap "$kb_script" </dev/null >/dev/null 2>&1 8>&- &
    kb_starter=$!
}

# kb_leader - the process group of the script. Until the script has begun, the process that starts it.
kb_leader() {
    kb_pid=$kb_starter
    if [ -s "$kb_script.pid" ]; then
        read -r kb_pid <"$kb_script.pid"
    fi
    [ -n "$kb_pid" ]
}

# kb_alive - does a script run, or has it ended and `tail` has not yet sent its last lines? On a busy host that takes a while.
kb_alive() {
    if [ -z "$kb_script" ]; then
        kb_inline_runs
        return
    fi
    kb_leader && kill -0 "$kb_pid" 2>/dev/null && return
    case $(tail -n 1 "$kb_script.log") in
        "$KB_MARKER done "*) return 0 ;;
    esac
    return 1
}

KB_MODE=$kb_mode
export KB_MARKER KB_MODE
if [ "$kb_mode" = apply ]; then
    kb_lock
    KB_MODE=check
fi
kb_say ready

while read -r kb_word kb_a kb_b; do
    case $kb_word in
        inline)
            kb_text=$(kb_read "$kb_b")
            kb_run_inline "$kb_text"
            ;;
        detached)
            kb_script=$KB_DIR/$kb_a
            if [ -f "$kb_script.log" ]; then
                # It was sent again after a break, because the first answer was lost.
                kb_read "$kb_b" >/dev/null
                read -r kb_word
            else
                kb_folder
                # tee reads everything, also when the disk is full.
                kb_read "$kb_b" | tee "$kb_script.sh" >/dev/null 2>&1
                # The connection broke half way. Half a script is not run.
                read -r kb_word && [ "$kb_word" = whole ] || exit 1
                [ "$(wc -c <"$kb_script.sh")" -eq "$kb_b" ] ||
                    kb_unusable "the script does not fit into $KB_DIR: $(df -h "$KB_DIR" | tail -n 1)"
                # After a reconnect the shell around the previous script may not have ended yet.
                kb_wait_for_lock 9 || exit 1
                : >"$kb_script.log"
                kb_detach
            fi
            kb_follow 1
            ;;
        follow)
            kb_script=$KB_DIR/$kb_a
            if [ -f "$kb_script.log" ]; then
                kb_follow "$kb_b"
            else
                kb_say gone
            fi
            ;;
        ping)
            if kb_alive; then
                kb_say alive "$kb_a"
            else
                kb_say gone "$kb_a"
            fi
            ;;
        stop)
            kb_folder
            : >"$KB_DIR/stop"
            ;;
        kill)
            if [ -n "$kb_script" ] && kb_leader; then
                kill -s "$kb_a" -- "-$kb_pid" 2>/dev/null && sleep 2
                kill -s KILL -- "-$kb_pid" 2>/dev/null
            else
                kb_unfollow
            fi
            kb_say killed "$kb_b"
            ;;
        quit)
            kb_unfollow
            [ ! -d "$KB_DIR" ] || rm -rf "$KB_DIR"
            exit 0
            ;;
    esac
done
kb_unfollow
