# shellcheck shell=sh
# filter.sh - the host's own packet filter rules.

# warn_of_blocking_rules - a warning for each.
warn_of_blocking_rules() {
    blocking_rules | while read -r kb_rule; do
        kb_report warning "a packet filter rule of no known service may stop the traffic of pods: $kb_rule"
    done
}

# blocking_rules - print what stops every packet but those that earlier rules let through: a policy, or a rule without an
# address, a port, an interface or a state. A FORWARD policy of iptables is left out: it is Docker's, and Flannel accepts
# the packets of pods before it.
blocking_rules() {
    if have iptables-save; then
        iptables-save 2>/dev/null | awk '
            /^\*/ { table = $1 }
            table != "*filter" { next }
            $1 == ":INPUT" && $2 == "DROP" { print "-P INPUT DROP" }
            /^-A (INPUT|FORWARD) .*-j (REJECT|DROP)/ && !/ (-[sdio]|--dports?|--sports?|--ctstate|--state|--match-set) / { print }'
    fi
    if have nft; then
        # iptables keeps its rules in the tables ip filter and ip6 filter.
        nft list chains 2>/dev/null | awk '
            $1 == "table" { table = $2 " " $3 }
            /hook (input|forward) .*policy drop/ && table !~ /^ip6? filter$|firewalld|kube-proxy|flannel/ {
                print "table " table ": " $0
            }' | sed 's/[[:space:]][[:space:]]*/ /g'
    fi
}
