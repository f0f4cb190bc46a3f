"""Reads the cluster for `status` and `kubeconfig`; no part of `up`."""

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
            why="The API server is asked on the control plane host, so the operator needs nothing but SSH.",
            libraries=("cluster",),
            wait_only=True,
            outputs=("nodes", "pods", "kubeconfig"),
        )
    ]


PHASE = Phase(
    "status", "Read the cluster", "What `status` and `kubeconfig` show.", hosts=first_control_plane, steps=steps
)
