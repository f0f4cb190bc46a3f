# shellcheck shell=sh
# ~/.kube/config of the user who logs in over SSH is the cluster's admin.conf, readable by that user only.
# The original is kept below /var/lib/kbootstrap/before, and /var/lib/kbootstrap/original has a line for the user.

user() { printf '%s\n' "${SUDO_USER:-root}"; }

path() { echo "$(home_of "$(user)")/.kube/config"; }

# Why the kubeconfig cannot be put there, or nothing.
obstacle() {
    if ! is=$(kube_config_is "$(user)" 2>&1); then
        echo "the home of the user $(user) cannot be used for a kubeconfig: $is"
        return
    fi
    case $is in
        file | nothing) ;;
        *) echo "$(path) is $is; move it away" ;;
    esac
}

check() {
    obstacle=$(obstacle)
    if [ -n "$obstacle" ]; then
        requirement_failed "$obstacle"
        return 1
    fi
    if [ ! -s /etc/kubernetes/admin.conf ] || ! kube_config_equals "$(user)" </etc/kubernetes/admin.conf; then
        echo "+ $(path)"
        return 1
    fi
    value kubeconfig "$(cat /etc/kubernetes/admin.conf)"
}

apply() {
    obstacle=$(obstacle)
    if [ -n "$obstacle" ]; then
        fail "$obstacle"
    fi
    keep_original_config
    if ! as_user "$(user)" '[ -d .kube ]'; then
        save_state kube-folder "$(user)"
        as_user "$(user)" 'mkdir .kube'
    fi
    cksum </etc/kubernetes/admin.conf >>"$KB_STATE/kubeconfig"
    put_kube_config "$(user)" 600 </etc/kubernetes/admin.conf
}

keep_original_config() {
    copy=$KB_STATE/before$(path)
    if [ -e "$copy" ] || saved_state kube-config "$(user)" >/dev/null; then
        return 0
    fi
    if [ "$(kube_config_is "$(user)")" = file ]; then
        state_folder
        mkdir -p "$(dirname "$copy")"
        kube_config "$(user)" >"$copy.new"
        to_disk "$copy.new"
        mv "$copy.new" "$copy"
        save_state kube-config "$(user)" "$(as_user "$(user)" 'stat -c %a .kube/config')"
    else
        save_state kube-config "$(user)" absent
    fi
}
