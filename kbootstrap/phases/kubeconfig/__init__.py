"""kubectl for the SSH user on the first control plane host, and the kubeconfig handed to the operator."""

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
            why="kubectl on the control plane host works for the person who logs in, without sudo.",
            libraries=("files", "state"),
            outputs=("kubeconfig",),
        )
    ]


PHASE = Phase(
    "kubeconfig",
    "Hand out the kubeconfig",
    "The administrator's credentials go to the SSH user's home and, on request, to the operator.",
    hosts=first_control_plane,
    steps=steps,
)
