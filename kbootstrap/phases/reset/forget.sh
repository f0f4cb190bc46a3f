# shellcheck shell=sh
# What a host leaves behind in a cluster that stays: its node object, the pods bound to it, and as a control plane host its
# etcd member. A stale member counts for etcd's majority and keeps the next control plane host from joining
# (kubernetes/kubernetes#81071). A node that comes back soon under its name would get the old pods again, already
# started: Flannel's would not write its files a second time.
# A Ready node of that name at another address is another host, and is left alone.
# Params: NODE_NAME, ADDRESS, SELF (the node of the control plane host this runs on)

node() { admin get node "$NODE_NAME" --ignore-not-found -o "jsonpath=$1"; }

somebody_else() {
    [ "$(node '{.status.conditions[?(@.type=="Ready")].status}')" = True ] &&
        [ "$(node '{.status.addresses[?(@.type=="InternalIP")].address}')" != "$ADDRESS" ]
}

etcd() {
    pki=/etc/kubernetes/pki/etcd
    admin -n kube-system exec "etcd-$SELF" -- etcdctl --endpoints=https://127.0.0.1:2379 \
        --cacert="$pki/ca.crt" --cert="$pki/server.crt" --key="$pki/server.key" "$@"
}

# Ids of members with this name or peer address: "ID, started, NAME, PEERS, CLIENTS, LEARNER" a line.
members() {
    if ! listed=$(etcd member list 2>&1); then
        kb_report warning "the members of etcd cannot be listed: $(printf '%s' "$listed" | tail -n 1)"
        return 0
    fi
    printf '%s\n' "$listed" | awk -F ', ' -v name="$NODE_NAME" -v peer="//$ADDRESS:" '
        $3 == name || index($4, peer) { print $1 }'
}

bound() {
    pods --all-namespaces --field-selector "spec.nodeName=$NODE_NAME" | awk -F '\t' 'NF > 1 { print $1 "/" $2 }'
}

left() {
    if somebody_else; then
        return 0
    fi
    if [ -n "$(node '{.metadata.name}')" ]; then
        echo "- node $NODE_NAME"
    fi
    for pod in $(bound); do
        echo "- pod $pod"
    done
    for member in $(members); do
        echo "- etcd member $member of $NODE_NAME"
    done
}

check() {
    if [ ! -s /etc/kubernetes/admin.conf ]; then
        return 0
    fi
    if ! api_answers; then
        echo "the API server does not answer"
        return 2
    fi
    show "$(left)"
}

apply() {
    if ! api_answers; then
        fail "the API server does not answer, so the cluster cannot be told that $NODE_NAME is gone" \
            "Fix the control plane, then run the same command again. [api-server]"
    fi
    for member in $(members); do
        run etcd member remove "$member"
    done
    run admin delete node "$NODE_NAME" --ignore-not-found
    for pod in $(bound); do
        run admin -n "${pod%%/*}" delete pod "${pod#*/}" --grace-period=0 --force --ignore-not-found --wait=false
    done
}
