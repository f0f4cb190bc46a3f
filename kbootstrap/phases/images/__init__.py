"""Container images, pulled before they are needed, on every host side by side with the control plane's start."""

from __future__ import annotations

from kbootstrap.inventory import Host
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases.common import every_host
from kbootstrap.phases.network import flannel
from kbootstrap.phases.packages import version


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
                "ROLE": "control-plane" if host.is_master else "worker",
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
