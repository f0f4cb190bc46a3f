"""Container images, pulled before they are needed, on every host side by side with the control plane's start."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import every_host
from kbootstrap.phases.network import flannel
from kbootstrap.phases.packages import version
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "images",
            "Pull the container images",
            "images/images.sh",
            why="kubeadm and the kubelet find them there, and a registry that does not answer is noticed early.",
            libraries=("network",),
            params={
                "VERSION": version(context),
                "REPOSITORY": context.inventory.cluster.image_repository,
                "ROLE": host.role,
                "EXTRA": " ".join(flannel.images(context.inventory)),
            },
            timeout=3600,
            retries=3,
        )
    ]


PHASE = Phase(
    "images",
    "Pull the images",
    "What the host will run, fetched while other hosts are still at work.",
    hosts=every_host,
    steps=steps,
)
