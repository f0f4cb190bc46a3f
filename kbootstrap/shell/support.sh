# shellcheck shell=sh
# support.sh - print what `kbootstrap support-bundle` keeps of this host: versions, services, logs, pods. It changes nothing.
# A part begins with a line "=== NAME", and a command with "$ COMMAND". run/support.py has the names, and masks secrets.
#
# It needs nothing of runner.sh. No command may hang for ever, and none that fails ends the script.

LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin
export LC_ALL PATH

part() { printf '\n=== %s\n' "$1"; }

# show COMMAND ARGUMENT... - its output and, if it is not 0, its exit status. A command that is not there is left out.
show() {
    command -v "$1" >/dev/null 2>&1 || return 0
    printf '$ %s\n' "$*"
    timeout 20 "$@" 2>&1 </dev/null || printf '(exit status %s)\n' "$?"
}

# lines FILE - the last lines of a file, where it is there.
lines() {
    if [ -f "$1" ]; then
        show tail -n 400 "$1"
    fi
}

units() { show systemctl show -p ActiveState,SubState,UnitFileState "$1.service"; }

part system
show uname -a
show cat /proc/uptime
show cat /proc/loadavg
show cat /proc/meminfo
show cat /proc/pressure/cpu /proc/pressure/memory /proc/pressure/io
show df -P
show df -Pi

part versions
show kubeadm version -o short
show kubelet --version
show containerd --version
show runc --version
show dockerd --version
show cri-dockerd --version
show crio --version

part services
for unit in kubelet containerd docker cri-docker crio; do
    units "$unit"
done

part kubelet
show journalctl --no-pager -u kubelet -n 2000

part runtime
for unit in containerd docker cri-docker crio; do
    if command -v "$unit" >/dev/null 2>&1 || command -v "${unit}d" >/dev/null 2>&1; then
        show journalctl --no-pager -u "$unit" -n 1000
    fi
done

part containers
show crictl ps -a

part kubeadm
lines /var/lib/kbootstrap/init.log
lines /var/lib/kbootstrap/join.log

if [ -r /etc/kubernetes/admin.conf ]; then
    KUBECONFIG=/etc/kubernetes/admin.conf
    export KUBECONFIG
    part nodes
    show kubectl get nodes -o wide
    part pods
    show kubectl get pods -A -o wide
    part events
    show kubectl get events -A
fi
echo '=== end'
