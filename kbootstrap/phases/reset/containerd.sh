# shellcheck shell=sh
# The original configuration of containerd and crictl, and the original state of containerd's unit. Where it ran before, it is
# restarted with its own configuration.

MARKER=$KB_STATE/containerd-config

paths() { changed_files '/etc/containerd/*' /etc/crictl.yaml '/etc/systemd/system/containerd.service.d/*'; }

differences() {
    # shellcheck disable=SC2046 # paths are words
    files_differ $(paths)
    units_differ containerd
    if runs_with_ours; then
        echo "~ containerd runs with the configuration of kbootstrap"
    fi
}

runs_with_ours() {
    [ -e "$MARKER" ] || return 1
    case $(unit_before containerd) in
        *' active') ;;
        *) return 1 ;;
    esac
}

check() { show "$(differences)"; }

apply() {
    # shellcheck disable=SC2046 # paths are words
    put_back $(paths)
    units_back containerd
    if runs_with_ours; then
        run systemctl restart containerd
        rm -f "$MARKER"
    fi
}
