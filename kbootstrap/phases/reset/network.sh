# shellcheck shell=sh
# The pod network's interfaces, routes, files and virtual servers, which kubeadm leaves. Only this step removes the folders, not
# the cleanup of an interrupted init or join: containerd watches them, and does not see a folder that is made again.
# Params: POD_CIDR

check() { show "$(network_traces "$POD_CIDR")"; }

apply() {
    remove_network "$POD_CIDR"
    rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
}
