# shellcheck shell=sh
# The original ~/.kube/config of every user who logged in for `up`. A file that somebody has changed since stays.

copy_of() { echo "$KB_STATE/before$(home_of "$1")/.kube/config"; }

# The users of records whose home is still there.
users() {
    for user in $(saved_keys kube-config); do
        if as_user "$user" : 2>/dev/null; then
            echo "$user"
        fi
    done
}

ours() { kube_config "$1" 2>/dev/null | cksum | grep -qxFf - "$KB_STATE/kubeconfig" 2>/dev/null; }

is_original() { [ -e "$(copy_of "$1")" ] && kube_config_equals "$1" <"$(copy_of "$1")"; }

# What an interrupted run has left in the user's home.
left() {
    as_user "$1" 'ls -d .kube/config.kb?????? 2>/dev/null || true'
    if saved_state kube-folder "$1" >/dev/null; then
        # shellcheck disable=SC2016 # the user's shell expands it
        as_user "$1" 'if [ -d .kube ] && [ -z "$(ls -A .kube)" ]; then echo .kube; fi'
    fi
}

changed_since() { ! ours "$1" && [ "$(kube_config_is "$1")" = file ] && ! is_original "$1"; }

check() {
    for user in $(users); do
        if changed_since "$user"; then
            kb_report warning "$(home_of "$user")/.kube/config was changed since kbootstrap wrote it, and stays"
        fi
    done
    show "$(for user in $(users); do difference "$user"; done)"
}

difference() {
    home=$(home_of "$1")
    if ours "$1"; then
        if [ -e "$(copy_of "$1")" ]; then
            echo "~ $home/.kube/config, as it was before"
        else
            echo "- $home/.kube/config"
        fi
    fi
    left "$1" | sed "s|^|- $home/|"
}

apply() {
    for user in $(users); do
        if ours "$user"; then
            if [ -e "$(copy_of "$user")" ]; then
                put_kube_config "$user" "$(saved_state kube-config "$user")" <"$(copy_of "$user")"
            else
                as_user "$user" 'rm -f .kube/config'
            fi
        fi
        as_user "$user" 'rm -f .kube/config.kb??????'
        if saved_state kube-folder "$user" >/dev/null; then
            as_user "$user" 'rmdir .kube 2>/dev/null || true'
        fi
    done
}
