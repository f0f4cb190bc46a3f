# shellcheck shell=sh
# cluster.sh - ask the API server, on a control plane host.

# admin ARGUMENTS... - kubectl as the cluster's administrator. Its cache is on tmpfs: a plan leaves nothing in /root/.kube.
admin() { kubectl_admin --request-timeout=15s "$@"; }

# kubectl_admin ARGUMENTS... - the same without a timeout, for requests that take long.
kubectl_admin() { kubectl --kubeconfig /etc/kubernetes/admin.conf --cache-dir /run/kbootstrap/kubectl "$@"; }

# is_control_plane - has kubeadm made a control plane here?
is_control_plane() { have kubectl && [ -s /etc/kubernetes/admin.conf ]; }

# have_cluster - end this step where there is no control plane.
have_cluster() {
    is_control_plane || fail "there is no control plane on this host (no /etc/kubernetes/admin.conf)" "Run \`kbootstrap up\` with all its phases first."
}

# api_answers - does the API server on this host answer?
api_answers() { have kubectl && [ -s /etc/kubernetes/admin.conf ] && admin get --raw /healthz >/dev/null 2>&1; }

# nodes - one line per node, fields separated by tabs: name, Ready status, kubelet version, address, labels, reason.
nodes() {
    admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.conditions[?(@.type=="Ready")].status}{"\t"}{.status.nodeInfo.kubeletVersion}{"\t"}{.status.addresses[?(@.type=="InternalIP")].address}{"\t"}{.metadata.labels}{"\t"}{.status.conditions[?(@.type=="Ready")].message}{"\n"}{end}'
}

# pods NAMESPACE-OPTIONS - one line per pod: namespace, name, phase, ready flags, owner, waiting reasons and messages.
pods() {
    admin get pods "$@" -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.containerStatuses[*].ready}{"\t"}{.metadata.ownerReferences[*].kind}{"\t"}{.status.containerStatuses[*].state.waiting.reason}{"\t"}{.status.containerStatuses[*].state.waiting.message}{"\n"}{end}'
}
