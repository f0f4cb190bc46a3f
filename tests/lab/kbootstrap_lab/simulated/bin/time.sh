# shellcheck shell=sh
# time.sh - the state of time synchronisation on a simulated host. Shared by chronyc and timedatectl.

chrony_unit() { if [ "$SIM_FAMILY" = debian ]; then echo chrony.service; else echo chronyd.service; fi; }

chrony_conf() { if [ "$SIM_FAMILY" = debian ]; then echo /etc/chrony/chrony.conf; else echo /etc/chrony.conf; fi; }

chrony_runs() { [ -e "$SIM_ACTIVE/$(chrony_unit)" ]; }

# chrony_servers - name and address of every time server in chrony's configuration that answers.
chrony_servers() {
    cat "$(chrony_conf)" /etc/chrony/conf.d/*.conf /etc/chrony/sources.d/*.sources /etc/chrony.d/*.conf 2>/dev/null |
        awk '$1 == "server" || $1 == "pool" || $1 == "peer" { print $2 }' | while read -r server; do
        address=$(/.machine/sim/bin/resolve "$server") || continue
        case $address in
            203.0.113.123) printf '%s %s\n' "$server" "$address" ;;
            *) [ ! -e "/.lab/net/$address/name" ] || [ -e "/.lab/net/$address/down" ] || printf '%s %s\n' "$server" "$address" ;;
        esac
    done
}

# chrony_synced - whether chrony runs, a server answers, and one second has passed since the start.
chrony_synced() {
    chrony_runs || return 1
    started=$(stat -c %Y "$SIM_ACTIVE/$(chrony_unit)")
    [ "$(date +%s)" -gt "$started" ] || return 1
    [ -n "$(chrony_servers)" ]
}

clock_synced() {
    chrony_synced || [ -e "$SIM_ACTIVE/systemd-timesyncd.service" ]
}
