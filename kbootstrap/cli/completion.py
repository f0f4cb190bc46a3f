"""What the shell completes: hosts of the inventory, phases, steps, topics, runs. A mistake completes nothing."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import click

DEFAULT_INVENTORY = Path("kbootstrap.yaml")
"""The inventory of a command that names none, in the current folder; ``init`` writes it."""
OPTION = "kbootstrap.inventory"
"""Where a command's context keeps the inventory of ``-f``."""


def inventory_of(context: click.Context, given: Path | None) -> Path:
    """The inventory: the argument, ``-f``, KBOOTSTRAP_INVENTORY, or ``DEFAULT_INVENTORY`` in this folder."""
    named = os.environ.get("KBOOTSTRAP_INVENTORY")
    return given or context.meta.get(OPTION) or (Path(named) if named else DEFAULT_INVENTORY)


def hosts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Hosts and roles for ``--limit``, after the last comma."""
    from kbootstrap.errors import KbootstrapError
    from kbootstrap.inventory import load

    try:
        found = load(inventory_of(context, context.params.get("inventory")), AnyVariable(os.environ)).hosts
    except (KbootstrapError, OSError):
        return []
    before, comma, begun = incomplete.rpartition(",")
    names = [*(host.name for host in found), *(f"role={role}" for role in sorted({host.role for host in found}))]
    return [before + comma + name for name in _matching(names, begun)]


def phases(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The phases of ``plan`` and ``up``."""
    from kbootstrap.phases.catalogue import catalogue

    return _matching((phase.name for phase, _ in catalogue()["up"]), incomplete)


def runs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The ids of the runs that have a journal, newest first."""
    from kbootstrap.run.journal import runs_folder

    try:
        names = sorted((folder.name for folder in runs_folder().iterdir()), reverse=True)
    except OSError:
        return []
    return _matching(["last", *names], incomplete)


def names_to_explain(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """Phases, steps with their phase, and topics."""
    from kbootstrap.phases.catalogue import everything
    from kbootstrap.topics import topics

    names = [name for phase, those in everything() for name in (phase.name, *(f"{phase.name}.{s.id}" for s in those))]
    return _matching(dict.fromkeys([*names, *topics()]), incomplete)


def _matching(names: Iterable[str], incomplete: str) -> list[str]:
    return [name for name in names if name.startswith(incomplete)]


class AnyVariable(dict[str, str]):
    """Variables of the environment, and all others too: where nothing connects, no password has to be set."""

    def __contains__(self, name: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return "not-set"
