"""All steps, for `phases`, `explain` and the docs: built from example inventories that together use every step."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

from kbootstrap import versions
from kbootstrap.distributions import OsRelease
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases import PREFLIGHT, RESET, STATUS, UP, builtin
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.remote.facts import Facts
from kbootstrap.steps import Step

NODE = "NODE"
"""Replaces a host's name in ids and titles."""

_EXAMPLE: dict[str, Any] = {
    "cluster": {"name": "example", "kubernetes": versions.show(versions.NEWEST)},
    "hosts": [
        {"name": "cp1", "address": "192.168.1.10", "role": "control-plane"},
        {"name": "cp2", "address": "192.168.1.11", "role": "control-plane"},
        {"name": "w1", "address": "192.168.1.12", "role": "worker", "labels": {"disk": "ssd"}},
    ],
}
_NAMES = re.compile(r"\b(cp1|cp2|w1)\b")
_COMMANDS = {"up": (*builtin.PHASES, *PREFLIGHT, *UP), "status": STATUS, "reset": RESET}

Phases = list[tuple[Phase, list[Step]]]


def catalogue() -> dict[str, Phases]:
    """The phases of each command in order, each with its steps. Variants of a step are next to each other."""
    return {command: [(phase, _steps(phase)) for phase in phases] for command, phases in _COMMANDS.items()}


def everything() -> Phases:
    """The phases of all commands."""
    return [listed for phases in catalogue().values() for listed in phases]


def _steps(phase: Phase) -> list[Step]:
    variants: dict[str, dict[str, Step]] = {}
    if phase in PREFLIGHT:
        variants[builtin.REQUIREMENTS.id] = {"": builtin.REQUIREMENTS}
    contexts = (
        _context(),
        _context({"firewall": "open-ports"}),
        _context(leaving="w1"),
        _context(kubelet_conf=True, manifests=True),
        replace(_context(), deep=True),
    )
    for context in contexts:
        for host in phase.hosts(context.inventory):
            for step in phase.steps(context, host):
                name = _NAMES.sub(NODE, step.id)
                named = replace(step, id=name, title=_NAMES.sub(NODE, step.title))
                variants.setdefault(name, {}).setdefault(step.script, named)
    return [step for scripts in variants.values() for step in scripts.values()]


def _context(cluster: dict[str, str] | None = None, leaving: str = "", **found: Any) -> Context:
    inventory = Inventory.model_validate({**_EXAMPLE, "cluster": {**_EXAMPLE["cluster"], **(cluster or {})}})
    facts = Facts(os=OsRelease("centos", "9"), arch="x86_64", kernel="5.14.0", **found)
    return Context(inventory, {host.name: facts for host in inventory.hosts}, leaving=frozenset(leaving.split()))
