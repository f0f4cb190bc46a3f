# shellcheck shell=sh
# lib.sh - functions that the shell stand-ins of a simulated host share. All of them source it.
#
# The state is where the real program keeps it: symlinks in /etc/systemd/system, /proc/swaps, /etc/selinux/config ... State
# without such a place is below /run/sim (lost at reboot) and /var/lib/sim.

sim_command=${0##*/}
# shellcheck disable=SC2123 # on purpose: PATH must have no other stand-in
PATH=/.machine/tools
LC_ALL=C
export PATH LC_ALL
umask 022

# shellcheck source=/dev/null
. /var/lib/sim/host

SIM_UNITS=/etc/systemd/system
SIM_LIB_UNITS=/usr/lib/systemd/system
SIM_ACTIVE=/run/sim/active
SIM_NET=/.lab/net/$SIM_IP

# unsupported ARGUMENTS - refuse arguments that this stand-in does not simulate.
unsupported() {
    printf 'simulated %s: unsupported: %s\n' "$sim_command" "$*" >&2
    exit 64
}

die() {
    status=$1
    shift
    printf '%s\n' "$*" >&2
    exit "$status"
}

user() { printf '%s\n' "${SIM_USER:-root}"; }

need_root() { [ "${SIM_USER:-root}" = root ] || die 1 "${1:-$sim_command: Permission denied (you must be root)}"; }

now() {
    read -r offset </var/lib/sim/clock-offset
    seconds=$(date +%s)
    echo $((seconds + offset))
}

# journal UNIT TEXT - write a line to the journal of this boot.
journal() {
    printf '%s %s %s: %s\n' "$(now)" "$(uname -n)" "$1" "$2" >>/run/sim/journal/all
}

# --- swap ------------------------------------------------------------------------------------------------------------

swap_is_on() { [ "$(wc -l </proc/swaps)" -gt 1 ]; }

swap_on() {
    grep -q "^$1 " /proc/swaps 2>/dev/null || printf '%s partition 2097148 0 -2\n' "$1" >>/proc/swaps
}

swap_off() {
    kept=$(grep -v "^$1 " /proc/swaps)
    printf '%s\n' "$kept" >/proc/swaps
}

# fstab_swaps - the devices of the swap lines in /etc/fstab as the kernel names them.
fstab_swaps() {
    awk '$1 !~ /^#/ && $3 == "swap" && $4 !~ /noauto/ { print $1 }' /etc/fstab 2>/dev/null |
        while read -r device; do
            case $device in
                UUID=*) echo /dev/vda5 ;;
                /dev/mapper/*-swap) echo /dev/dm-1 ;;
                *) echo "$device" ;;
            esac
        done
}

# --- units -----------------------------------------------------------------------------------------------------------

# unit_name NAME - the full name: foo is foo.service, and aliases are followed.
unit_name() {
    name=$1
    case $name in
        *.service | *.swap | *.target | *.socket | *.timer | *.mount | *.path | *.slice) ;;
        *) name=$name.service ;;
    esac
    for directory in $SIM_UNITS $SIM_LIB_UNITS; do
        if [ -L "$directory/$name" ]; then
            target=$(readlink "$directory/$name")
            [ "$target" = /dev/null ] || name=${target##*/}
            break
        fi
    done
    if [ ! -e "$SIM_UNITS/$name" ] && [ ! -e "$SIM_LIB_UNITS/$name" ] && [ ! -L "$SIM_UNITS/$name" ]; then
        found=$(grep -lx "Alias=$name" "$SIM_LIB_UNITS"/*.service 2>/dev/null | head -n 1)
        [ -z "$found" ] || name=${found##*/}
    fi
    printf '%s\n' "$name"
}

unit_masked() { [ "$(readlink "$SIM_UNITS/$1" 2>/dev/null)" = /dev/null ] || [ -f "$SIM_UNITS/$1" ] && [ ! -s "$SIM_UNITS/$1" ]; }

# unit_file NAME - the path of the unit's file; fails when there is none.
unit_file() {
    for directory in $SIM_UNITS $SIM_LIB_UNITS; do
        if [ -f "$directory/$1" ]; then
            printf '%s/%s\n' "$directory" "$1"
            return 0
        fi
    done
    return 1
}

