# shellcheck shell=sh
# facts.sh - print the facts of this host, as lines "key=value". It changes nothing, and forks as little as it can.
# A key that appears more than once is a list. facts.py explains every key.
#
# It needs nothing of runner.sh, so it is small enough to be sent together with the launcher. It prints everything at the
# end, in one write: every write wakes sshd on the host and kbootstrap on the other side.

LC_ALL=C
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:/opt/bin
export LC_ALL PATH
kb_facts=''

fact() {
    kb_facts="$kb_facts$1=$2
"
}

have() { command -v "$1" >/dev/null 2>&1; }

# first_line FILE - read it into kb_line; empty where there is none.
first_line() {
    kb_line=''
    if [ -r "$1" ]; then
        read -r kb_line <"$1" || true
    fi
} 2>/dev/null

exists() {
    if [ -e "$2" ]; then
        fact "$1" 1
    fi
}

said() {
    if [ -r "$3" ] && grep -qs "$2" "$3"; then
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
    fact os_platform "${PLATFORM_ID:-}"
    fact os_codename "${VERSION_CODENAME:-}"
    fact os_ubuntu_codename "${UBUNTU_CODENAME:-}"
    fact os_debian_codename "${DEBIAN_CODENAME:-}"
}

# The memory controller, where the kernel says that it is off (as on a Raspberry Pi).
memory_cgroup() {
    if [ -r /sys/fs/cgroup/cgroup.controllers ]; then
        first_line /sys/fs/cgroup/cgroup.controllers
        case " $kb_line " in
            *' memory '*) ;;
            *) fact memory_cgroup 0 ;;
        esac
    elif [ -r /proc/cgroups ]; then
        while read -r name _ _ enabled; do
            if [ "$name $enabled" = 'memory 0' ]; then
                fact memory_cgroup 0
            fi
        done </proc/cgroups
    fi
}

machine() {
    # shellcheck disable=SC2046 # three words, always in this order
    set -- $(uname -n -r -m)
    fact hostname "$1"
    fact kernel "$2"
    fact arch "$3"
    first_line /etc/machine-id
    fact machine_id "$kb_line"
    first_line /sys/class/dmi/id/product_uuid
    fact product_uuid "$kb_line"
    exists systemd /run/systemd/system
    exists resolved /run/systemd/resolve/resolv.conf
    exists cgroup2 /sys/fs/cgroup/cgroup.controllers
    memory_cgroup
    if [ -r /sys/fs/selinux/enforce ]; then
        first_line /sys/fs/selinux/enforce
        fact selinux "$kb_line"
    elif [ -f /etc/selinux/config ]; then
        fact selinux off
    fi
}

# The ports in use. For /proc/net/tcp the kernel walks through its whole table of connections (10 ms on a host with much
# memory), so `ss` is preferred, which comes with `ip`.
listeners() {
    if have ss; then
        echo @ss
        ss -ltun
    else
        echo @tcp
        cat /proc/net/tcp /proc/net/tcp6
        echo @udp
        cat /proc/net/udp /proc/net/udp6
    fi
}

# The facts that need a program: all their output goes through a single awk.
numbers() {
    {
        echo @disk
        df -Pk /var/lib
        echo @ip
        printf '%s\n' 'addr show scope global' 'link show' 'route show' | ip -o -force -batch -
        listeners
    } 2>/dev/null | awk '
        function port(protocol, number) {
            if (!seen[protocol, number]++) print (protocol == "tcp" ? "listening=" : "udp=") number
        }
        FNR == 1 && FILENAME ~ /^\/proc\// { part = FILENAME; lines = 0 }
        /^@/ { part = $1; lines = 0; next }
        { lines++ }
        part == "@disk" && lines == 2 { print "disk_free_kib=" $4 }
        # A kube-proxy with IPVS keeps the addresses of all services there, thousands of them.
        part == "@ip" && $2 == "kube-ipvs0" { next }
        part == "@ip" && $3 ~ /^inet6?$/ { print "address=" $2 " " $4; next }
        part == "@ip" && / link\/ether / && $2 !~ /^(veth|cni|flannel|docker|br-|cali|kube|dummy)/ {
            for (i = 1; i < NF; i++) if ($i == "link/ether") print "mac=" $2 " " $(i + 1)
        }
        # Only a route has no number in front.
        part == "@ip" && $1 !~ /^[0-9]+:$/ {
            via = ""
            for (i = 2; i < NF; i++) {
                if ($i == "via") via = " " $(i + 1)
                if ($i == "dev") print "route=" $1 " " $(i + 1) via
            }
        }
        part == "@ss" && ($1 == "tcp" || $1 == "udp") {
            n = split($5, at, ":")
            port($1, sprintf("%04X", at[n]))
        }
        # State 0A is LISTEN, 07 a UDP socket without a peer; the port is in hex behind the last colon.
        part == "@tcp" && $4 == "0A" || part == "@udp" && $4 == "07" {
            n = split($2, at, ":")
            port(substr(part, 2), at[n])
        }
        part == "/proc/cpuinfo" && /^processor/ { cpus++ }
        part == "/proc/meminfo" && $1 == "MemTotal:" { print "memory_kib=" $2 }
        part == "/proc/self/status" && $1 == "Uid:" { print "uid=" $3 }
        END { print "cpus=" cpus + 0 }' - /proc/cpuinfo /proc/meminfo /proc/self/status
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
    first_line /var/lib/kbootstrap/node
    fact node_name "$kb_line"
    # kubeadm succeeded, and only our marker is missing (the host lost power between the two).
    said init_done 'has initialized successfully' /var/lib/kbootstrap/init.log
    said join_done '^This node has joined the cluster' /var/lib/kbootstrap/join.log
    if [ -r /etc/kubernetes/pki/ca.crt ]; then
        sum=$(sha256sum /etc/kubernetes/pki/ca.crt)
        fact ca_sha256 "${sum%% *}"
    fi
    if [ -r /etc/kubernetes/kubelet.conf ]; then
        fact kubelet_server "$(awk '$1 == "server:" { print $2; exit }' /etc/kubernetes/kubelet.conf)"
    fi
    if [ -r /etc/kubernetes/manifests/kube-apiserver.yaml ]; then
        fact apiserver_version "$(sed -n 's/^ *image: .*kube-apiserver:v//p' /etc/kubernetes/manifests/kube-apiserver.yaml)"
        fact service_cidr "$(sed -n 's/^ *- --service-cluster-ip-range=//p' /etc/kubernetes/manifests/kube-apiserver.yaml)"
    fi
    if [ -r /etc/kubernetes/manifests/kube-controller-manager.yaml ]; then
        fact pod_cidr "$(sed -n 's/^ *- --cluster-cidr=//p' /etc/kubernetes/manifests/kube-controller-manager.yaml)"
    fi
}

operating_system
machine
numbers
runtimes
kubernetes
fact epoch "$(date +%s.%N)"
fact complete 1
printf '%s' "$kb_facts"
