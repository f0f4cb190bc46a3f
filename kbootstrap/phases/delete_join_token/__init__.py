"""Deletes the join tokens and certificates, even if a join failed, and those left by an interrupted run."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import after_joins, first_control_plane
from kbootstrap.phases.join_token import joining
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    join = context.outputs.join
    return [
        Step(
            "delete-join-token",
            "Delete the join tokens and the uploaded certificates",
            "delete_join_token/delete-join-token.sh",
            why="What is deleted cannot be misused, even if it is found in a log.",
            libraries=("cluster", "wait"),
            params={"TOKEN_ID": join.token_id if join else "", "JOINING": "1" if joining(context) else "0"},
        )
    ]


PHASE = Phase(
    "delete-join-token",
    "Clean up after the joins",
    "kbootstrap leaves no token that lets a host join.",
    hosts=first_control_plane,
    steps=steps,
    after=after_joins,
    cluster_scoped=True,
    part_of="join",
)
