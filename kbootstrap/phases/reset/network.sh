# shellcheck shell=sh
# The pod network's interfaces and files, which kubeadm leaves. Only this step removes the folders, not the cleanup of an
# interrupted init or join: containerd watches them, and does not see a folder that is made again.

check() { show "$(network_traces)"; }

apply() {
    remove_network
    rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
}
