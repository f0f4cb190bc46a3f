# shellcheck shell=sh
# cleanup.sh - remove the cluster from a host: what kubeadm, the kubelet, etcd and the pod network leave behind.
# requires: routes

CLUSTER_FOLDERS="/etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/cni"
# The kubelet makes these for volume plugins. They go when nobody has put a plugin there.
PLUGIN_FOLDERS="/usr/libexec/kubernetes/kubelet-plugins/volume/exec /usr/libexec/kubernetes/kubelet-plugins/volume
    /usr/libexec/kubernetes/kubelet-plugins /usr/libexec/kubernetes"
NETWORK_LINKS="cni0 flannel.1 flannel-v6.1 kube-ipvs0"
NETWORK_FILES="/etc/cni/net.d/10-flannel.conflist /opt/cni/bin/flannel /run/flannel"

# clean_host CRI_SOCKET - remove everything of the cluster.
clean_host() {
    leave_cluster "$1"
    remove_network ''
    remove_rules
}

# cluster_traces - print what kubeadm, the kubelet and etcd left on this host, a line each.
cluster_traces() {
    # shellcheck disable=SC2086 # paths are words
    folder_traces $CLUSTER_FOLDERS
    kb_count=$(pod_containers | wc -l)
    if [ "$kb_count" -gt 0 ]; then
        echo "- $kb_count running containers"
    fi
    for kb_path in $PLUGIN_FOLDERS; do
        if [ -d "$kb_path" ] && [ -z "$(ls -A "$kb_path")" ]; then
            echo "- $kb_path"
        fi
    done
}

# folder_traces PATH... - print those that exist, a line each. A mount point stays, so only its content counts.
folder_traces() {
    for kb_path in "$@"; do
        if mountpoint -q "$kb_path"; then
            if [ -n "$(find "$kb_path" -mindepth 1 -maxdepth 1 ! -name lost+found)" ]; then
                echo "- everything in $kb_path"
            fi
        elif [ -d "$kb_path" ]; then
            echo "- $kb_path"
        fi
    done
}

# remove_folders PATH... - remove what folder_traces prints.
remove_folders() {
    for kb_path in "$@"; do
        if mountpoint -q "$kb_path"; then
            find "$kb_path" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -rf {} +
        else
            rm -rf "$kb_path"
        fi
    done
}

# leave_cluster CRI_SOCKET - kubeadm reset, and the rest that it only advises.
leave_cluster() {
    if have kubeadm; then
        # Without its runtime kubeadm cannot stop the pods.
        if have containerd && ! systemctl is-active --quiet containerd; then
            run systemctl start containerd
        fi
        run kubeadm reset --force --cri-socket "$1"
    fi
    if systemctl is-active --quiet kubelet; then
        run systemctl stop kubelet
    fi
    end_containers
    for kb_path in $(mounts_below /var/lib/kubelet; mounts_below /run/netns/cni-); do
        umount "$(printf '%b' "$kb_path")" || run umount -l "$(printf '%b' "$kb_path")"
    done
    rm -f /run/netns/cni-*
    # shellcheck disable=SC2086 # paths are words
    remove_folders $CLUSTER_FOLDERS
    # shellcheck disable=SC2086 # paths are words
    rmdir $PLUGIN_FOLDERS 2>/dev/null || true
}

# pod_containers - print the running containers of pods, a line each. Fails where containerd does not answer.
pod_containers() {
    if have ctr && systemctl is-active --quiet containerd; then
        kb_tasks=$(ctr -n k8s.io tasks ls) || return 1
        printf '%s\n' "$kb_tasks" | awk '$NF == "RUNNING" { print $1 }'
    fi
}

# end_containers - kill the containers of pods. kubeadm only warns of pods it could not stop, and a kube-proxy that still runs
# writes its rules again. Without --all: that looks for processes in the container's cgroups, and with cgroups v1 they are no
# longer there after a daemon-reload.
end_containers() {
    kb_left=30
    while :; do
        kb_containers=$(pod_containers) ||
            fail "containerd does not say which containers run" "See journalctl -u containerd on the host. [container-runtime]"
        if [ -z "$kb_containers" ]; then
            return
        fi
        if [ "$kb_left" -eq 0 ]; then
            fail "containers of pods do not end" "See ctr -n k8s.io tasks ls on the host; what hangs there may need a reboot. [container-runtime]"
        fi
        for kb_container in $kb_containers; do
            # It may have ended by itself meanwhile.
            ctr -n k8s.io tasks kill --signal SIGKILL "$kb_container" >/dev/null 2>&1 || true
        done
        sleep 1
        kb_left=$((kb_left - 1))
    done
}

