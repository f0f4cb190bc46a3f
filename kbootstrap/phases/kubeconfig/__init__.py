"""kubectl for the SSH user on the first control plane host, and the kubeconfig handed to the operator."""

from __future__ import annotations

from kbootstrap.inventory import Host
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases.common import first_master


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "user-kubeconfig",
            "Give the SSH user a kubeconfig",
            "kubeconfig/user.sh",
            why="kubectl on the control plane host works for the person who logs in, without sudo.",
            libraries=("files", "state"),
            gives=("kubeconfig",),
        )
    ]


PHASE = Phase(
    "kubeconfig",
    "Hand out the kubeconfig",
    "The administrator's credentials go to the SSH user's home and, on request, to the operator.",
    hosts=first_master,
    steps=steps,
)
