"""Making a plain Linux host fit for Kubernetes: one step, and one shell file, per thing that must hold."""

from __future__ import annotations

from kbootstrap import ports
from kbootstrap.inventory.models import Cluster, Host
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
"""Longest wait for the first clock synchronisation."""


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    return [
        Step(
            "hostname",
            f"Name the host {host.name}",
            "prepare/hostname.sh",
            why="The node registers under its host name, and certificates are made for it.",
            libraries=("state",),
            params={"NAME": host.name},
        ),
        Step(
            "hosts",
            "List the nodes in /etc/hosts",
            "prepare/hosts.sh",
            why="The nodes find each other by name even where no DNS knows them.",
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
            f"Make SELinux {cluster.selinux}",
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
            why="containerd stacks images with overlay; bridged pod traffic passes iptables only with br_netfilter.",
            libraries=("files",),
            params={"MODULES": MODULES},
        ),
        Step(
            "sysctl",
            "Let the kernel forward and filter pod traffic",
            "prepare/sysctl.sh",
            why="Without forwarding a packet never leaves its node; without the bridge settings Services do not work.",
            libraries=("files", "state"),
            params={"SETTINGS": "\n".join(SETTINGS)},
        ),
        Step(
            "time",
            "Keep the clock with chrony",
            "prepare/time.sh",
            why="Certificates and etcd need clocks that agree.",
            libraries=("files", "os", "services"),
            params={"SERVERS": " ".join(cluster.ntp)},
            timeout=600,
            retries=2,
        ),
        Step(
            "time-sync",
            "Wait until the clock is synchronised",
            "prepare/time-sync.sh",
            why="A certificate made with a wrong clock is wrong for a year.",
            params={"SECONDS_TO_WAIT": str(SYNC_SECONDS)},
            timeout=SYNC_SECONDS + 30,
            wait_only=True,
        ),
    ]


def _firewall(cluster: Cluster, host: Host) -> list[Step]:
    why = "kube-proxy and Flannel write packet filter rules themselves; one that does not know them drops pod traffic."
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
    "What the kubelet and the pod network expect of a host, made true and kept true after a reboot.",
    hosts=every_host,
    steps=steps,
)
