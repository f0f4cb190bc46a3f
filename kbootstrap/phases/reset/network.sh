# shellcheck shell=sh
# The pod network's interfaces and files, which kubeadm leaves. The folders go here only, and not where a broken-off init or
# join is cleaned: containerd watches them, and a folder made anew it does not see.

check() { show "$(network_traces)"; }

apply() {
    remove_network
    rmdir /etc/cni/net.d /etc/cni 2>/dev/null || true
}
