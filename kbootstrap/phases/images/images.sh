# shellcheck shell=sh
# The images of this version, as kubeadm on this host lists them for the documents of kubeadm init, and those of the pod network.
# Params: CONFIG (YAML: the documents), VERSION (exact, or a minor), ROLE, EXTRA (images)

# The images of the documents, as kubeadm prints them. Warnings are in between.
listed() { kubeadm_config | kubeadm config images list --config /dev/stdin 2>&1; }

# Print the images to pull, a line each. Lines that are kubeadm's warnings are skipped; its error is our failure.
missing() {
    wanted=$(listed) || fail "kubeadm cannot list its images: $wanted" "Check cluster.kubeadm in the inventory. [kubeadm-config]"
    images=$(crictl images 2>&1) || fail "containerd does not answer: $images" "See systemctl status containerd. [container-runtime]"
    there=$(printf '%s\n' "$images" | awk '{ print $1 ":" $2 }')
    printf '%s\n%s\n' "$wanted" "$(printf '%s\n' "$EXTRA" | tr ' ' '\n')" | awk -v there="$there" -v role="$ROLE" '
        BEGIN { count = split(there, lines, "\n"); for (i = 1; i <= count; i++) known[lines[i]] = 1 }
        !/^[^ ]+:[^ ]+$/ || known[$0] { next }
        role == "worker" && /\/(kube-(apiserver|controller-manager|scheduler)|etcd):/ { next }
        { print }'
}

check() {
    if ! have kubeadm || ! have crictl; then
        echo "+ the images of Kubernetes $VERSION"
        return 1
    fi
    if ! systemctl is-active --quiet containerd; then
        echo "known once containerd runs"
        return 2
    fi
    found=$(missing) || {
        printf '%s\n' "$found"
        return 2
    }
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sed 's/^/+ /'
        return 1
    fi
}

apply() {
    for tool in kubeadm crictl; do
        have "$tool" || fail "$tool is not installed" "Run the phase packages first. [phase-choice]"
    done
    found=$(missing) || fail "$found"
    for image in $found; do
        run_judged ': not found|manifest unknown|denied|unauthorized' crictl pull "$image"
    done
}
