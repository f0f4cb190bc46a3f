"""Prepares a plain Linux host for Kubernetes: one step and one shell file per setting."""

from __future__ import annotations

from kbootstrap import ports
from kbootstrap.inventory.models import Cluster, Host
from kbootstrap.kubernetes import repositories
from kbootstrap.phases.common import every_host
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step

MODULES = "overlay br_netfilter"
SETTINGS = (
    "net.ipv4.ip_forward=1",
    "net.bridge.bridge-nf-call-iptables=1",
    "net.bridge.bridge-nf-call-ip6tables=1",
)
"""https://kubernetes.io/docs/setup/production-environment/container-runtimes/ and Flannel's own requirements."""

SYNC_SECONDS = 120
"""Maximum wait for the first clock synchronisation, in seconds."""


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    return [
        *_sources(context, host),
        Step(
            "hostname",
            f"Set the host name to {host.name}",
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
            },
        ),
        Step(
            "swap",
            "Turn swap off",
            "prepare/swap.sh",
            why="The kubelet refuses to start while swap is on.",
            libraries=("files", "state"),
        ),
        Step(
            "selinux",
            f"Set SELinux to {cluster.selinux}",
            "prepare/selinux.sh",
            why="Pods need the host's files: kubeadm's guide advises permissive; enforcing needs container-selinux.",
            libraries=("files", "state"),
            params={"MODE": cluster.selinux},
        ),
        *_firewall(cluster, host),
        Step(
            "modules",
            "Load the kernel modules overlay and br_netfilter",
            "prepare/modules.sh",
            why="containerd needs overlay for image layers; iptables sees bridged pod traffic only with br_netfilter.",
            libraries=("files", "os"),
            params={"MODULES": MODULES},
            timeout=900,
        ),
        Step(
            "sysctl",
            "Set the kernel parameters for pod traffic",
            "prepare/sysctl.sh",
            why="Pod traffic between nodes needs IP forwarding; Services need the bridge settings.",
            libraries=("files", "state"),
            params={"SETTINGS": "\n".join(SETTINGS)},
        ),
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


def _firewall(cluster: Cluster, host: Host) -> list[Step]:
    why = "kube-proxy and Flannel write their own packet filter rules; a firewall without such rules drops pod traffic."
    if cluster.firewall == "ignore":
        return []
    if cluster.firewall == "disable":
        return [
            Step(
                "firewall", "Turn the host's firewall off", "prepare/firewall-off.sh", why=why, libraries=("services",)
            )
        ]
    opened = ports.firewall(control_plane=host.is_control_plane)
    vxlan = (f"{cluster.network.port}/udp",) if cluster.network.backend == "vxlan" else ()
    return [
        Step(
            "firewall",
            "Open the ports Kubernetes needs",
            "prepare/firewall-ports.sh",
            why=why,
            libraries=("state",),
            params={"PORTS": " ".join(opened + vxlan), "SOURCES": f"{cluster.pod_cidr} {cluster.service_cidr}"},
        )
    ]


PHASE = Phase(
    "prepare",
    "Prepare the host",
    "The host settings that the kubelet and the pod network need. They stay in effect after a reboot.",
    hosts=every_host,
    steps=steps,
)
