# shellcheck shell=sh
# Tries to reach the sources of packages and images and the control plane hosts, all at once. What cannot be reached is a
# warning: a peer's SSH port may be closed on purpose, a source may be needed no more, images may be there already.
# Params: URLS (to fetch), REGISTRIES (any answer will do), PEERS ("address:port ...")

try_url() {
    have curl || return 0
    curl -fsSL --connect-timeout 5 --max-time 15 -o /dev/null "$1" >/dev/null 2>&1 || echo "cannot fetch $1"
}

try_registry() {
    have curl || return 0
    curl -sSL --connect-timeout 5 --max-time 15 -o /dev/null "$1" >/dev/null 2>&1 || echo "cannot reach the registry $1"
}

try_peer() {
    have bash && have timeout || return 0
    timeout 5 bash -c ": </dev/tcp/${1%:*}/${1##*:}" >/dev/null 2>&1 || echo "cannot reach $1 (TCP)"
}

troubles() {
    for url in $URLS; do
        try_url "$url" &
    done
    for registry in $REGISTRIES; do
        try_registry "$registry" &
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
