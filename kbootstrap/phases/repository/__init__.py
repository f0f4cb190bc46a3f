"""The Kubernetes package repository, and the newest patch of the wanted minor in it."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes import repositories
from kbootstrap.phases.common import every_host, repository_step
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import show


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    why = "Each minor has its own repository. Only packages signed with its pinned key are installed."
    made = [repository_step(repositories.kubernetes(cluster, context.facts[host.name]), why)]
    if host.name == context.inventory.first_control_plane.name and context.outputs.kubernetes_version is None:
        made.append(
            Step(
                "resolve",
                f"Find the newest Kubernetes {show(cluster.minor)}",
                "repository/resolve.sh",
                why="Every host must install the same patch version; the first control plane host finds it.",
                libraries=("os",),
                params={"MINOR": show(cluster.minor)},
                wait_only=True,
                outputs=("kubernetes_version",),
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
