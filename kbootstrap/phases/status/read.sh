# shellcheck shell=sh
# Hands the cluster's nodes, system pods and admin.conf to the operator. Changes nothing.

check() {
    if ! api_answers; then
        echo "the API server on this host does not answer"
        return 2
    fi
    value nodes "$(nodes)"
    value pods "$(pods -n kube-system && pods -n kube-flannel)"
    value kubeconfig "$(cat /etc/kubernetes/admin.conf)"
}

apply() { fail "the API server on this host does not answer" "Run kbootstrap up first. [api-server]"; }
