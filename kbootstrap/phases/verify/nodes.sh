# shellcheck shell=sh
# Every inventory node is Ready, runs the wanted version and answers at the inventory's address.
# Params: EXPECTED (lines "name address"), VERSION (1.34 or 1.34.2), TIMEOUT (seconds)

# One line per trouble; nothing when all is well.
troubles() {
    if ! listed=$(nodes 2>&1); then
        printf 'the API server does not answer: %s\n' "$listed"
        return
    fi
    # kubectl's output for hundreds of nodes is too long for an argument, so awk reads it before the expected nodes.
    printf '%s\n\001\n%s\n' "$listed" "$EXPECTED" | awk -F '\t' -v version="$VERSION" '
        /^\001$/ { listed = 1; next }
        !listed { ready[$1] = $2; runs[$1] = $3; at[$1] = $4; why[$1] = $6; next }
        {
            split($0, wanted, " "); name = wanted[1]
            if (!(name in ready)) print "node " name " is missing: it never joined, or was deleted"
            else if (ready[name] != "True") print "node " name " is not Ready: " why[name]
            else if (runs[name] != "v" version && index(runs[name], "v" version ".") != 1)
                print "node " name " runs " runs[name] ", wanted " version
            else if (at[name] != wanted[2]) print "node " name " has address " at[name] ", wanted " wanted[2]
        }'
}

check() { no_troubles; }

apply() { wait_out_troubles "$TIMEOUT" "See journalctl -u kubelet on the node, and kubectl describe node. [node-not-ready]"; }
