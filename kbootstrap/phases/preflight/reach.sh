# shellcheck shell=sh
# Tries to reach the package sources and the control plane hosts, all at once. What cannot be reached is a warning: a peer's
# SSH port may be closed on purpose, and a source may be needed no more.
# Params: URLS, PEERS ("address:port ...")

try_url() {
    have curl || return 0
    curl -fsSL --connect-timeout 5 --max-time 15 -o /dev/null "$1" >/dev/null 2>&1 || echo "cannot fetch $1"
}

try_peer() {
    have bash && have timeout || return 0
    timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1 || echo "cannot reach $1 (TCP)"
}

troubles() {
    for url in $URLS; do
        try_url "$url" &
    done
    for peer in $PEERS; do
        try_peer "$peer" &
    done
    wait
}

check() {
    troubles | while read -r trouble; do
        kb_report warning "$trouble"
    done
}

apply() { :; }
