# shellcheck shell=sh
# Flannel, applied from our own manifest. An annotation of the DaemonSet has the manifest's fingerprint.
# Params: MANIFEST (YAML), FINGERPRINT

installed() {
    admin -n kube-flannel get daemonset kube-flannel-ds --ignore-not-found \
        -o 'jsonpath={.metadata.annotations.kbootstrap/manifest}'
}

check() {
    if ! have kubectl || [ ! -s /etc/kubernetes/admin.conf ]; then
        echo "+ Flannel in the namespace kube-flannel"
        return 1
    fi
    there=$(installed) || return 2
    [ "$there" = "$FINGERPRINT" ] && return 0
    if [ -n "$there" ]; then
        echo "~ Flannel's manifest has changed"
    else
        echo "+ Flannel in the namespace kube-flannel"
    fi
    return 1
}

apply() {
    wait_for_api
    printf '%s\n' "$MANIFEST" | run admin apply -f -
    run admin -n kube-flannel annotate daemonset kube-flannel-ds "kbootstrap/manifest=$FINGERPRINT" --overwrite
}
