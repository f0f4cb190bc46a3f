# shellcheck shell=sh
# containerd in the wanted version. Where none is wanted, an installed containerd stays when Kubernetes can use it, also one
# that came without the package containerd.io. The package is held, so that system updates do not change it.
# Params: VERSION (empty: the newest), MAJOR (empty: any; the newest of this one), MINIMUM (versions: the oldest of each
# major; a major below them is too old), ADVISED (a warning for an older one)

newest() { echo "(newest${MAJOR:+ $MAJOR.x})"; }

# The version of the containerd in PATH, whoever installed it.
running() {
    if have containerd; then
        containerd --version 2>/dev/null | awk '{ sub(/^v/, "", $3); sub(/[^0-9.].*/, "", $3); print $3 }'
    fi
}

# older VERSION THAN - compares numbers, part by part.
older() {
    awk -v one="$1" -v other="$2" 'BEGIN {
        split(one, a, "."); split(other, b, ".")
        for (i = 1; i <= 3; i++) if (a[i] + 0 != b[i] + 0) exit !(a[i] + 0 < b[i] + 0)
        exit 1
    }'
}

# Why Kubernetes cannot use this version; nothing when it can.
unusable() {
    if [ -n "$MAJOR" ] && [ "${1%%.*}" != "$MAJOR" ]; then
        echo "this Kubernetes needs containerd $MAJOR.x"
        return
    fi
    for oldest in $MINIMUM; do
        if [ "${1%%.*}" = "${oldest%%.*}" ]; then
            older "$1" "$oldest" && echo "this Kubernetes needs at least $oldest"
            return 0
        fi
    done
    if [ -n "$MINIMUM" ] && older "$1" "${MINIMUM%% *}"; then
        echo "this Kubernetes needs at least ${MINIMUM%% *}"
    fi
}

check() {
    fits || return 1
    if [ -n "$there" ]; then
        pkg_is_held containerd.io
    fi
}

# Is the right one installed? Prints the difference when it is not.
fits() {
    there=$(pkg_version containerd.io)
    runs=$(running)
    if [ -n "$VERSION" ]; then
        [ "${there:-$runs}" = "$VERSION" ] && return 0
    elif [ -n "$runs" ]; then
        why=$(unusable "$runs")
        if [ -z "$why" ]; then
            if [ -n "$ADVISED" ] && older "$runs" "$ADVISED"; then
                kb_report warning "containerd $runs is older than $ADVISED, which this Kubernetes advises"
            fi
            return 0
        fi
        echo "containerd is $runs: $why"
    elif have containerd; then
        return 0
    fi
    echo "${there:+- containerd.io $there }+ containerd.io ${VERSION:-$(newest)}"
    return 1
}

apply() {
    if ! fits >/dev/null; then
        install_containerd
    fi
    if [ -n "$(pkg_version containerd.io)" ]; then
        pkg_hold containerd.io
    fi
}

install_containerd() {
    save_unit_state containerd
    wanted=$VERSION
    if [ -z "$wanted" ] && [ -n "$MAJOR$(running)" ]; then
        # A package manager takes an installed package for the newest one, unless it is told a version.
        for major in ${MAJOR:-3 2 1}; do
            wanted=$(pkg_newest containerd.io "$major")
            [ -z "$wanted" ] || break
        done
        if [ -z "$wanted" ] || [ -n "$(unusable "$wanted")" ]; then
            fail "the repository has no containerd.io that fits: $(unusable "${wanted:-0}")" \
                "Set runtime.package_repository to one that has it. [package-version]"
        fi
    fi
    pkg_install "containerd.io${wanted:+=$wanted}"
    runs=$(running)
    if [ -z "$VERSION" ] && [ -n "$runs" ] && [ -n "$(unusable "$runs")" ]; then
        fail "$(command -v containerd) is $runs, and not of the package containerd.io: $(unusable "$runs")" \
            "Remove that file, or install a newer containerd there. [container-runtime]"
    fi
}
