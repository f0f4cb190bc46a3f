# shellcheck shell=sh
# packages.sh - run a package manager, and record what came with an installation.
# requires: network os state

kb_lock_wait=300

# run_packages COMMAND... - run a package manager. While another one holds the lock, wait and report which process that is.
# The OS file has the patterns for lock errors and for final errors.
run_packages() {
    kb_waited=0
    until kb_listen "$@"; do
        kb_error=$(grep -E "$(kb_lock_errors)" "$KB_DIR/output" | tail -n 1)
        if [ -z "$kb_error" ]; then
            kb_judge "$(kb_final_errors)"
            return
        fi
        kb_report hint "Another package manager is at work$(kb_holder "$kb_error"): updates begin by themselves after a boot. Wait, or end it. [package-lock]"
        if [ "$kb_waited" -ge "$kb_lock_wait" ]; then
            fail "another package manager has been at work for $kb_lock_wait s$(kb_holder "$kb_error"): $kb_error"
        fi
        sleep 5
        kb_waited=$((kb_waited + 5))
    done
}

# kb_holder ERROR - which process holds the lock, where the error has its number.
kb_holder() {
    kb_pid=$(printf '%s\n' "$1" | sed -n 's/.*\(by\|pid\|process\) \([0-9][0-9]*\).*/\2/p')
    if [ -n "$kb_pid" ]; then
        printf ' (process %s%s)' "$kb_pid" "$(sed 's/^/, /' "/proc/$kb_pid/comm" 2>/dev/null)"
    fi
}

# packages_before, packages_after - around an installation: record which packages came and which were removed. The list from
# before stays when the installation is interrupted.
packages_before() {
    state_folder
    if [ ! -s "$KB_STATE/packages" ]; then
        pkg_list >"$KB_STATE/packages.new"
        mv "$KB_STATE/packages.new" "$KB_STATE/packages"
    fi
}

# packages_unfinished - was an installation interrupted?
packages_unfinished() { [ -s "$KB_STATE/packages" ]; }

packages_after() {
    pkg_list >"$KB_STATE/packages.new"
    for kb_name in $(comm -13 "$KB_STATE/packages" "$KB_STATE/packages.new"); do
        # A package that was removed earlier and is here again did not come with us.
        saved_state replaced "$kb_name" >/dev/null || save_state package "$kb_name"
    done
    for kb_name in $(comm -23 "$KB_STATE/packages" "$KB_STATE/packages.new"); do
        save_state replaced "$kb_name"
    done
    rm -f "$KB_STATE/packages" "$KB_STATE/packages.new"
}
