# shellcheck shell=sh
# SELinux as the inventory wants it. Permissive is upstream's advice for kubeadm, and a host where SELinux is disabled is left so:
# a disk without labels would be labelled anew at the next boot. Enforcing works with container-selinux. "disabled" needs a
# reboot, so until then the running system is permissive.
# Params: MODE (permissive | enforcing | disabled), PACKAGE (the policy for containers; empty: the OS has no such package)

CONFIG=/etc/selinux/config

# Is there SELinux on this host at all?
present() { [ -f "$CONFIG" ]; }

configured() { sed -n 's/^SELINUX=\([a-z]*\).*/\1/p' "$CONFIG"; }

# 1, 0, or nothing when the kernel runs without SELinux.
enforcing() {
    if [ -r /sys/fs/selinux/enforce ]; then
        cat /sys/fs/selinux/enforce
    fi
}

wanted_now() {
    if [ "$MODE" = enforcing ]; then
        echo 1
    else
        echo 0
    fi
}

# Is the configuration as it should be?
suits() {
    case $(configured):$MODE in
        "$MODE:$MODE" | disabled:permissive) ;;
        *) return 1 ;;
    esac
}

package_missing() { [ "$MODE" = enforcing ] && [ -n "$PACKAGE" ] && [ -z "$(pkg_version "$PACKAGE")" ]; }

check() {
    present || return 0
    found=0
    now=$(enforcing)
    # preflight has said so. Enforcing in the file would label the whole disk at a boot with SELinux.
    [ "$MODE:$now" != enforcing: ] || return 0
    if package_missing; then
        echo "+ $PACKAGE"
        found=1
    fi
    if ! suits; then
        printf -- '- SELINUX=%s\n+ SELINUX=%s\n' "$(configured)" "$MODE"
        found=1
    fi
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        printf 'running system: enforce is %s, wanted %s\n' "$now" "$(wanted_now)"
        found=1
    fi
    return "$found"
}

apply() {
    # Before the mode: without this policy containers cannot start.
    if package_missing; then
        pkg_install "$PACKAGE"
    fi
    now=$(enforcing)
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        # Before the file is changed: it would change the mode if the host rebooted in between.
        save_state enforce now "$now"
    fi
    if ! suits; then
        # A separate line: where it fails, the step ends before the file is replaced.
        text=$(sed "s/^SELINUX=.*/SELINUX=$MODE/" "$CONFIG")
        put_file "$CONFIG" 644 "$text"
    fi
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        run setenforce "$(wanted_now)"
    fi
}
