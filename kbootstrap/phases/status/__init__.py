"""Reads the cluster's state for `status` and `kubeconfig`. It is not part of `up`."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import first_control_plane
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "read",
            "Read nodes, pods and the kubeconfig",
            "status/read.sh",
            why="The query runs on the control plane host, so the operator needs only SSH.",
            libraries=("cluster",),
            wait_only=True,
            outputs=("nodes", "pods", "kubeconfig"),
        )
    ]


PHASE = Phase(
    "status", "Read the cluster", "The data for `status` and `kubeconfig`.", hosts=first_control_plane, steps=steps
)
