# shellcheck shell=sh
# kubeadm reset, and everything it speaks of but does not do: folders, mounts, a kubelet that would start again.
# Params: CRI_SOCKET

check() { show "$(cluster_traces)"; }

apply() { leave_cluster "$CRI_SOCKET"; }
