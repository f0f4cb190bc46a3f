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

text() {
    echo "$SIGNATURE"
    case " $INSECURE " in
        *" $1 "*) printf '[host."http://%s"]\n  capabilities = ["pull", "resolve"]\n  skip_verify = true\n' "$1" ;;
    esac
    printf '%s\n' "$MIRRORS" | while read -r registry url; do
        if [ "$registry" = "$1" ]; then
            printf '[host."%s"]\n  capabilities = ["pull", "resolve"]\n' "$url"
        fi
    done
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
