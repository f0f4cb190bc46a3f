# shellcheck shell=sh
# network.sh - commands that use the network, and which of their errors are final.

# run_judged PATTERN COMMAND... - run it; end the step at once where another try would not help. Package managers and crictl use
# one exit status for all errors, so match their output: an error that matches PATTERN is final, unless the network caused it.
run_judged() {
    kb_final=$1
    shift
    kb_listen "$@" || kb_judge "$kb_final"
}

# Errors that another try may mend.
kb_network='[Tt]imed out|[Tt]imeout|Could not resolve|no such host|Temporary failure|Connection (reset|refused|failed)|connection (reset|refused)|unexpected EOF|Status code: 5|HTTP Error 5| 50[0-9] '

# kb_names_hint - add a hint where the output says that names do not resolve.
kb_names_hint() {
    if grep -Eq 'Could not resolve|no such host|Temporary failure in name' "$KB_DIR/output"; then
        kb_report hint "This host cannot resolve names: see /etc/resolv.conf and its name servers there."
    fi
}

# kb_listen COMMAND... - run it and keep its output. Fails when the command fails.
kb_listen() {
    mkdir -p "$KB_DIR"
    rm -f "$KB_DIR/failed"
    kb_report command "$*"
    { "$@" 2>&1 || echo "$?" >"$KB_DIR/failed"; } | tee "$KB_DIR/output"
    [ ! -e "$KB_DIR/failed" ]
}

# kb_judge PATTERN - end the step where the error is final; else return the command's exit status.
kb_judge() {
    if ! grep -Eq "$kb_network" "$KB_DIR/output"; then
        kb_error=$(grep -E "$1" "$KB_DIR/output" | head -n 1)
        if [ -n "$kb_error" ]; then
            fail "$kb_error" "Another try would not help. Check the addresses, versions and keys in the inventory."
        fi
    fi
    kb_names_hint
    return "$(cat "$KB_DIR/failed")"
}

# fetch URL FILE - download with curl. A file that the server does not have ends the step.
fetch() {
    kb_report command "curl -fsSL $1"
    kb_failed=0
    kb_code=$(curl -fsSL --connect-timeout 20 --max-time 120 --max-filesize 1000000 -w '%{http_code}' -o "$2" "$1" \
        2>"$KB_DIR/output") || kb_failed=$?
    cat "$KB_DIR/output"
    case $kb_code in
        408 | 425 | 429) ;;
        4*) fail "$1: the server answers with status $kb_code" "Is that address right? The inventory, or a mirror it names, has it." ;;
    esac
    kb_names_hint
    return "$kb_failed"
}

# reaches ADDRESS:PORT - does a TCP connection open within 5 seconds? Yes where bash or timeout is not installed.
reaches() {
    if have bash && have timeout; then
        timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1
    fi
}
