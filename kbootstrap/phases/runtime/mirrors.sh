# shellcheck shell=sh
# One hosts.toml per mirrored registry below /etc/containerd/certs.d; containerd reads them without a restart. A file of
# ours for a registry that is no longer in the inventory is removed.
# Params: MIRRORS ("registry url" per line), INSECURE (registries)

FOLDER=/etc/containerd/certs.d
SIGNATURE="# written by kbootstrap"

registries() {
    {
        printf '%s\n' "$MIRRORS" | cut -d' ' -f1
        printf '%s\n' "$INSECURE" | tr ' ' '\n'
    } | sed '/^$/d' | sort -u
}

insecure() {
    case " $INSECURE " in
        *" $1 "*) ;;
        *) return 1 ;;
    esac
}

# host URL [SKIP] - a section of hosts.toml. containerd puts /v2 behind a path, also where the path has it further in front
# (https://harbor.example/v2/proxy). So a path is written as a whole, and containerd is told to take it as it is.
host() {
    url=${1%/}
    rest=${url#*://}
    override=0
    case $rest in
        */v2 | */v2/*) override=1 ;;
        */*) override=1 url=$url/v2 ;;
    esac
    printf '[host."%s"]\n  capabilities = ["pull", "resolve"]\n' "$url"
    if [ "$override" = 1 ]; then
        printf '  override_path = true\n'
    fi
    if [ "${2:-}" = skip ] || { insecure "${rest%%/*}" && [ "$url" != "${url#https://}" ]; }; then
        printf '  skip_verify = true\n'
    fi
}

# The mirrors, then the registry itself where its TLS is not verified: with TLS, then without.
text() {
    echo "$SIGNATURE"
    printf '%s\n' "$MIRRORS" | while read -r registry url; do
        if [ "$registry" = "$1" ]; then
            host "$url"
        fi
    done
    if insecure "$1"; then
        host "https://$1" skip
        host "http://$1"
    fi
}

stale() {
    for file in "$FOLDER"/*/hosts.toml; do
        [ -f "$file" ] || continue
        name=${file#"$FOLDER"/}
        name=${name%/hosts.toml}
        if ! registries | grep -qxF "$name" && grep -qxF "$SIGNATURE" "$file"; then
            printf '%s\n' "$file"
        fi
    done
}

check() {
    found=0
    for registry in $(registries); do
        file_is "$FOLDER/$registry/hosts.toml" "$(text "$registry")" || found=1
    done
    old=$(stale)
    if [ -n "$old" ]; then
        printf -- '- %s\n' "$old"
        found=1
    fi
    return "$found"
}

apply() {
    for registry in $(registries); do
        put_file "$FOLDER/$registry/hosts.toml" 644 "$(text "$registry")"
    done
    stale | while read -r file; do
        rm -f "$file"
    done
}
