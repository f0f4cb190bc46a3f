# shellcheck shell=sh
# Deletes the bootstrap token by its id, which is its public half.
# Params: TOKEN_ID (empty while it is not known)

check() {
    if [ -z "$TOKEN_ID" ]; then
        echo "the token of this run"
        return 2
    fi
    if kubeadm token list --kubeconfig /etc/kubernetes/admin.conf | grep -q "^$TOKEN_ID\."; then
        echo "- bootstrap token $TOKEN_ID"
        return 1
    fi
}

apply() {
    [ -n "$TOKEN_ID" ] || fail "no token is known: none was made in this run"
    run kubeadm token delete "$TOKEN_ID" --kubeconfig /etc/kubernetes/admin.conf
}
