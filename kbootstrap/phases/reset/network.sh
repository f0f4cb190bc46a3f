# shellcheck shell=sh
# The pod network's interfaces and files, which kubeadm leaves.

check() { show "$(network_traces)"; }

apply() { remove_network; }
