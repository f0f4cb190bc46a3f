"""Reads the cluster for `status` and `kubeconfig`; no part of `up`."""

from __future__ import annotations

from kbootstrap.inventory import Host
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases.common import first_master


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "read",
            "Read nodes, pods and the kubeconfig",
            "status/read.sh",
            why="The API server is asked on the control plane host, so the operator needs nothing but SSH.",
            libraries=("cluster",),
            waits=True,
            gives=("nodes", "pods", "kubeconfig"),
        )
    ]


PHASE = Phase("status", "Read the cluster", "What `status` and `kubeconfig` show.", hosts=first_master, steps=steps)
