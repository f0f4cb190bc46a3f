# shellcheck shell=sh
# kubeadm join, exactly once. An interrupted join leaves certificates and a kubelet that waits without end; the host is cleaned
# before the next try. A worker with a kubelet.conf is a member, and so is a control plane host whose join ended. Where only our
# marker is missing, kubeadm's last line counts. A member is never cleaned.
# Params: NODE_NAME, CONFIG (YAML with the token; empty until it is born), ENDPOINT, ROLE, CRI_SOCKET
# In a script of `plan --script`, CONFIG has @KB_TOKEN@, @KB_CA_HASH@ and @KB_CERTIFICATE_KEY@. Who runs it exports these.

LOG=$KB_STATE/join.log

unfinished() {
    [ -e "$KB_STATE/join.begun" ] && [ ! -e "$KB_STATE/join.done" ] && ! grep -qs '^This node has joined the cluster' "$LOG"
}

half_joined() {
    [ -e /etc/kubernetes/bootstrap-kubelet.conf ] || [ -e /etc/kubernetes/pki/ca.crt ] ||
        { [ "$ROLE" = control-plane ] && unfinished && [ -n "$(cluster_traces)" ]; }
}

joined() {
    [ -s /etc/kubernetes/kubelet.conf ] || return 1
    [ "$ROLE" = worker ] || ! unfinished
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
        broken_off join "$LOG"
    fi
    echo "+ kubeadm join $ENDPOINT as $ROLE"
    return 1
}

# CONFIG, with what was exported in place of its placeholders. No value becomes an argument, which other users could read.
complete_config() {
    case $CONFIG in
        *@KB_TOKEN@*)
            printf '%s\n' "$CONFIG" | awk '{
                gsub(/@KB_TOKEN@/, ENVIRON["KB_TOKEN"])
                gsub(/@KB_CA_HASH@/, ENVIRON["KB_CA_HASH"])
                gsub(/@KB_CERTIFICATE_KEY@/, ENVIRON["KB_CERTIFICATE_KEY"])
                print
            }'
            ;;
        *) printf '%s\n' "$CONFIG" ;;
    esac
}

all_exported() {
    for name in KB_TOKEN KB_CA_HASH KB_CERTIFICATE_KEY; do
        case $CONFIG in
            *"@$name@"*) eval "[ -n \"\${$name:-}\" ]" || fail "the variable $name is not exported" "See README beside the scripts. [script-folder]" ;;
        esac
    done
}

# kubeadm itself would try for five minutes, and its error would not name the cause.
reach_endpoint() {
    left=6
    until reaches "$ENDPOINT"; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "this host cannot reach the API server at $ENDPOINT" \
            "Is a firewall in between, or does cluster.control_plane_endpoint lead somewhere else? [join-failed]"
        sleep 2
    done
}

apply() {
    if joined; then
        service_on kubelet
        return 0
    fi
    have kubeadm || fail "kubeadm is not installed" "Run the phase packages first. [phase-choice]"
    all_exported
    reach_endpoint
    if half_joined; then
        clean_host "$CRI_SOCKET"
    fi
    state_folder
    rm -f "$KB_STATE/join.done" "$LOG"
    : >"$KB_STATE/join.begun"
    (
        umask 077
        complete_config >"$KB_DIR/join.yaml"
    )
    joining=0
    kubeadm_kept "$LOG" join --config "$KB_DIR/join.yaml" || joining=$?
    rm -f "$KB_DIR/join.yaml"
    if [ "$joining" -ne 0 ]; then
        kb_report hint "Can this host reach $ENDPOINT? Are the clocks the same? See journalctl -u kubelet there. [join-failed]"
        return "$joining"
    fi
    : >"$KB_STATE/join.done"
    printf '%s\n' "$NODE_NAME" >"$KB_STATE/node"
}
