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
    is_control_plane || fail "there is no control plane on this host (no /etc/kubernetes/admin.conf)" "Run \`kbootstrap up\` with all its phases first. [api-server]"
}

# api_answers - does the API server on this host answer?
api_answers() { have kubectl && [ -s /etc/kubernetes/admin.conf ] && admin get --raw /healthz >/dev/null 2>&1; }

# nodes - one line per node, fields separated by tabs: name, Ready status, kubelet version, address, labels, reason, operating
# system, kernel, container runtime.
# Each kubelet writes the status of its node as it likes. So kubectl prints it as JSON, in which a line break is no line
# break: a node cannot add a line about another one.
nodes() {
    kb_listed=$(admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.conditions[?(@.type=="Ready")]}{"\t"}{.status.nodeInfo}{"\t"}{.status.addresses[?(@.type=="InternalIP")]}{"\t"}{.metadata.labels}{"\n"}{end}') || return
    printf '%s\n' "$kb_listed" | awk -F '\t' "$KB_JSON"'
        BEGIN { OFS = FS }
        NF {
            print $1, text($2, "status"), text($3, "kubeletVersion"), text($4, "address"), $5, text($2, "message"),
                text($3, "osImage"), text($3, "kernelVersion"), text($3, "containerRuntimeVersion")
        }'
}

# pods NAMESPACE-OPTIONS - one line per pod: namespace, name, phase, ready flags, owner, waiting reasons and messages, node.
pods() {
    kb_listed=$(admin get pods "$@" -o 'jsonpath={range .items[*]}{.metadata.namespace}{"\t"}{.metadata.name}{"\t"}{.status.phase}{"\t"}{.status.containerStatuses[*].ready}{"\t"}{.metadata.ownerReferences[*].kind}{"\t"}{.status.containerStatuses[*].state.waiting}{"\t"}{.spec.nodeName}{"\n"}{end}') || return
    printf '%s\n' "$kb_listed" | awk -F '\t' "$KB_JSON"'
        BEGIN { OFS = FS }
        NF == 7 { print $1, $2, $3, $4, $5, text($6, "reason"), text($6, "message"), $7 }'
}

# awk: text(JSON, KEY) - the texts of this key in one line of JSON, without escapes, separated by spaces.
KB_JSON='
    function text(json, key,   all, one) {
        while (match(json, "\"" key "\":\"([^\"\\\\]|\\\\.)*\"")) {
            one = substr(json, RSTART + length(key) + 4, RLENGTH - length(key) - 5)
            json = substr(json, RSTART + RLENGTH)
            gsub(/\\[nrt]/, " ", one)
            gsub(/\\u003[cC]/, "<", one); gsub(/\\u003[eE]/, ">", one); gsub(/\\u0026/, "\\&", one)
            gsub(/\\"/, "\"", one)
            all = all (all == "" ? "" : " ") one
        }
        return all
    }
'
