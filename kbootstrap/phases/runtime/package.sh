# shellcheck shell=sh
# containerd.io in the wanted version. Where none is wanted, an installed containerd stays when its major version fits.
# Params: VERSION (empty: the newest), MAJOR (empty: any; the newest of this one)

newest() { echo "(newest${MAJOR:+ $MAJOR.x})"; }

fits() {
    if [ -n "$VERSION" ]; then
        [ "$there" = "$VERSION" ]
    elif [ -n "$there" ]; then
        case $there in
            "${MAJOR:-$there}" | "${MAJOR:-$there}".*) ;;
            *) return 1 ;;
        esac
    else
        have containerd
    fi
}

check() {
    there=$(pkg_version containerd.io)
    fits && return 0
    echo "${there:+- containerd.io $there }+ containerd.io ${VERSION:-$(newest)}"
    return 1
}

apply() {
    save_unit_state containerd
    wanted=$VERSION
    if [ -z "$wanted" ] && [ -n "$MAJOR" ]; then
        wanted=$(pkg_newest containerd.io "$MAJOR")
        [ -n "$wanted" ] || fail "the repository has no containerd.io $MAJOR.x, and this Kubernetes needs it" \
            "Set runtime.package_repository to one that has it."
    fi
    pkg_install "containerd.io${wanted:+=$wanted}"
}
