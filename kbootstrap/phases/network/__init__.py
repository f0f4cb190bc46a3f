"""The pod network."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes.kubeadm import to_yaml
from kbootstrap.phases.common import first_control_plane
from kbootstrap.phases.network import flannel
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import FLANNEL_VERSION


def steps(context: Context, host: Host) -> list[Step]:
    documents = flannel.manifest(context.inventory)
    return [
        Step(
            "flannel",
            f"Install Flannel {FLANNEL_VERSION} ({context.inventory.cluster.network.backend})",
            "network/flannel.sh",
            why="Without a pod network the kubelets report NetworkPluginNotReady, and no node becomes Ready.",
            libraries=("cluster", "wait"),
            params={"MANIFEST": to_yaml(documents), "FINGERPRINT": flannel.fingerprint(documents)},
            retries=2,
        )
    ]


PHASE = Phase(
    "network",
    "Install the pod network",
    "Flannel in a pinned version, from kbootstrap's own manifest.",
    hosts=first_control_plane,
    steps=steps,
)
