# shellcheck shell=sh
# containerd answers over CRI, and runs containers with systemd's cgroups, as the kubelet does. Another service's file, a
# drop-in or an operator's later edit may have it otherwise.
# Params: CONFIG_FILE

# What crictl says about the runtime, in one line.
told() { crictl info 2>&1 | tr -d ' \t\n'; }

problem() {
    said=$(told)
    case $said in
        *'"SystemdCgroup":true'*) ;;
        *'"conditions"'*) echo "containerd does not use systemd's cgroups (SystemdCgroup is not true)" ;;
        *) printf 'containerd does not answer over CRI: %s\n' "$(crictl info 2>&1 | tail -n 1)" ;;
    esac
}

check() {
    if ! have crictl; then
        echo "known once crictl is installed"
        return 2
    fi
    if ! systemctl is-active --quiet containerd; then
        echo "known once containerd runs"
        return 2
    fi
    show "$(problem)"
}

apply() {
    left=30
    while why=$(problem) && [ -n "$why" ]; do
        left=$((left - 1))
        [ "$left" -gt 0 ] || fail "$why" "See journalctl -u containerd, containerd config dump and $CONFIG_FILE there. [container-runtime]"
        sleep 1
    done
}
