# shellcheck shell=sh
# Deletes what lets a host join: every join token that kbootstrap made (of this run, of interrupted runs, and the one of
# kubeadm init), and the certificates for joining control plane hosts with the token that kubeadm made for their secret.
# Params: JOINING (1 when hosts join in this run), TOKEN_ID (empty until the token is there)

UPLOADED=$KB_STATE/certificates

# The ids of our tokens. Fails where the API server does not answer.
ours() {
    listed=$(kubeadm token list --kubeconfig /etc/kubernetes/admin.conf 2>&1) || return 1
    certificates=0
    if [ -e "$UPLOADED" ]; then
        certificates=1
    fi
    printf '%s\n' "$listed" | awk -v certificates="$certificates" '
        /kbootstrap (init|join)/ || (certificates && /kubeadm-certs/) { split($1, half, "."); print half[1] }'
}

# The secret with the certificates, where it is ours. It ends with its token, but not at once.
secret() {
    if [ -e "$UPLOADED" ]; then
        admin -n kube-system get secret kubeadm-certs --ignore-not-found -o name
    fi
}

check() {
    if ! is_control_plane || { [ "$JOINING" = 1 ] && [ -z "$TOKEN_ID" ]; }; then
        echo "the tokens of this run"
        return 2
    fi
    if ! tokens=$(ours) || ! certificates=$(secret); then
        echo "the API server does not answer"
        return 2
    fi
    if [ -n "$certificates" ]; then
        echo "- the control plane certificates in $certificates"
    fi
    if [ -n "$tokens" ]; then
        printf '%s\n' "$tokens" | sed 's/^/- bootstrap token /'
    fi
    [ -z "$certificates$tokens" ]
}

apply() {
    wait_for_api
    for token in $(ours); do
        run kubeadm token delete "$token" --kubeconfig /etc/kubernetes/admin.conf
    done
    if [ -e "$UPLOADED" ]; then
        run admin -n kube-system delete secret kubeadm-certs --ignore-not-found
        rm -f "$UPLOADED"
    fi
}
