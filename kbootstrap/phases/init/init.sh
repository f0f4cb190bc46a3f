# shellcheck shell=sh
# kubeadm init, exactly once. It is not idempotent (kubernetes/kubeadm#2353), so this step first finds the state of the host:
# fresh, initialised (its own API server knows this node), half (an init of ours began and did not end), or down (there is a
# control plane that does not answer: it is not changed). kubeadm's output is kept until the next try. It says where the last
# try stopped, or that it succeeded and only our marker is missing.
# Params: NODE_NAME, CONFIG (YAML), VERSION (exact, or a minor), SKIP_PHASES, CRI_SOCKET

LOG=$KB_STATE/init.log

unfinished() {
    [ -e "$KB_STATE/init.begun" ] && [ ! -e "$KB_STATE/init.done" ] && ! grep -qs 'has initialized successfully' "$LOG"
}

place() {
    if [ ! -e /etc/kubernetes/admin.conf ] && [ ! -e /etc/kubernetes/kubelet.conf ] &&
        [ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ] && [ ! -d /var/lib/etcd/member ]; then
        echo fresh
    elif unfinished; then
        echo half
    elif api_answers && admin get node "$NODE_NAME" -o name >/dev/null 2>&1; then
        echo initialised
    else
        echo down
    fi
}

check() {
    case $(place) in
        initialised) return 0 ;;
        fresh) echo "+ kubeadm init, Kubernetes $VERSION" ;;
        half)
            broken_off init "$LOG"
            echo "+ kubeadm init, Kubernetes $VERSION"
            ;;
        down)
            echo "there is a control plane on this host, but its API server does not answer (or does not know $NODE_NAME)"
            return 2
            ;;
    esac
    return 1
}

apply() {
    have kubeadm || fail "kubeadm is not installed" "Run the phase packages first. [phase-choice]"
    where=$(place)
    if [ "$where" = down ]; then
        wait_for_api
        return 0
    fi
    if [ "$where" = half ]; then
        clean_host "$CRI_SOCKET"
    fi
    state_folder
    rm -f "$KB_STATE/init.done" "$LOG"
    : >"$KB_STATE/init.begun"
    new=$(mktemp "$KB_STATE/kubeadm-init.yaml.kbXXXXXX")
    kubeadm_config >"$new"
    replace_with "$new" "$KB_STATE/kubeadm-init.yaml" 600
    starting=0
    kubeadm_kept "$LOG" init --config "$KB_STATE/kubeadm-init.yaml" --skip-token-print \
        ${SKIP_PHASES:+--skip-phases="$SKIP_PHASES"} || starting=$?
    if [ "$starting" -ne 0 ]; then
        kb_report hint "See journalctl -u kubelet and crictl ps -a there. kubeadm's whole output is in $LOG. [init-failed]"
        return "$starting"
    fi
    : >"$KB_STATE/init.done"
    printf '%s\n' "$NODE_NAME" >"$KB_STATE/node"
}
