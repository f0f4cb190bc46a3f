# shellcheck shell=sh
# No host firewall: Kubernetes writes its own packet filter rules, and other rules beside them can break pods.

check() {
    # shellcheck disable=SC2086 # names are words
    found=$(services_on $KB_FIREWALLS)
    if [ -n "$found" ]; then
        printf '%s\n' "$found" | sed 's/$/ is on/'
        return 1
    fi
    warn_of_blocking_rules
}

apply() {
    # shellcheck disable=SC2086 # names are words
    on=$(services_on $KB_FIREWALLS)
    for service in $on; do
        if [ "$service" = netfilter-persistent ]; then
            # It leaves its rules in the kernel when it is stopped.
            save_unit_state "$service"
            run netfilter-persistent flush
            unblock
        fi
        services_off "$service"
    done
}

# With iptables on nftables it skips the flush ("no module loaded"): take out the rules that stop packets.
unblock() {
    rules=$(blocking_rules | sed -n -e 's/^-P INPUT DROP$/:INPUT ACCEPT [0:0]/p' -e 's/^-A /-D /p')
    if [ -n "$rules" ]; then
        printf '*filter\n%s\nCOMMIT\n' "$rules" | run iptables-restore --noflush
    fi
}
