# shellcheck shell=sh
# kubeadm reset, and what it only advises: remove folders and mounts, stop the kubelet.
# Params: CRI_SOCKET

check() { show "$(cluster_traces)"; }

apply() { leave_cluster "$CRI_SOCKET"; }
