# shellcheck shell=sh
# Finds the newest patch of the wanted minor, so that every host installs the same version. Params: MINOR

check() {
    newest=$(pkg_newest kubelet "$MINOR")
    if [ -z "$newest" ]; then
        echo "the newest $MINOR is known once the repository is there"
        return 2
    fi
    echo "$newest"
    value kubernetes_version "$newest"
}

apply() {
    repo_refresh kubernetes
    if [ -n "$(pkg_newest kubelet "$MINOR")" ]; then
        return 0
    fi
    fail "the repository has no Kubernetes $MINOR" "Does package_repository have this minor? pkgs.k8s.io begins with 1.24. [package-version]"
}
