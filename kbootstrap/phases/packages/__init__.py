"""kubelet, kubeadm and kubectl in exactly one version, and the tools they call."""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.kubernetes.repositories import el_release
from kbootstrap.phases.common import every_host
from kbootstrap.phases.phase import Context, Pairs, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import show

_TOOLS = {
    "el": "conntrack=conntrack-tools socat=socat ethtool=ethtool iptables=iptables tc=iproute-tc ip=iproute tar=tar",
    "debian": "conntrack=conntrack socat=socat ethtool=ethtool iptables=iptables tc=iproute2 ip=iproute2 tar=tar",
}
"""Commands kubeadm's preflight looks for, and the package of each. kubelet's package no longer pulls them in
(https://github.com/kubernetes/release/pull/3730 and later)."""


def tools(context: Context, host: Host) -> str:
    facts = context.facts[host.name]
    wanted = _TOOLS[facts.family or "el"]
    if facts.family == "el" and el_release(facts) == "7":
        wanted = wanted.replace("tc=iproute-tc", "tc=iproute")
    return wanted


def version(context: Context) -> str:
    """The exact version once it is known, else the minor."""
    cluster = context.inventory.cluster
    return context.outputs.kubernetes_version or cluster.exact or show(cluster.minor)


def steps(context: Context, host: Host) -> list[Step]:
    wanted = version(context)
    return [
        Step(
            "tools",
            "Install the tools kubeadm looks for",
            "packages/tools.sh",
            why="kubeadm's preflight and kube-proxy call them; the Kubernetes packages do not bring them along.",
            libraries=("os",),
            params={"TOOLS": tools(context, host)},
            timeout=900,
            retries=3,
        ),
        Step(
            "kubernetes",
            f"Install kubelet, kubeadm and kubectl {wanted}",
            "packages/kubernetes.sh",
            why="One exact version on every host, kept from ordinary system updates: an upgrade is a decision.",
            libraries=("os", "packages", "services"),
            params={"VERSION": wanted},
            timeout=1800,
            retries=3,
        ),
    ]


def requires(inventory: Inventory, host: Host) -> Pairs:
    """Where only the minor is given, the first control plane host must have found the patch."""
    if inventory.cluster.exact or host.name == inventory.first_control_plane.name:
        return []
    return [("repository", inventory.first_control_plane.name)]


PHASE = Phase(
    "packages",
    "Install Kubernetes",
    "kubelet, kubeadm, kubectl and what they need, pinned.",
    hosts=every_host,
    steps=steps,
    requires=requires,
)
