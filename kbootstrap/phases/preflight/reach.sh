# shellcheck shell=sh
# Tries to reach the sources of packages and images, and other hosts, all at once. This host fails here, before anything is
# changed, where a package source that this run needs cannot be reached or the control plane's name does not resolve. The rest
# is only a warning: a peer's SSH port may be closed on purpose, and images may be there already.
# Params: WARN, NEEDED, URLS (to fetch), REGISTRIES ("registry url..." per line: any answer of one url will do), INSECURE
# (registries whose TLS is not verified), PEERS ("address:port ..."), NAME (of the control plane)

fetch() { curl -sSL --connect-timeout 5 --max-time 15 -o /dev/null "$@" 2>&1; }

try_url() {
    have curl || return 0
    if ! said=$(fetch -f "$2"); then
        echo "$1 cannot fetch $2 (${said#curl: })"
    fi
}

try_registry() {
    have curl || return 0
    name=$1
    shift
    for url; do
        if try_api "$url"; then
            return 0
        fi
    done
    echo "warning cannot reach the registry $name (tried: $*)"
}

# try_api URL - does a registry or mirror answer?
try_api() {
    host=${1#*://}
    case " $INSECURE " in
        *" ${host%%/*} "*) fetch -k "$1" >/dev/null ;;
        *) fetch "$1" >/dev/null ;;
    esac
}

try_peer() { reaches "$1" || echo "warning cannot reach $1 (TCP)"; }

try_name() { getent hosts "$1" >/dev/null || echo "name-resolution cluster.control_plane_endpoint: $1 does not resolve here"; }

troubles() {
    for url in $NEEDED; do
        try_url package-sources "$url" &
    done
    for url in $URLS; do
        try_url warning "$url" &
    done
    while read -r registry; do
        # shellcheck disable=SC2086 # a name and its urls
        try_registry $registry &
    done <<LINES
$REGISTRIES
LINES
    for peer in $PEERS; do
        try_peer "$peer" &
    done
    if [ -n "$NAME" ]; then
        try_name "$NAME"
    fi
    wait
}

check() {
    troubles | while read -r kind trouble; do
        if [ "$kind" = warning ]; then
            kb_report warning "$trouble"
        else
            requirement "$kind" "$trouble" "Fix the name or the way there (DNS, proxy, firewall), or set a mirror in the inventory. [download]"
        fi
    done
}

apply() { :; }
