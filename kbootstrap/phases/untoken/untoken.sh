# shellcheck shell=sh
# Deletes every join token that kbootstrap made, also one of a run that was cut off before it came to this.
# Params: JOINING (1 when hosts join in this run), TOKEN_ID (empty until the token is there)

# The public halves of our tokens; fails when the cluster cannot be asked.
ours() {
    listed=$(kubeadm token list --kubeconfig /etc/kubernetes/admin.conf 2>&1) || return 1
    printf '%s\n' "$listed" | awk '/kbootstrap join/ { split($1, half, "."); print half[1] }'
}

check() {
    if [ "$JOINING" = 1 ] && [ -z "$TOKEN_ID" ]; then
        echo "the token of this run"
        return 2
    fi
    if ! have kubeadm || [ ! -s /etc/kubernetes/admin.conf ]; then
        return 0
    fi
    if ! tokens=$(ours); then
        echo "the API server does not answer"
        return 2
    fi
    if [ -n "$tokens" ]; then
        printf '%s\n' "$tokens" | sed 's/^/- bootstrap token /'
        return 1
    fi
}

apply() {
    wait_for_api
    for token in $(ours); do
        run kubeadm token delete "$token" --kubeconfig /etc/kubernetes/admin.conf
    done
}
