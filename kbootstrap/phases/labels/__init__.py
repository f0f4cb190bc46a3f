"""Labels and taints from the inventory, set through the API server."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import after_joins, first_control_plane
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            f"labels-{node.name}",
            f"Label and taint {node.name}",
            "labels/labels.sh",
            why="Workloads select their nodes by labels and taints; a kubelet cannot set most of them itself.",
            libraries=("cluster", "wait"),
            params={
                "NODE_NAME": node.name,
                "LABELS": " ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
                "TAINTS": " ".join(node.taints),
            },
            subject=node.name,
        )
        for node in context.inventory.hosts
        if node.labels or node.taints
    ]


PHASE = Phase(
    "labels",
    "Label the nodes",
    "Set the labels and taints of the inventory on the node objects.",
    hosts=first_control_plane,
    steps=steps,
    after=after_joins,
    cluster_scoped=True,
)
