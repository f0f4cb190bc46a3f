# shellcheck shell=sh
# Packet filter rules of kube-proxy, Flannel and the CNI plugins, which kubeadm leaves. The rules of others stay as they are.

check() { show "$(rule_traces)"; }

apply() { remove_rules; }
