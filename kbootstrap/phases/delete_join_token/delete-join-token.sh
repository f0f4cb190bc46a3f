# shellcheck shell=sh
# Deletes every join token that kbootstrap made: that of this run, those of interrupted runs, and the one kubeadm init made.
# Params: JOINING (1 when hosts join in this run), TOKEN_ID (empty until the token is there)

# The ids of our tokens. Fails where the API server does not answer.
ours() {
    listed=$(kubeadm token list --kubeconfig /etc/kubernetes/admin.conf 2>&1) || return 1
    printf '%s\n' "$listed" | awk '/kbootstrap (init|join)/ { split($1, half, "."); print half[1] }'
}

check() {
    if ! is_control_plane || { [ "$JOINING" = 1 ] && [ -z "$TOKEN_ID" ]; }; then
        echo "the tokens of this run"
        return 2
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
