# shellcheck shell=sh
# Every inventory node is Ready, runs the wanted version and answers at the inventory's address.
# Params: EXPECTED (lines "name address"), VERSION (1.34 or 1.34.2), TIMEOUT (seconds)

# One line per trouble; nothing when all is well.
troubles() {
    if ! listed=$(nodes 2>&1); then
        printf 'the API server does not answer: %s\n' "$listed"
        return
    fi
    printf '%s\n' "$EXPECTED" | awk -F '\t' -v listed="$listed" -v version="$VERSION" '
        BEGIN {
            count = split(listed, lines, "\n")
            for (i = 1; i <= count; i++) {
                split(lines[i], field, "\t")
                ready[field[1]] = field[2]; runs[field[1]] = field[3]; at[field[1]] = field[4]; why[field[1]] = field[6]
            }
        }
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

apply() { wait_out_troubles "$TIMEOUT" "See journalctl -u kubelet on the node, and kubectl describe node."; }
