# shellcheck shell=sh
# kubelet, kubeadm and kubectl in one version, held; the kubelet enabled (kubeadm starts it). A plan may not know the exact
# version yet: then VERSION is a minor, and any patch of it is right.
# Params: VERSION (1.34.2 or 1.34)

NAMES="kubelet kubeadm kubectl"
EXTRAS="cri-tools kubernetes-cni"

check() {
    found=0
    for name in $NAMES; do
        there=$(pkg_version "$name")
        case $there in
            "$VERSION" | "$VERSION".*) ;;
            '') echo "+ $name $VERSION" && found=1 ;;
            *) echo "~ $name $there, wanted $VERSION" && found=1 ;;
        esac
    done
    for name in $EXTRAS; do
        if [ -z "$(pkg_version "$name")" ]; then
            echo "+ $name"
            found=1
        fi
    done
    [ "$found" -eq 0 ] || return 1
    # shellcheck disable=SC2086 # names are words
    pkg_is_held $NAMES || found=1
    if packages_unfinished; then
        echo "an installation was interrupted before its packages were recorded"
        found=1
    fi
    if ! systemctl is-enabled --quiet kubelet 2>/dev/null; then
        echo "kubelet is not enabled"
        found=1
    fi
    return "$found"
}

# The version to install. In a script that is run by hand VERSION may be a minor.
exact() {
    case $VERSION in
        *.*.*) echo "$VERSION" ;;
        *) pkg_newest kubelet "$VERSION" ;;
    esac
}

apply() {
    save_unit_state kubelet
    wanted=$(exact)
    [ -n "$wanted" ] || fail "the repository has no Kubernetes $VERSION" "Was the phase repository run, and does package_repository have this minor? [package-version]"
    # shellcheck disable=SC2086 # names are words
    pkg_install "kubelet=$wanted" "kubeadm=$wanted" "kubectl=$wanted" $EXTRAS
    # shellcheck disable=SC2086 # names are words
    pkg_hold $NAMES
    run systemctl enable kubelet
}
