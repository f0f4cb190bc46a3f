# shellcheck shell=sh
# Folders of the kubelet and etcd, etcd's for root only.
# Params: ROOT

check() {
    [ -d "$ROOT/var/lib/kubelet" ] && [ -d "$ROOT/etc/kubernetes/manifests" ] &&
        [ "$(stat -c %a "$ROOT/var/lib/etcd" 2>/dev/null)" = 700 ]
}

apply() {
    mkdir -p "$ROOT/var/lib/kubelet" "$ROOT/etc/kubernetes/manifests" "$ROOT/var/lib/etcd"
    chmod 700 "$ROOT/var/lib/etcd"
}
