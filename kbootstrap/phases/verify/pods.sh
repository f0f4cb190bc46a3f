# shellcheck shell=sh
# Every pod of the system namespaces runs and is ready. A pod that does not run is shown with its own reason.
# A static pod (owned by its node) only has to run: the kubelet reports its readiness a minute late.
# Pods of nodes whose hosts failed or take no part are left out: they are reported already, and nobody can end these pods.
# Params: LOST (nodes), TIMEOUT (seconds)

# A field selector of all other nodes.
others() { printf '%s\n' "$LOST" | awk '{ for (i = 1; i <= NF; i++) printf "%sspec.nodeName!=%s", (i > 1) ? "," : "", $i }'; }

troubles() {
    elsewhere=$(others)
    for namespace in kube-system kube-flannel; do
        if ! listed=$(pods -n "$namespace" ${elsewhere:+--field-selector "$elsewhere"} 2>&1); then
            printf 'the API server does not answer: %s\n' "$listed"
            continue
        fi
        if [ -z "$listed" ]; then
            printf 'no pods in %s\n' "$namespace"
            continue
        fi
        printf '%s\n' "$listed" | awk -F '\t' '
            $3 == "Succeeded" { next }
            $3 == "Running" && ($4 !~ /false/ || $5 == "Node") { next }
            { print $1 "/" $2 ": " $3 (($6 != "") ? ", " $6 : ", not ready") (($7 != "") ? ": " $7 : "") }'
    done
}

check() { no_troubles; }

apply() { wait_out_troubles "$TIMEOUT" "See kubectl -n kube-system describe pod NAME."; }
