"""A phase, and the context from which it makes steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.phases.outputs import Outputs
from kbootstrap.remote.facts import Facts
from kbootstrap.steps import Step


@dataclass(frozen=True)
class Context:
    """A snapshot of a run: the inventory, the options, and the results so far. Phases turn it into steps.

    ``facts`` has every host that answered. ``outputs`` are the values that earlier phases of this run returned.
    ``lost`` are the hosts that failed so far or take no part in this run. ``leaving`` are the hosts that a reset
    removes from the cluster; with ``keep_settings`` it keeps the settings of ``prepare``, with ``purge`` it removes
    packages. With ``deep``, `verify` tests every connection between the nodes. ``retest`` is the id of this run when
    an earlier test of the pod network does not count: something has changed, or the operator asked for the test.
    """

    inventory: Inventory
    facts: Mapping[str, Facts]
    outputs: Outputs = field(default_factory=Outputs)
    lost: frozenset[str] = frozenset()
    leaving: frozenset[str] = frozenset()
    keep_settings: bool = False
    purge: bool = False
    deep: bool = False
    retest: str = ""


Pairs = list[tuple[str, str]]
"""(phase, host) pairs."""


@dataclass(frozen=True)
class Phase:
    """An ordered list of steps per host.

    ``hosts`` returns the hosts it runs on; ``steps`` is pure: facts and inventory in, steps out. A phase always follows
    the previous phase of its own host; ``requires`` adds (phase, host) pairs on other hosts that must have succeeded,
    ``after`` adds pairs that must only have ended. A phase that is ``cluster_scoped`` runs on the one control plane
    host that acts for the cluster, so ``--limit`` never leaves it out. ``part_of`` names the phase that this phase
    belongs to: both are selected together.
    """

    name: str
    title: str
    why: str
    hosts: Callable[[Inventory], list[Host]]
    steps: Callable[[Context, Host], list[Step]]
    requires: Callable[[Inventory, Host], Pairs] = lambda _inventory, _host: []
    after: Callable[[Inventory, Host], Pairs] = lambda _inventory, _host: []
    cluster_scoped: bool = False
    part_of: str = ""
