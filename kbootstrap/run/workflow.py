"""The verbs as data: the phases of each, its requirements, and the hosts it needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from kbootstrap import phases
from kbootstrap.errors import InventoryError
from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.phases import join
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.phases.preflight.finding import Finding
from kbootstrap.phases.preflight.requirements import findings
from kbootstrap.phases.reset import staying_control_plane
from kbootstrap.phases.reset.requirements import reset_findings, staying_findings
from kbootstrap.run.options import Options
from kbootstrap.steps import Mode

Requirements = Callable[[Context, "Sequence[Phase]", Options], list[Finding]]
"""Returns the problems that the facts show, for the selected phases and the operator's options."""


@dataclass(frozen=True)
class Workflow:
    """One verb. Its plan, which changes nothing, is called ``plan_name`` where it has a name of its own.

    ``before`` are phases that change nothing and must end on every host before ``phases`` start. ``requirements`` are
    checked before both; None checks nothing. With ``needs_first_control_plane`` the workflow changes no host when that
    host failed. With ``removes_hosts`` it removes the hosts of the run from the cluster, so another control plane host
    acts for the cluster. With ``hands_out_kubeconfig`` it saves a copy of the kubeconfig for the operator. With
    ``tests_again`` an earlier test of the pod network does not count.
    """

    name: str
    phases: tuple[Phase, ...]
    before: tuple[Phase, ...] = ()
    requirements: Requirements | None = None
    needs_first_control_plane: bool = False
    removes_hosts: bool = False
    hands_out_kubeconfig: bool = False
    tests_again: bool = False
    plan_name: str = ""

    def command(self, mode: Mode) -> str:
        """What the command line calls a run in this mode."""
        return (mode == "plan" and self.plan_name) or self.name

    def leaving(self, inventory: Inventory, options: Options) -> frozenset[str]:
        """The hosts that this run removes from the cluster."""
        if not self.removes_hosts:
            return frozenset()
        return frozenset(host.name for host in inventory.hosts if options.limit is None or host.name in options.limit)

    def observed(self, inventory: Inventory, leaving: frozenset[str]) -> frozenset[str]:
        """The hosts that only show their facts: those that control plane hosts leave behind."""
        if not any(host.name in leaving for host in inventory.control_planes):
            return frozenset()
        alone = self.acting(inventory, leaving) is None
        staying = inventory.hosts if alone else inventory.control_planes
        return frozenset(host.name for host in staying if host.name not in leaving)

    def acting(self, inventory: Inventory, leaving: frozenset[str]) -> Host | None:
        """The control plane host that acts for the cluster; None when the whole cluster is removed."""
        return staying_control_plane(inventory, leaving) if self.removes_hosts else inventory.first_control_plane

    def selected(self, options: Options) -> Workflow:
        """The same workflow with only the phases of ``--from`` and ``--only``. Raises InventoryError."""
        names = _selected_names((*self.before, *self.phases), options)
        return replace(
            self,
            before=tuple(phase for phase in self.before if phase.name in names),
            phases=tuple(phase for phase in self.phases if phase.name in names),
        )


def _selected_names(offered: tuple[Phase, ...], options: Options) -> set[str]:
    by_name = {phase.name: phase for phase in offered}
    names = list(by_name)
    for name in (options.start, options.only):
        if name is not None and name not in by_name:
            raise InventoryError(f"there is no phase {name!r}", f"The phases are: {', '.join(names)} [phase-choice]")
    if options.start is not None and options.only is not None:
        raise InventoryError("--from and --only cannot be used together", "Use one of them. [phase-choice]")
    whole = by_name[options.only].part_of if options.only is not None else ""
    if whole:
        raise InventoryError(
            f"the phase {options.only} runs only together with {whole}", f"Use --only {whole}. [phase-choice]"
        )
    if options.only is not None:
        chosen = {options.only}
    elif options.start is not None:
        chosen = set(names[names.index(options.start) :])
    else:
        chosen = set(names)
    return chosen | {phase.name for phase in offered if phase.part_of in chosen}


def _requirements_to_join(context: Context, selected: Sequence[Phase], options: Options) -> list[Finding]:
    found = findings(context.inventory, context.facts)
    return found + (_cluster_to_join(context, options) if join.PHASE in selected else [])


def _cluster_to_join(context: Context, options: Options) -> list[Finding]:
    """If --limit has only joining hosts, the cluster must already exist."""
    first = context.inventory.first_control_plane.name
    if options.limit is None or first in options.limit:
        return []
    facts = context.facts.get(first)
    if facts is None or facts.cluster_state == "member":
        return []
    text = f"there is no cluster to join: {first} is not initialised"
    return [
        Finding(host, "error", text, f"Add {first} to --limit, or run without it. [host-selection]")
        for host in options.limit
    ]


def _requirements_to_leave(context: Context, _selected: Sequence[Phase], options: Options) -> list[Finding]:
    return [
        *reset_findings(context.inventory, context.facts, context.leaving - set(options.force_hosts)),
        *staying_findings(context.inventory, context.facts, context.leaving),
    ]


UP = Workflow(
    "up",
    phases=phases.UP,
    before=phases.PREFLIGHT,
    requirements=_requirements_to_join,
    needs_first_control_plane=True,
    hands_out_kubeconfig=True,
    plan_name="plan",
)
CHECK = Workflow("check", phases=(), before=phases.PREFLIGHT, requirements=_requirements_to_join)
RESET = Workflow("reset", phases=phases.RESET, requirements=_requirements_to_leave, removes_hosts=True)
VERIFY = Workflow("verify", phases=phases.VERIFY, tests_again=True)
STATUS = Workflow("status", phases=phases.STATUS)
