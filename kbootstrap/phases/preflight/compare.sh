# shellcheck shell=sh
# Warns of nodes that `up` leaves as they are: those that are not in the inventory, and those with another container runtime.
# Without an answer of the API server there is nothing to say here; `verify` says that.
# Params: NODES (names), RUNTIME

check() {
    listed=$(admin get nodes -o 'jsonpath={range .items[*]}{.metadata.name}{"\t"}{.status.nodeInfo}{"\n"}{end}' 2>/dev/null) || return 0
    printf '%s\n' "$listed" | awk -F '\t' -v nodes=" $NODES " -v runtime="$RUNTIME" "$KB_JSON"'
        NF < 2 { next }
        index(nodes, " " $1 " ") == 0 {
            print "node " $1 " is in the cluster, but not in the inventory: it stays (kubectl drain " $1 ", kubectl delete node " $1 ")"
            next
        }
        {
            runs = text($2, "containerRuntimeVersion"); sub(/:.*/, "", runs)
            if (runs != "" && runs != runtime) print "node " $1 " runs " runs ", the inventory has " runtime ": it stays"
        }' | while read -r difference; do
        kb_report warning "$difference"
    done
}

apply() { :; }