# swap_unit DEVICE - the name of the unit systemd's generator makes for a swap device.
swap_unit() { printf '%s.swap\n' "$(printf '%s' "${1#/}" | sed 's/-/\\x2d/g; s|/|-|g')"; }

# generated_units - swap units that exist because of /etc/fstab and zram-generator.
generated_units() {
    awk '$1 !~ /^#/ && $3 == "swap" { print $1 }' /etc/fstab 2>/dev/null | while read -r device; do
        case $device in
            UUID=*) device=/dev/disk/by-uuid/${device#UUID=} ;;
        esac
        swap_unit "$device"
    done
    if zram_wanted; then
        echo dev-zram0.swap
    fi
}

zram_wanted() {
    [ -e /usr/lib/systemd/system-generators/zram-generator ] || return 1
    if [ -e /etc/systemd/zram-generator.conf ]; then
        grep -q '^\[zram' /etc/systemd/zram-generator.conf
    else
        [ -e /usr/lib/systemd/zram-generator.conf ]
    fi
}

unit_exists() { unit_file "$1" >/dev/null || generated_units | grep -qxF "$1"; }

unit_enabled() {
    for link in "$SIM_UNITS"/*.wants/"$1"; do
        [ ! -L "$link" ] || return 0
    done
    return 1
}

# unit_state NAME - active, activating, inactive or failed.
unit_state() {
    if [ "$1" = kubelet.service ] && [ -e "$SIM_ACTIVE/$1" ]; then
        if kubelet_can_run; then echo active; else echo activating; fi
    elif [ -e "$SIM_ACTIVE/$1" ]; then
        echo active
    elif [ -e "/run/sim/failed/$1" ]; then
        echo failed
    else
        echo inactive
    fi
}

# kubelet_can_run - succeeds, or writes the reason to /run/sim/kubelet-error. systemd restarts the kubelet until it can run.
kubelet_can_run() {
    if [ ! -e /var/lib/kubelet/config.yaml ]; then
        echo 'failed to load kubelet config file, path: /var/lib/kubelet/config.yaml: no such file or directory' >&2
        return 1
    fi
    if swap_is_on && ! grep -q '^failSwapOn: *false' /var/lib/kubelet/config.yaml; then
        echo 'running with swap on is not supported, please disable swap or set --fail-swap-on flag to false' >&2
        return 1
    fi
    if [ ! -e /sys/fs/cgroup/cgroup.controllers ] && [ "$(package_version kubelet | cut -d. -f2)" -ge 35 ] &&
        ! grep -q '^failCgroupV1: *false' /var/lib/kubelet/config.yaml; then
        echo 'kubelet is configured to not run on a host using cgroup v1. cgroup v1 support is unsupported and will be removed in a future release' >&2
        return 1
    fi
    if [ ! -e "$SIM_ACTIVE/containerd.service" ]; then
        echo 'validate service connection: dial unix /run/containerd/containerd.sock: connect: no such file or directory' >&2
        return 1
    fi
    if ! containerd_has_cri; then
        echo 'rpc error: code = Unimplemented desc = unknown service runtime.v1.RuntimeService' >&2
        return 1
    fi
} 2>/run/sim/kubelet-error

# containerd_has_cri - whether the configuration with which containerd was started has the CRI plugin enabled.
containerd_has_cri() {
    ! grep -Eq '^[[:space:]]*disabled_plugins[[:space:]]*=.*"(io\.containerd\.grpc\.v1\.)?cri"' /run/sim/containerd.toml 2>/dev/null
}

# --- state that other hosts can see ----------------------------------------------------------------------------------

# package_version NAME - the installed version without the release of the package.
package_version() {
    sed -n 's/^Version: \([0-9]*:\)\{0,1\}\([^-]*\).*/\2/p' "/var/lib/rpm/$1" "/var/lib/dpkg/status.d/$1" 2>/dev/null
}

# missing_resolver - the kubelet's resolv.conf, where there is no such file. The flag counts, then the configuration.
missing_resolver() {
    resolver=$(sed -n 's/.*--resolv-conf=\([^ "]*\).*/\1/p' /var/lib/kubelet/kubeadm-flags.env 2>/dev/null)
    resolver=${resolver:-$(sed -n 's/^resolvConf: //p' /var/lib/kubelet/config.yaml 2>/dev/null)}
    [ -e "${resolver:-/etc/resolv.conf}" ] || echo "$resolver"
}

# facts - the facts that this host's kubelet reports, one per line.
facts() {
    flag() { if [ -e "$2" ]; then echo "$1=1"; else echo "$1=0"; fi; }
    printf 'kubelet=v%s\ncontainerd=%s\n' "$(package_version kubelet)" "$(package_version containerd.io)"
    printf 'os=%s\nkernel=%s\nsince=%s\n' "$SIM_PRETTY_NAME" "$SIM_KERNEL" "$(stat -c %Y "$SIM_ACTIVE/kubelet.service")"
    flag br_netfilter /proc/sys/net/bridge/bridge-nf-call-iptables
    flag cni_plugins /opt/cni/bin/portmap
    printf 'resolver=%s\n' "$(missing_resolver)"
    sed 's/^/machine_id=/' /etc/machine-id
    sed 's/^/boot_id=/' /proc/sys/kernel/random/boot_id
}

# publish - publish this host's open ports and firewall rules to the lab. This wakes PID 1, which opens the real sockets and
# runs kubelet-pods.
publish() {
    # sshd also listens on the port in the lab's inventory.
    ports='22 2222'
    cluster=''
    if [ -e "$SIM_ACTIVE/kubelet.service" ] && kubelet_can_run; then
        [ ! -e /var/lib/sim/cluster ] || read -r cluster </var/lib/sim/cluster
        ports="$ports 10250"
        [ ! -e /etc/kubernetes/kubelet.conf ] || ports="$ports 10256"
        [ ! -e /etc/kubernetes/manifests/kube-apiserver.yaml ] || ports="$ports 6443 10259 10257"
        [ ! -e /etc/kubernetes/manifests/etcd.yaml ] || ports="$ports 2379 2380"
        facts >"$SIM_NET/facts.new" && mv "$SIM_NET/facts.new" "$SIM_NET/facts"
    fi
    for port in "$SIM_NET"/listen/*; do
        case " $ports " in
            *" ${port##*/} "*) ;;
            *) rm -f "$port" ;;
        esac
    done
    {
        echo '  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode'
        line=0
        for port in $ports; do
            printf '%s\n' "$cluster" >"$SIM_NET/listen/$port"
            printf '%4d: 00000000:%04X 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1000\n' "$line" "$port"
            line=$((line + 1))
        done
    } >/proc/net/tcp
    if [ -e "$SIM_ACTIVE/firewalld.service" ]; then
        cp /run/sim/firewall "$SIM_NET/firewall.new" && mv "$SIM_NET/firewall.new" "$SIM_NET/firewall"
    else
        rm -f "$SIM_NET/firewall"
    fi
    echo >"$SIM_NET/wake"
}
