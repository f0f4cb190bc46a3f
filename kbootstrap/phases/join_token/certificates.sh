# shellcheck shell=sh
# The kubeadm-certs secret and the key it is encrypted with; kubeadm prints the key as the last line.

check() {
    if [ ! -s "$KB_DIR/certificate-key" ]; then
        echo "+ control plane certificates as a secret in the cluster, for 2 hours"
        return 1
    fi
    value certificate_key "$(cat "$KB_DIR/certificate-key")"
}

apply() {
    wait_for_api
    umask 077
    run kubeadm init phase upload-certs --upload-certs --config "$KB_STATE/kubeadm-init.yaml" >"$KB_DIR/upload"
    tail -n 1 "$KB_DIR/upload" >"$KB_DIR/certificate-key"
}
