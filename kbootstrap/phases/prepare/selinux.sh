# shellcheck shell=sh
# SELinux as the inventory wants it. Permissive is upstream's advice for kubeadm; enforcing works with container-selinux.
# "disabled" needs a reboot, so until then the running system is permissive.
# Params: MODE (permissive | enforcing | disabled)

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

check() {
    present || return 0
    found=0
    if [ "$(configured)" != "$MODE" ]; then
        printf -- '- SELINUX=%s\n+ SELINUX=%s\n' "$(configured)" "$MODE"
        found=1
    fi
    now=$(enforcing)
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        printf 'running system: enforce is %s, wanted %s\n' "$now" "$(wanted_now)"
        found=1
    fi
    return "$found"
}

apply() {
    now=$(enforcing)
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        # Before the file is changed: it would change the mode if the host rebooted in between.
        save_state enforce now "$now"
    fi
    if [ "$(configured)" != "$MODE" ]; then
        put_file "$CONFIG" 644 "$(sed "s/^SELINUX=.*/SELINUX=$MODE/" "$CONFIG")"
    fi
    if [ -n "$now" ] && [ "$now" != "$(wanted_now)" ]; then
        run setenforce "$(wanted_now)"
    fi
}
