"""The Kubernetes package repository, and which patch of the wanted minor it gives."""

from __future__ import annotations

from kbootstrap.inventory import Host
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases.common import every_host
from kbootstrap.phases.repository import sources
from kbootstrap.versions import show


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    why = "There is one repository per minor, and only packages signed with its pinned key are installed."
    made = [sources.kubernetes(cluster, context.facts[host.name]).step(why)]
    if host.name == context.inventory.first_master.name and "kubernetes_version" not in context.values:
        made.append(
            Step(
                "resolve",
                f"Find the newest Kubernetes {show(cluster.minor)}",
                "repository/resolve.sh",
                why="Every host must install the same patch; the first control plane host decides which.",
                libraries=("os",),
                params={"MINOR": show(cluster.minor)},
                waits=True,
                gives=("kubernetes_version",),
            )
        )
    return made


PHASE = Phase(
    "repository",
    "Add the Kubernetes package repository",
    "Where kubelet, kubeadm and kubectl come from, with pinned keys.",
    hosts=every_host,
    steps=steps,
)
