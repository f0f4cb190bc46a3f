# shellcheck shell=sh
# Every pod of the system namespaces runs and is ready. A pod that does not run is shown with its own reason.
# A static pod (owned by its node) only has to run: the kubelet reports its readiness a minute late.
# Pods of nodes whose hosts failed or take no part are left out: they are reported already, and nobody can end these pods.
# Params: LOST (nodes, a line each), TIMEOUT (seconds)

troubles() {
    for namespace in kube-system kube-flannel; do
        if ! listed=$(pods -n "$namespace" 2>&1); then
            printf 'the API server does not answer: %s\n' "$listed"
            continue
        fi
        if [ -z "$listed" ]; then
            printf 'no pods in %s\n' "$namespace"
            continue
        fi
        printf '%s\n\001\n%s\n' "$LOST" "$listed" | awk -F '\t' '
            /^\001$/ { told = 1; next }
            !told { lost[$0] = 1; next }
            $8 != "" && ($8 in lost) { next }
            $3 == "Succeeded" { next }
            $3 == "Running" && ($4 !~ /false/ || $5 == "Node") { next }
            { print $1 "/" $2 ": " $3 (($6 != "") ? ", " $6 : ", not ready") (($7 != "") ? ": " $7 : "") }'
    done
}

check() { no_troubles; }

apply() { wait_out_troubles "$TIMEOUT" "See kubectl -n NAMESPACE describe pod NAME, and kubectl -n NAMESPACE logs NAME. [pods-not-ready]"; }
