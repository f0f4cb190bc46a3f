"""Deletes the join tokens, whether or not every join worked, and those an interrupted run has left."""

from __future__ import annotations

from kbootstrap.inventory import Host, Inventory
from kbootstrap.kubeadm import parse_join_command
from kbootstrap.model import Context, Phase, Secret, Step
from kbootstrap.phases.token import joining


def hosts(inventory: Inventory) -> list[Host]:
    return [inventory.first_master]


def steps(context: Context, host: Host) -> list[Step]:
    join = context.values.get("join")
    token_id = parse_join_command(join.reveal()).token_id if isinstance(join, Secret) else ""
    return [
        Step(
            "untoken",
            "Delete the join token",
            "untoken/untoken.sh",
            why="A token that is gone cannot be found in a log and used.",
            params={"TOKEN_ID": token_id, "JOINING": "1" if joining(context) else "0"},
        )
    ]


def after(inventory: Inventory, host: Host) -> list[tuple[str, str]]:
    return [("join", other.name) for other in inventory.hosts if other.name != host.name]


PHASE = Phase(
    "untoken",
    "Tidy up after the joins",
    "Nothing that lets a host join stays behind.",
    hosts=hosts,
    steps=steps,
    after=after,
    for_cluster=True,
)
