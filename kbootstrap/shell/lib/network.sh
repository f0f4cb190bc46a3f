# shellcheck shell=sh
# network.sh - commands that use the network, and which of their errors are final.

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

# reaches ADDRESS:PORT - does a TCP connection open within 5 seconds? Yes where there is nothing to try it with.
reaches() {
    if have bash && have timeout; then
        timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1
    fi
}
