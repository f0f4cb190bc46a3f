# shellcheck shell=sh
# Evicts the pods of a node that leaves, so that they are started elsewhere first. A node that is not Ready cannot
# confirm that its pods ended; they are removed together with its node object.
# Params: NODE_NAME, SECONDS_TO_WAIT

node() { admin get node "$NODE_NAME" --ignore-not-found -o "jsonpath=$1"; }

ready() { [ "$(node '{.status.conditions[?(@.type=="Ready")].status}')" = True ]; }

# Pods that a drain moves: not those that belong to the node itself, or to a DaemonSet.
movable() {
    pods --all-namespaces --field-selector "spec.nodeName=$NODE_NAME" |
        awk -F '\t' '$3 != "Succeeded" && $3 != "Failed" && $5 !~ /^(DaemonSet|Node)$/ { print "- pod " $1 "/" $2 }'
}

check() {
    if ! api_answers; then
        echo "the API server does not answer"
        return 2
    fi
    if [ -z "$(node '{.metadata.name}')" ]; then
        return 0
    fi
    if [ "$(node '{.spec.unschedulable}')" != true ]; then
        echo "~ node $NODE_NAME takes no new pods"
        movable
        return 1
    fi
    found=''
    if ready; then
        found=$(movable)
    fi
    show "$found"
}

apply() {
    if ! api_answers; then
        fail "the API server does not answer, so the cluster cannot be told that $NODE_NAME leaves" \
            "Fix the control plane first, or reset the whole cluster (without --limit). [api-server]"
    fi
    if ! ready; then
        run admin cordon "$NODE_NAME"
        return
    fi
    if ! run kubectl_admin drain "$NODE_NAME" --ignore-daemonsets \
        --delete-emptydir-data --force --timeout="${SECONDS_TO_WAIT}s"; then
        kb_report hint "Something keeps these pods (a PodDisruptionBudget, or no other node takes them). See kubectl get pdb -A. [drain-blocked]"
        return 1
    fi
}