# mounts_below PREFIX - print mount points, the deepest first; blanks in names are escaped as the kernel escapes them.
mounts_below() {
    case $1 in
        *-) kb_below=$1 ;;
        *) kb_below=$1/ ;;
    esac
    awk -v below="$kb_below" 'index($2, below) == 1 { gsub(/\\/, "\\0", $2); print $2 }' /proc/mounts | sort -r
}

# network_traces POD_CIDR - print what the pod network left, a line each; with an empty POD_CIDR without routes.
network_traces() {
    if virtual_servers; then
        echo "- the virtual servers of IPVS"
    fi
    if [ -n "$1" ]; then
        pod_routes "$1" | sed 's/^/- route /'
    fi
    for kb_link in $NETWORK_LINKS; do
        if [ -e "/sys/class/net/$kb_link" ]; then
            echo "- network interface $kb_link"
        fi
    done
    for kb_path in $NETWORK_FILES; do
        if [ -e "$kb_path" ]; then
            echo "- $kb_path"
        fi
    done
}

# remove_network POD_CIDR - remove what network_traces prints. The virtual servers first: without kube-proxy's interface nobody
# knows that they are of Kubernetes.
remove_network() {
    if virtual_servers; then
        run ipvsadm --clear
    fi
    if [ -n "$1" ]; then
        pod_routes "$1" | while read -r kb_route; do
            delete_route "$kb_route"
        done
    fi
    for kb_link in $NETWORK_LINKS; do
        if [ -e "/sys/class/net/$kb_link" ]; then
            run ip link delete "$kb_link"
        fi
    done
    for kb_path in $NETWORK_FILES; do
        rm -rf "$kb_path"
    done
}

# rules_undone - read the output of iptables-save, and print the input for iptables-restore that removes the chains of
# kube-proxy, Flannel and the CNI plugins and the rules that jump to them. Other rules stay as they are.
rules_undone() {
    awk '
        function ours(chain) { return chain ~ /^(KUBE|FLANNEL|CNI)-/ }
        function finish(i) {
            if (table != "" && rules chains != "") {
                printf "%s\n%s", table, rules
                for (i = 1; i <= count; i++) print "-F " name[i]
                for (i = 1; i <= count; i++) print "-X " name[i]
                print "COMMIT"
            }
            rules = chains = ""; count = 0
        }
        /^\*/ { finish(); table = $0; next }
        /^:/ { chain = substr($1, 2); if (ours(chain)) { name[++count] = chain; chains = "some" } next }
        /^-A / && !ours($2) {
            leads = /flanneld (masq|forward)/
            for (i = 3; i < NF; i++) if (($i == "-j" || $i == "-g") && ours($(i + 1))) leads = 1
            if (leads) { sub(/^-A/, "-D"); rules = rules $0 "\n" }
        }
        END { finish() }'
}

# rule_traces - print what the cluster left in the packet filter, a line each.
rule_traces() {
    for kb_tool in iptables ip6tables; do
        if have "$kb_tool-save" && [ -n "$("$kb_tool-save" 2>/dev/null | rules_undone)" ]; then
            echo "- chains of Kubernetes in $kb_tool"
        fi
    done
    for kb_table in $(nft_tables); do
        echo "- nftables table $(printf '%s' "$kb_table" | tr / ' ')"
    done
}

# remove_rules - remove what rule_traces prints.
remove_rules() {
    for kb_tool in iptables ip6tables; do
        have "$kb_tool-save" || continue
        kb_undone=$("$kb_tool-save" | rules_undone)
        if [ -n "$kb_undone" ]; then
            printf '%s\n' "$kb_undone" | run "$kb_tool-restore" --noflush
        fi
    done
    for kb_table in $(nft_tables); do
        run nft delete table "${kb_table%/*}" "${kb_table#*/}"
    done
}

# nft_tables - print FAMILY/NAME of the tables that kube-proxy and Flannel make in their nftables modes.
nft_tables() {
    if have nft; then
        nft list tables 2>/dev/null | awk '$3 ~ /^(kube-proxy|flannel-ipv[46])$/ { print $2 "/" $3 }'
    fi
}

# virtual_servers - has IPVS any of Kubernetes? They are of Kubernetes only where kube-proxy's interface exists.
virtual_servers() {
    have ipvsadm && [ -e /sys/class/net/kube-ipvs0 ] && [ "$(wc -l </proc/net/ip_vs)" -gt 3 ]
}
