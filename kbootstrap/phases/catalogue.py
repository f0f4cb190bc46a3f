"""Every step there is, for `phases`, `explain` and the docs: made from examples that together need all of them."""

from __future__ import annotations

from typing import Any

from kbootstrap.facts import Facts
from kbootstrap.inventory import Inventory
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases import RESET, STATUS, UP

_EXAMPLE: dict[str, Any] = {
    "cluster": {"name": "example", "kubernetes": "1.34"},
    "hosts": [
        {"name": "cp1", "address": "192.168.1.10", "role": "master"},
        {"name": "cp2", "address": "192.168.1.11", "role": "master"},
        {"name": "w1", "address": "192.168.1.12", "role": "worker", "labels": {"disk": "ssd"}},
    ],
}


def catalogue() -> list[tuple[Phase, list[Step]]]:
    """Phases in order, each with its steps, every step once."""
    listed = []
    for phase in (*UP, *STATUS, *RESET):
        steps: dict[str, Step] = {}
        for context in (_context(), _context({"firewall": "open-ports"}), _context(leaving="w1")):
            for host in phase.hosts(context.inventory):
                for step in phase.steps(context, host):
                    steps.setdefault(step.shell + step.id.partition("-w1")[0], step)
        listed.append((phase, list(steps.values())))
    return listed


def _context(cluster: dict[str, str] | None = None, leaving: str = "") -> Context:
    inventory = Inventory.model_validate({**_EXAMPLE, "cluster": {**_EXAMPLE["cluster"], **(cluster or {})}})
    facts = Facts(os_id="centos", os_version="9", arch="x86_64", kernel="5.14.0")
    return Context(inventory, {host.name: facts for host in inventory.hosts}, leaving=frozenset(leaving.split()))
