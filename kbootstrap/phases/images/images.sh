# shellcheck shell=sh
# The images of this version, as kubeadm on this very host lists them, and those of the pod network.
# Params: VERSION, REPOSITORY, ROLE, EXTRA (images)

wanted() {
    kubeadm config images list --kubernetes-version "v$VERSION" --image-repository "$REPOSITORY" 2>/dev/null |
        if [ "$ROLE" = worker ]; then
            grep -e /kube-proxy: -e /pause: -e /coredns:
        else
            cat
        fi
    printf '%s\n' "$EXTRA" | tr ' ' '\n'
}

missing() {
    there=$(crictl images 2>/dev/null | awk '{ print $1 ":" $2 }')
    wanted | while read -r image; do
        if ! printf '%s\n' "$there" | grep -qxF "$image"; then
            printf '%s\n' "$image"
        fi
    done
}

check() {
    if ! have kubeadm || ! have crictl; then
        echo "+ the images of Kubernetes $VERSION"
        return 1
    fi
    found=$(missing)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sed 's/^/+ /'
        return 1
    fi
}

apply() {
    for image in $(missing); do
        run crictl pull "$image"
    done
}
