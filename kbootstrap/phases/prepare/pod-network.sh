# shellcheck shell=sh
# Nothing but Flannel and kube-proxy is to work on the pod network:
# - containerd takes the first file in /etc/cni/net.d, so those that sort before Flannel's are moved away. On a node they are only
#   named: the cluster's administrator may have added a plugin, such as Multus, that is to come first,
# - NetworkManager leaves the interfaces of pods alone, and nm-cloud-setup is off: its routing rules catch traffic of pods,
# - interfaces and routes that an earlier cluster's Flannel left on a host that is no node go.
# CoreDNS asks the servers in the kubelet's resolv.conf: if they are the host itself, it would ask itself in a loop.
# Params: POD_CIDR, NODES (the nodes' addresses), FRESH (1: the host is no node yet), RESOLV_CONF (of the kubelet; empty: the default)

NM=/etc/NetworkManager/conf.d/zz-kubernetes.conf
NM_TEXT='[keyfile]
unmanaged-devices+=interface-name:cni0;interface-name:flannel*;interface-name:veth*;interface-name:kube-ipvs0'
CLOUD_SETUP="nm-cloud-setup.timer nm-cloud-setup.service"

# The files that containerd would take instead of 10-flannel.conflist.
foreign_cni() {
    for file in /etc/cni/net.d/*; do
        case $file in
            *.conf | *.conflist | *.json) [ ! -f "$file" ] || echo "$file" ;;
        esac
    done | awk '$0 < "/etc/cni/net.d/10-flannel.conflist"'
}

has_nm() { [ -d /etc/NetworkManager ] && unit_there NetworkManager.service; }

# What others or an earlier Flannel left on a host that is no node yet.
left() {
    if [ "$FRESH" = 1 ]; then
        foreign_cni
        pod_links "$POD_CIDR" | sed 's/^/link /'
        pod_routes "$POD_CIDR" "$NODES" | sed 's/^/route /'
    fi
}

# The file that the kubelet gives to CoreDNS. kubeadm chooses the same where systemd-resolved runs.
resolv_conf() {
    if [ -n "$RESOLV_CONF" ]; then
        echo "$RESOLV_CONF"
    elif [ -e /run/systemd/resolve/resolv.conf ]; then
        echo /run/systemd/resolve/resolv.conf
    else
        echo /etc/resolv.conf
    fi
}

# other_servers FILE - print the servers in it that are not this host.
other_servers() {
    sed -n 's/^[[:space:]]*nameserver[[:space:]]*\([^[:space:]#;]*\).*/\1/p' "$1" 2>/dev/null |
        grep -vE '^(127\.|::1$|0\.0\.0\.0$)'
}

check_dns() {
    file=$(resolv_conf)
    if ! grep -qs '^[[:space:]]*nameserver' "$file" || [ -n "$(other_servers "$file")" ]; then
        return
    fi
    better='a file with the real servers'
    for other in /run/NetworkManager/no-stub-resolv.conf /run/dnsmasq/resolv.conf /etc/resolv.conf; do
        if [ -n "$(other_servers "$other")" ]; then
            better=$other
            break
        fi
    done
    kb_report warning "$file has only this host as DNS server, so CoreDNS asks itself in a loop: set cluster.kubeadm.extra_args.kubelet: {resolv-conf: $better}"
}

check_cni() {
    if [ "$FRESH" != 1 ]; then
        foreign_cni | while read -r file; do
            kb_report warning "containerd uses $file instead of the configuration of Flannel"
        done
    fi
}

check() {
    check_dns
    check_cni
    show "$(differences)"
}

differences() {
    if has_nm; then
        file_is "$NM" "$NM_TEXT" || true
        # shellcheck disable=SC2086 # names are words
        services_on $CLOUD_SETUP | sed 's/$/ is on/'
    fi
    left | sed -e '/^\//s/$/ (it comes before the configuration of Flannel)/' -e 's/^link .*/& of an earlier pod network/' \
        -e 's/^route .*/& of an earlier pod network/' -e 's/^/- /'
}

apply() {
    if has_nm; then
        put_file "$NM" 644 "$NM_TEXT"
        # shellcheck disable=SC2086 # names are words
        services_off $CLOUD_SETUP
        if systemctl is-active --quiet NetworkManager; then
            run systemctl reload NetworkManager
        fi
    fi
    left | while read -r kind rest; do
        case $kind in
            link) run ip link delete "$rest" ;;
            route) delete_route "$rest" ;;
            *)
                keep_original "$kind"
                rm -f "$kind"
                ;;
        esac
    done
}
