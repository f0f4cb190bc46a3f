# shellcheck shell=sh
# probe.sh - what this host is, as lines "key=value". Changes nothing, forks little: builtins read most files.
# A key that appears more than once is a list. facts.py has the meaning of every key.

fact() { printf '%s=%s\n' "$1" "$2"; }

first_line() {
    kb_line=''
    if [ -r "$1" ]; then
        read -r kb_line <"$1" || true
    fi
    printf '%s' "$kb_line"
}

exists() {
    if [ -e "$2" ]; then
        fact "$1" 1
    fi
}

said() {
    if grep -qs "$2" "$3"; then
        fact "$1" 1
    fi
}

operating_system() {
    if [ -r /etc/os-release ]; then
        # shellcheck disable=SC1091 # a file of the host
        . /etc/os-release
    fi
    fact os_id "${ID:-}"
    fact os_version "${VERSION_ID:-}"
    fact os_name "${PRETTY_NAME:-}"
    fact os_like "${ID_LIKE:-}"
    fact os_codename "${VERSION_CODENAME:-}"
}

machine() {
    fact arch "$(uname -m)"
    fact kernel "$(uname -r)"
    fact uid "$(id -u)"
    fact cpus "$(grep -c '^processor' /proc/cpuinfo)"
    while read -r name amount _; do
        case $name in
            MemTotal:) fact memory_kib "$amount" && break ;;
        esac
    done </proc/meminfo
    folder=/var/lib
    fact disk_free_kib "$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')"
    fact hostname "$(uname -n)"
    fact machine_id "$(first_line /etc/machine-id)"
    fact product_uuid "$(first_line /sys/class/dmi/id/product_uuid 2>/dev/null)"
    exists systemd /run/systemd/system
    exists cgroup2 /sys/fs/cgroup/cgroup.controllers
    if [ -r /sys/fs/selinux/enforce ]; then
        fact selinux "$(first_line /sys/fs/selinux/enforce)"
    fi
    if [ "$(grep -c . /proc/swaps)" -gt 1 ]; then
        fact swap 1
    fi
}

network() {
    ip -o addr show scope global 2>/dev/null | awk '{ print "address=" $2 " " $4 }'
    ip -o link show 2>/dev/null | awk '
        / link\/ether / && $2 !~ /^(veth|cni|flannel|docker|br-|cali|kube|dummy)/ {
            for (i = 1; i < NF; i++) if ($i == "link/ether") print "mac=" $2 " " $(i + 1)
        }'
    ip -4 route show 2>/dev/null | awk '{ for (i = 2; i < NF; i++) if ($i == "dev") print "route=" $1 " " $(i + 1) }'
    # State 0A is LISTEN; the port is in hex behind the last colon.
    for table in /proc/net/tcp /proc/net/tcp6; do
        [ -r "$table" ] && awk '$4 == "0A" { n = split($2, at, ":"); print "listening=" at[n] }' "$table"
    done | sort -u
}

runtimes() {
    for name in docker dockerd containerd crio podman; do
        if have "$name"; then
            fact runtime "$name"
        fi
    done
}

kubernetes() {
    for name in kubeadm kubelet kubectl containerd; do
        if have "$name"; then
            fact "has" "$name"
        fi
    done
    exists admin_conf /etc/kubernetes/admin.conf
    exists kubelet_conf /etc/kubernetes/kubelet.conf
    exists bootstrap_conf /etc/kubernetes/bootstrap-kubelet.conf
    exists manifests /etc/kubernetes/manifests/kube-apiserver.yaml
    exists etcd_data /var/lib/etcd/member
    exists init_begun /var/lib/kbootstrap/init.begun
    exists init_done /var/lib/kbootstrap/init.done
    exists join_begun /var/lib/kbootstrap/join.begun
    exists join_done /var/lib/kbootstrap/join.done
    fact node_name "$(first_line /var/lib/kbootstrap/node)"
    # kubeadm's last words, where only our marker is missing (the host lost power between the two).
    said init_done 'has initialized successfully' /var/lib/kbootstrap/init.log
    said join_done '^This node has joined the cluster' /var/lib/kbootstrap/join.log
    if [ -r /etc/kubernetes/pki/ca.crt ]; then
        fact ca_sha256 "$(sha256sum /etc/kubernetes/pki/ca.crt | cut -d' ' -f1)"
    fi
    if [ -r /etc/kubernetes/kubelet.conf ]; then
        fact kubelet_server "$(awk '$1 == "server:" { print $2; exit }' /etc/kubernetes/kubelet.conf)"
    fi
    if [ -r /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
        fact apiserver_version "$(sed -n 's/^ *image: .*kube-apiserver:v//p' /etc/kubernetes/manifests/kube-apiserver.yaml)"
    fi
}

operating_system
machine
network
runtimes
kubernetes
fact epoch "$(date +%s.%N)"
fact complete 1
