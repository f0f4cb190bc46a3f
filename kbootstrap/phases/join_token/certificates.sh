# shellcheck shell=sh
# The kubeadm-certs secret and the key it is encrypted with; kubeadm prints the key as the last line. The settings of the
# cluster come from the cluster itself: the file of kubeadm init may be old, or on another host. A file records that the
# secret is ours, so that the end of this run, or the next run, deletes it.
# Params: CONFIG (YAML: an InitConfiguration for this host)

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
    cluster=$(admin -n kube-system get configmap kubeadm-config -o 'jsonpath={.data.ClusterConfiguration}') ||
        fail "the cluster's configuration cannot be read" "See kubectl -n kube-system get configmap kubeadm-config. [kubeadm-config]"
    state_folder
    : >"$KB_STATE/certificates"
    printf '%s\n---\n%s\n' "$CONFIG" "$cluster" >"$KB_DIR/upload.yaml"
    run kubeadm init phase upload-certs --upload-certs --config "$KB_DIR/upload.yaml" >"$KB_DIR/upload"
    tail -n 1 "$KB_DIR/upload" >"$KB_DIR/certificate-key"
}
