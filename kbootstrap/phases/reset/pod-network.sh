# shellcheck shell=sh
# What was moved away for the pod network: the configurations of other CNI plugins, NetworkManager's, and nm-cloud-setup.

CLOUD_SETUP="nm-cloud-setup.timer nm-cloud-setup.service"

paths() { changed_files '/etc/cni/net.d/*' '/etc/NetworkManager/*'; }

differences() {
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
    # shellcheck disable=SC2086 # names are words
    units_differ $CLOUD_SETUP
}

check() { show "$(differences)"; }

apply() {
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    if systemctl is-active --quiet NetworkManager 2>/dev/null; then
        run systemctl reload NetworkManager
    fi
    # shellcheck disable=SC2086 # names are words
    units_back $CLOUD_SETUP
}
