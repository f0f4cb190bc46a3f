"""kubelet, kubeadm and kubectl, pinned to one version, and the tools they call."""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.phases.common import every_host
from kbootstrap.phases.phase import Context, Pairs, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import show

_TOOLS = {
    "el": "conntrack=conntrack-tools socat=socat ethtool=ethtool iptables=iptables tc=iproute-tc ip=iproute tar=tar",
    "debian": "conntrack=conntrack socat=socat ethtool=ethtool iptables=iptables tc=iproute2 ip=iproute2 tar=tar",
}
"""Commands that kubeadm's preflight requires, and the package of each. kubelet's package no longer depends on them
(https://github.com/kubernetes/release/pull/3730 and later)."""


def tools(context: Context, host: Host) -> str:
    facts = context.facts[host.name]
    wanted = _TOOLS[facts.family or "el"]
    if facts.family == "el" and facts.os.release == "7":
        wanted = wanted.replace("tc=iproute-tc", "tc=iproute")
    return wanted


def version(context: Context) -> str:
    """The exact version if it is known, else the minor."""
    cluster = context.inventory.cluster
    return context.outputs.kubernetes_version or cluster.exact or show(cluster.minor)


def steps(context: Context, host: Host) -> list[Step]:
    wanted = version(context)
    return [
        Step(
            "tools",
            "Install the tools kubeadm requires",
            "packages/tools.sh",
            why="kubeadm's preflight and kube-proxy call them; the Kubernetes packages do not install them.",
            libraries=("os",),
            params={"TOOLS": tools(context, host)},
            timeout=900,
            retries=3,
        ),
        Step(
            "kubernetes",
            f"Install kubelet, kubeadm and kubectl {wanted}",
            "packages/kubernetes.sh",
            why="Every host needs the same exact version. System updates do not change it, so you decide on upgrades.",
            libraries=("os", "packages", "services"),
            params={"VERSION": wanted},
            timeout=1800,
            retries=3,
        ),
    ]


def requires(inventory: Inventory, host: Host) -> Pairs:
    """If the inventory has only the minor, the first control plane host finds the patch version first."""
    if inventory.cluster.exact or host.name == inventory.first_control_plane.name:
        return []
    return [("repository", inventory.first_control_plane.name)]


PHASE = Phase(
    "packages",
    "Install Kubernetes",
    "kubelet, kubeadm and kubectl in a pinned version, and the tools they need.",
    hosts=every_host,
    steps=steps,
    requires=requires,
)
