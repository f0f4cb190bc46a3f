"""A kubeconfig for the SSH user on the first control plane host, and for the operator."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import first_control_plane
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "user-kubeconfig",
            "Give the SSH user a kubeconfig",
            "kubeconfig/user.sh",
            why="On the control plane host, the SSH user can run kubectl without sudo.",
            libraries=("home", "state"),
            outputs=("kubeconfig",),
        )
    ]


PHASE = Phase(
    "kubeconfig",
    "Provide the kubeconfig",
    "The administrator's kubeconfig goes to the SSH user's home and to the operator's machine.",
    hosts=first_control_plane,
    steps=steps,
)
