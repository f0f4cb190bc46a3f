# shellcheck shell=sh
# The kubelet off, no package held, repositories and their keys removed. The packages that kbootstrap installed stay. With PURGE
# they are removed, and those that they replaced are installed again.
# Params: PURGE (1: remove the packages that came)

paths() { changed_files '/etc/yum.repos.d/*' '/etc/apt/*' '/etc/pki/rpm-gpg/*'; }

# The packages that kbootstrap installed and that are still there; without PURGE only the keys that rpm imported.
came() {
    there=$(pkg_list)
    {
        saved_keys package
        if [ -s "$KB_STATE/packages" ]; then
            # An installation was interrupted, so its packages were not recorded.
            printf '%s\n' "$there" | comm -13 "$KB_STATE/packages" -
        fi
    } | sort -u | while read -r name; do
        case $PURGE:$name in
            1:* | *:gpg-pubkey-*) printf '%s\n' "$there" | grep -xF "$name" ;;
        esac
    done
}

went() {
    [ "$PURGE" = 1 ] || return 0
    there=$(pkg_list)
    for name in $(saved_keys replaced); do
        printf '%s\n' "$there" | grep -qxF "$name" || echo "$name"
    done
}

held() {
    for name in $(saved_keys hold); do
        if pkg_is_held "$name" >/dev/null; then
            echo "$name"
        fi
    done
}

# The folders of a runtime that is removed: only images, no running container. And the logs of pods.
data() {
    [ "$PURGE" = 1 ] || return 0
    if saved_state package containerd.io >/dev/null; then
        echo /var/lib/containerd /opt/containerd
    fi
    if saved_state package kubelet >/dev/null; then
        echo /var/log/pods /var/log/containers
    fi
}

# The configuration of a package that is removed, where kbootstrap changed it: else rpm keeps it beside, as .rpmsave.
configuration() {
    if [ "$PURGE" = 1 ] && saved_state package chrony >/dev/null; then
        changed_files /etc/chrony.conf /etc/chrony/chrony.conf
    fi
}

differences() {
    units_differ kubelet
    held | sed 's/^/~ not held: /'
    came | sed 's/^/- /'
    went | sed 's/^/+ /'
    # shellcheck disable=SC2046 # paths are words
    folder_traces $(data)
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
}

check() { show "$(differences)"; }

apply() {
    units_back kubelet
    names=$(held)
    if [ -n "$names" ]; then
        # shellcheck disable=SC2086 # names are words
        pkg_unhold $names
    fi
    names=$(came)
    if [ -n "$names" ]; then
        # shellcheck disable=SC2046 # paths are words
        put_back $(configuration)
    fi
    # shellcheck disable=SC2086 # names are words
    if [ -n "$names" ] && ! pkg_remove $names; then
        fail "these packages cannot be removed: $(printf '%s' "$names" | tr '\n' ' ')" \
            "Does something else need one of them by now? Remove that first, or reset without --purge: they stay then. [reset-leftovers]"
    fi
    # shellcheck disable=SC2046 # paths are words
    remove_folders $(data)
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    names=$(went)
    if [ -n "$names" ]; then
        # shellcheck disable=SC2086 # names are words
        pkg_install $names
    fi
}
