# shellcheck shell=sh
# A bootstrap token and the join command that goes with it. kubeadm makes the token up, so it never appears in arguments.
# Params: TTL

check() {
    if [ ! -s "$KB_DIR/join" ]; then
        echo "+ a bootstrap token, valid $TTL"
        return 1
    fi
    value join "$(cat "$KB_DIR/join")"
}

apply() {
    wait_for_api
    umask 077
    run kubeadm token create --ttl "$TTL" --description 'kbootstrap join' --print-join-command \
        --kubeconfig /etc/kubernetes/admin.conf >"$KB_DIR/join.new"
    mv "$KB_DIR/join.new" "$KB_DIR/join"
}
