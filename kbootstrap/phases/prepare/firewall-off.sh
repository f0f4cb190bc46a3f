# shellcheck shell=sh
# No host firewall: Kubernetes writes its own packet filter rules, and other rules beside them can break pods.

managers() {
    for unit in firewalld ufw; do
        if systemctl is-active --quiet "$unit" 2>/dev/null || systemctl is-enabled --quiet "$unit" 2>/dev/null; then
            echo "$unit"
        fi
    done
}

check() {
    found=$(managers)
    if [ -n "$found" ]; then
        printf '%s is on\n' "$found"
        return 1
    fi
}

apply() {
    for unit in $(managers); do
        save_unit_state "$unit"
        run systemctl disable --now "$unit"
    done
}
