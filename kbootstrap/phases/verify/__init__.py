"""Checks that every node is Ready, every system pod runs and packets pass between pods, or reports the reason."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import after_joins, first_control_plane
from kbootstrap.phases.packages import version
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.phases.verify.connections import deep_step, packet_step
from kbootstrap.steps import Step

TIMEOUT_S = 300
"""Maximum wait for nodes and pods, in seconds. This is enough for a slow disk and the first image pull."""


def expected(context: Context) -> list[Host]:
    """The hosts that must be nodes: members, and those that joined in this run.

    The node of a host that failed is not waited for (it is already reported), nor that of one that takes no part.
    """
    return [host for host in context.inventory.hosts if host.name not in context.lost and _is_member(context, host)]


def _is_member(context: Context, host: Host) -> bool:
    facts = context.facts.get(host.name)
    joined = context.outputs.join is not None or host == context.inventory.first_control_plane
    return facts is None or facts.cluster_state == "member" or joined


def steps(context: Context, host: Host) -> list[Step]:
    lost = [other.name for other in context.inventory.hosts if other.name in context.lost]
    return [
        Step(
            "nodes",
            "Wait until every node is Ready",
            "verify/nodes.sh",
            why="A node is complete when the API server reports it Ready, with the right version and address.",
            libraries=("cluster", "wait"),
            params={
                "EXPECTED": "\n".join(f"{node.name} {node.node_ip}" for node in expected(context)),
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
            why="Nodes can be Ready before DNS and the pod network work.",
            libraries=("cluster", "wait"),
            params={"LOST": "\n".join(lost), "TIMEOUT": str(TIMEOUT_S)},
            timeout=TIMEOUT_S + 60,
            wait_only=True,
        ),
        (deep_step if context.deep else packet_step)(context, host, expected(context)),
    ]


PHASE = Phase(
    "verify",
    "Verify the cluster",
    "The run succeeds only when the API server reports every node Ready.",
    hosts=first_control_plane,
    steps=steps,
    after=after_joins,
    cluster_scoped=True,
)
