# shellcheck shell=sh
# ~/.kube/config of the user who logs in over SSH is the cluster's admin.conf, readable by that user only.
# The original is kept below /var/lib/kbootstrap/before.

user() { printf '%s\n' "${SUDO_USER:-root}"; }

home() { getent passwd "$(user)" | cut -d: -f6; }

check() {
    wanted=$(home)/.kube/config
    if [ ! -s /etc/kubernetes/admin.conf ]; then
        echo "+ $wanted"
        return 1
    fi
    if ! cmp -s /etc/kubernetes/admin.conf "$wanted"; then
        echo "+ $wanted"
        return 1
    fi
    value kubeconfig "$(cat /etc/kubernetes/admin.conf)"
}

apply() {
    folder=$(home)/.kube
    group=$(id -g "$(user)")
    if [ ! -d "$folder" ]; then
        save_state folder "$folder"
        mkdir -m 700 "$folder"
        chown "$(user):$group" "$folder"
    fi
    keep_original "$folder/config"
    new=$(mktemp "$folder/config.kbXXXXXX")
    cat /etc/kubernetes/admin.conf >"$new"
    chown "$(user):$group" "$new"
    replace_with "$new" "$folder/config" 600
    cksum <"$folder/config" >"$KB_STATE/kubeconfig"
}
