# shellcheck shell=sh
# containerd.io in the wanted version, or whatever containerd is there already when none is wanted.
# Params: VERSION (empty: the newest)

check() {
    there=$(pkg_version containerd.io)
    if [ -z "$VERSION" ] && { [ -n "$there" ] || have containerd; }; then
        return 0
    fi
    if [ -n "$VERSION" ] && [ "$there" = "$VERSION" ]; then
        return 0
    fi
    echo "${there:+- containerd.io $there }+ containerd.io ${VERSION:-(newest)}"
    return 1
}

apply() {
    remember_unit containerd
    pkg_install "containerd.io${VERSION:+=$VERSION}"
}
