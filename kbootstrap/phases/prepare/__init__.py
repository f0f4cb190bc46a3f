"""Prepares a plain Linux host for Kubernetes: one step and one shell file per setting."""

from __future__ import annotations

from kbootstrap import ports
from kbootstrap.inventory.models import Cluster, Host, Inventory
from kbootstrap.kubernetes import repositories
from kbootstrap.phases.common import every_host, kernel_modules
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step

MODULES = "overlay br_netfilter"
SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.bridge.bridge-nf-call-ip6tables=1",
)
"""https://kubernetes.io/docs/setup/production-environment/container-runtimes/ and Flannel's own requirements."""
MINIMUMS = ("fs.inotify.max_user_instances=8192", "fs.inotify.max_user_watches=524288")
"""Limits of inotify. The kernel's default of 128 instances is for one user: root, who runs the kubelet, containerd and
most pods. https://kind.sigs.k8s.io/docs/user/known-issues/ has the error, "too many open files"."""

SYNC_SECONDS = 120
"""Maximum wait for the first clock synchronisation, in seconds."""


def steps(context: Context, host: Host) -> list[Step]:
    cluster, family = context.inventory.cluster, context.facts[host.name].family
    return [
        *_sources(context, host),
        Step(
            "hostname",
            "Set the host name",
            "prepare/hostname.sh",
            why="The node registers under its host name, and its certificates contain this name.",
            libraries=("state",),
            params={"NAME": host.name},
        ),
        Step(
            "hosts",
            "List the nodes in /etc/hosts",
            "prepare/hosts.sh",
            why="The nodes can resolve each other's names without DNS.",
            libraries=("files",),
            params={
                "CLUSTER": cluster.name,
                "NODES": "\n".join(f"{node.node_ip} {node.name}" for node in context.inventory.hosts),
                "TEMPLATE": f"/etc/cloud/templates/hosts.{'debian' if family == 'debian' else 'redhat'}.tmpl",
            },
        ),
        Step(
            "swap",
            "Turn swap off",
            "prepare/swap.sh",
            why="The kubelet refuses to start while swap is on.",
            libraries=("files", "services", "state"),
        ),
        Step(
            "selinux",
            f"Set SELinux to {cluster.selinux}",
            "prepare/selinux.sh",
            why="Pods need the host's files: kubeadm's guide advises permissive; enforcing needs container-selinux.",
            libraries=("files", "os", "state"),
            params={
                "MODE": cluster.selinux,
                "PACKAGE": "container-selinux" if family == "el" else "",
            },
            timeout=600,
        ),
        *_firewall(context.inventory, host),
        Step(
            "modules",
            "Load the kernel modules overlay and br_netfilter",
            "prepare/modules.sh",
            why="containerd needs overlay for image layers; iptables sees bridged pod traffic only with br_netfilter.",
            libraries=("files", "os"),
            params={"MODULES": MODULES, "NEEDED": " ".join(kernel_modules(context.inventory))},
            timeout=900,
        ),
        Step(
            "sysctl",
            "Set the kernel parameters for pod traffic",
            "prepare/sysctl.sh",
            why="Pods need IP forwarding, Services the bridge settings; many pods need higher limits of inotify.",
            libraries=("files", "state"),
            params={"SETTINGS": "\n".join(SETTINGS), "MINIMUMS": "\n".join(MINIMUMS)},
        ),
        _pod_network(context, host),
        *_time(cluster),
    ]


def _pod_network(context: Context, host: Host) -> Step:
    cluster = context.inventory.cluster
    fresh = context.facts[host.name].cluster_state == "fresh"
    return Step(
        "pod-network",
        "Leave the pod network to Flannel",
        "prepare/pod-network.sh",
        why="Other CNI plugins, NetworkManager and remains of an earlier cluster take or lose packets of pods.",
        libraries=("files", "routes", "services", "state"),
        params={
            "POD_CIDR": str(cluster.pod_cidr),
            "NODES": " ".join(node.node_ip for node in context.inventory.hosts) if fresh else "",
            "FRESH": "1" if fresh else "0",
            "RESOLV_CONF": _resolv_conf(cluster),
        },
    )


def _resolv_conf(cluster: Cluster) -> str:
    """The resolv.conf that the inventory gives to the kubelets; empty if it leaves that to kubeadm."""
    documents = [made for made in cluster.kubeadm.documents if made.get("kind") == "KubeletConfiguration"]
    named = [str(made["resolvConf"]) for made in documents if made.get("resolvConf")]
    return cluster.kubeadm.extra_args.kubelet.get("resolv-conf", "") or "".join(named[-1:])


def _time(cluster: Cluster) -> list[Step]:
    if cluster.time == "ignore":
        return []
    return [
        Step(
            "time",
            "Synchronise the clock with chrony",
            "prepare/time.sh",
            why="Certificates and etcd need synchronised clocks.",
            libraries=("files", "os", "services"),
            params={"SERVERS": " ".join(cluster.ntp)},
            timeout=600,
            retries=2,
        ),
        Step(
            "time-sync",
            "Wait until the clock is synchronised",
            "prepare/time-sync.sh",
            why="A certificate created with a wrong clock has a wrong validity period.",
            params={"SECONDS_TO_WAIT": str(SYNC_SECONDS)},
            timeout=SYNC_SECONDS + 30,
            wait_only=True,
        ),
    ]


def _sources(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    if cluster.os_repository == "keep":
        return []
    return [
        Step(
            "package-sources",
            "Replace package repositories that are gone",
            "prepare/sources.sh",
            why="CentOS 7 and 8 name servers that ended in 2024. With one dead repository, nothing can be installed.",
            libraries=("files", "os"),
            params={"VAULT": repositories.vault(cluster, context.facts[host.name])},
        )
    ]


def _firewall(inventory: Inventory, host: Host) -> list[Step]:
    cluster = inventory.cluster
    why = "kube-proxy and Flannel write their own packet filter rules; a firewall without such rules drops pod traffic."
    if cluster.firewall == "ignore":
        return []
    if cluster.firewall == "disable":
        return [
            Step(
                "firewall",
                "Turn the host's firewall off",
                "prepare/firewall-off.sh",
                why=why,
                libraries=("filter", "services"),
            )
        ]
    opened = ports.firewall(control_plane=host.is_control_plane)
    # With host-gw, packets from a node to a pod elsewhere come from the node's own address.
    nodes = [node.node_ip for node in inventory.hosts if node != host] if cluster.network.backend == "host-gw" else []
    vxlan = (f"{cluster.network.port}/udp",) if cluster.network.backend == "vxlan" else ()
    return [
        Step(
            "firewall",
            "Open the ports Kubernetes needs",
            "prepare/firewall-ports.sh",
            why=why,
            libraries=("filter", "services", "state"),
            params={
                "PORTS": " ".join(opened + vxlan),
                "SOURCES": " ".join((str(cluster.pod_cidr), str(cluster.service_cidr), *nodes)),
                "POD_CIDR": str(cluster.pod_cidr),
                "NODE_IP": host.node_ip,
            },
        )
    ]


PHASE = Phase(
    "prepare",
    "Prepare the host",
    "The host settings that the kubelet and the pod network need. They stay in effect after a reboot.",
    hosts=every_host,
    steps=steps,
)
