"""Deletes the join tokens, whether or not every join worked, and those an interrupted run has left."""

from __future__ import annotations

from kbootstrap.inventory import Host
from kbootstrap.kubeadm import parse_join_command
from kbootstrap.model import Context, Phase, Secret, Step
from kbootstrap.phases.common import after_joins, first_master
from kbootstrap.phases.token import joining


def steps(context: Context, host: Host) -> list[Step]:
    join = context.values.get("join")
    token_id = parse_join_command(join.reveal()).token_id if isinstance(join, Secret) else ""
    return [
        Step(
            "untoken",
            "Delete the join tokens",
            "untoken/untoken.sh",
            why="A token that is gone cannot be found in a log and used.",
            libraries=("cluster", "wait"),
            params={"TOKEN_ID": token_id, "JOINING": "1" if joining(context) else "0"},
        )
    ]


PHASE = Phase(
    "untoken",
    "Tidy up after the joins",
    "Nothing that lets a host join stays behind.",
    hosts=first_master,
    steps=steps,
    after=after_joins,
    for_cluster=True,
)
