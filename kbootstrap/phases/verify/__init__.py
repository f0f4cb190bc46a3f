"""Looks at the cluster as its users will: every node Ready, every system pod running, or the reason why not."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import after_joins, first_control_plane
from kbootstrap.phases.packages import version
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step

TIMEOUT_S = 300
"""Longest wait for nodes and pods, in seconds: a slow disk and a first image pull fit in."""


def steps(context: Context, host: Host) -> list[Step]:
    # A host that failed or takes no part has been reported; waiting for its node would only waste time.
    expected = [node for node in context.inventory.hosts if node.name not in context.lost]
    return [
        Step(
            "nodes",
            "Wait until every node is Ready",
            "verify/nodes.sh",
            why="A host is only a node when the API server calls it Ready, with the right version and address.",
            libraries=("cluster", "wait"),
            params={
                "EXPECTED": "\n".join(f"{node.name} {node.node_ip}" for node in expected),
                "VERSION": version(context),
                "TIMEOUT": str(TIMEOUT_S),
            },
            timeout=TIMEOUT_S + 60,
            wait_only=True,
        ),
        Step(
            "pods",
            "Wait until every system pod runs",
            "verify/pods.sh",
            why="Nodes can be Ready while DNS or the pod network is not.",
            libraries=("cluster", "wait"),
            params={"TIMEOUT": str(TIMEOUT_S)},
            timeout=TIMEOUT_S + 60,
            wait_only=True,
        ),
    ]


PHASE = Phase(
    "verify",
    "Verify the cluster",
    "The run is only done when the API server says so.",
    hosts=first_control_plane,
    steps=steps,
    after=after_joins,
    cluster_scoped=True,
)
