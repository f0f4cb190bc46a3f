# shellcheck shell=sh
# kubeadm join, exactly once. A join that broke off leaves certificates and a kubelet that waits for ever; it is cleaned
# before the next try. A host with a kubelet.conf is a member and is never cleaned.
# Params: CONFIG (YAML with the token; empty until it is born), ENDPOINT, ROLE, CRI_SOCKET

half_joined() {
    [ -e /etc/kubernetes/bootstrap-kubelet.conf ] || [ -e /etc/kubernetes/pki/ca.crt ] ||
        { [ "$ROLE" = control-plane ] && [ -e "$KB_STATE/join.begun" ] && [ ! -e "$KB_STATE/join.done" ]; }
}

joined() {
    [ -s /etc/kubernetes/kubelet.conf ] || return 1
    [ "$ROLE" = worker ] || [ -e "$KB_STATE/join.done" ] || [ ! -e "$KB_STATE/join.begun" ]
}

check() {
    if joined; then
        if systemctl is-active --quiet kubelet; then
            return 0
        fi
        echo "the kubelet is not running"
        return 1
    fi
    if half_joined; then
        echo "! reset this host: an earlier kubeadm join did not finish"
    fi
    echo "+ kubeadm join $ENDPOINT as $ROLE"
    return 1
}

apply() {
    if joined; then
        service_on kubelet
        return 0
    fi
    if half_joined; then
        run kubeadm reset --force --cri-socket "$CRI_SOCKET"
    fi
    mkdir -p "$KB_STATE"
    chmod 700 "$KB_STATE"
    rm -f "$KB_STATE/join.done"
    : >"$KB_STATE/join.begun"
    (
        umask 077
        printf '%s\n' "$CONFIG" >"$KB_DIR/join.yaml"
    )
    joining=0
    run kubeadm join --config "$KB_DIR/join.yaml" || joining=$?
    rm -f "$KB_DIR/join.yaml"
    if [ "$joining" -ne 0 ]; then
        kb_report hint "Can this host reach $ENDPOINT? Are the clocks the same? Look at journalctl -u kubelet there."
        return "$joining"
    fi
    : >"$KB_STATE/join.done"
}
