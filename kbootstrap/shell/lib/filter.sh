# shellcheck shell=sh
# filter.sh - the host's own packet filter rules.

# blocking_rules - print the rules of the first chains that stop everything but what earlier rules let through: a policy, or
# a rule without an address, a port or a state. A FORWARD policy is left out: kube-proxy and Flannel accept pods before it.
blocking_rules() {
    have iptables-save || return 0
    iptables-save 2>/dev/null | awk '
        /^\*/ { table = $1 }
        table != "*filter" { next }
        $1 == ":INPUT" && $2 == "DROP" { print "-P INPUT DROP" }
        /^-A (INPUT|FORWARD) / && / -j (REJECT|DROP)/ && !/ (-s|-d|--dports?|--sports?|--ctstate|--state|--set-name|--match-set) / { print }'
}
