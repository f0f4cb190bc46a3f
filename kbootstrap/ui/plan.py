"""The plan as text: per host and phase, what changes, what is already right, and what is not known yet.

`check` uses the same view; its steps are the ones that run before a plan. Hosts with the same steps in the same
states are shown once.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TextIO

from kbootstrap.events import Event, Notice, RunEnded, RunStarted, StepEnded
from kbootstrap.text import counted
from kbootstrap.ui import Style
from kbootstrap.ui.summary import failure_lines

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory

SHOWN_DIFF = 6
"""Lines shown of a difference; ``-v`` shows all."""
LABEL_WIDTH = 22
"""Columns before the steps of a phase; the longest name of a phase fits in."""
_QUIET_PHASES = {
    "plan": ("connect", "facts", "preflight"),
    "check": ("connect", "facts"),
    "reset": ("connect", "facts", "preflight"),
}
"""Phases of a command that are shown only when they have problems."""
_TITLES = {"plan": "Plan for", "check": "Check of", "reset": "Plan for the reset of"}


class PlanView:
    def __init__(self, stream: TextIO, inventory: Inventory, *, verbose: bool = False) -> None:
        self._stream = stream
        self._inventory = inventory
        self._verbose = verbose
        self._style = Style(stream)
        self._steps: dict[str, list[StepEnded]] = {}
        self._notices: list[Notice] = []
        self._command = "plan"

    def __enter__(self) -> PlanView:
        return self

    def __exit__(self, *details: object) -> None:
        self._stream.flush()

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._steps = {host: [] for host in event.hosts}
            self._command = event.command if event.command in _TITLES else "plan"
        elif isinstance(event, StepEnded):
            self._steps[event.host].append(event)
        elif isinstance(event, Notice):
            self._notices.append(event)
        elif isinstance(event, RunEnded):
            for line in self._render(event):
                print(line, file=self._stream)

    def _render(self, ended: RunEnded) -> Iterator[str]:
        cluster = self._inventory.cluster
        software = f"Kubernetes {cluster.kubernetes}, {cluster.runtime.name}, {cluster.network.name.capitalize()}"
        hosts = counted(len(self._steps), "host")
        yield self._style.bold(f"{_TITLES[self._command]} {cluster.name}: {hosts}, {software}")
        for names in self._groups():
            yield ""
            yield from self._group(names)
        if self._notices:
            yield ""
        for notice in self._notices:
            yield self._style.yellow(f"! {notice.host + ': ' if notice.host else ''}{notice.text}")
        yield ""
        yield self._closing(ended)

    def _groups(self) -> list[list[str]]:
        groups: dict[tuple[object, ...], list[str]] = {}
        for name, steps in self._steps.items():
            failed = any(step.state == "failed" for step in steps)
            like = tuple((step.phase, step.step, step.state) for step in steps)
            groups.setdefault((name,) if failed else (self._inventory.host(name).role, like), []).append(name)
        return list(groups.values())

    def _group(self, names: list[str]) -> Iterator[str]:
        steps = self._steps[names[0]]
        yield self._heading(names, steps)
        phases: dict[str, list[StepEnded]] = {}
        for step in steps:
            if step.phase not in _QUIET_PHASES[self._command] or step.state not in ("ok", "skipped"):
                phases.setdefault(step.phase, []).append(step)
        skipped = [phase for phase, members in phases.items() if all(step.state == "skipped" for step in members)]
        for phase, members in phases.items():
            if phase not in skipped:
                yield from self._phase(phase, members, single=len(names) == 1)
        if skipped:
            yield self._style.dim(f"    not checked: {', '.join(skipped)}")

    def _heading(self, names: list[str], steps: list[StepEnded]) -> str:
        host = self._inventory.host(names[0])
        role = "control plane" if host.is_control_plane else "worker"
        facts = self._facts(names)
        if len(names) == 1:
            return "  " + "  ".join(filter(None, (self._style.bold(names[0]), host.node_ip, role, facts)))
        changes = sum(step.state == "change" for step in steps)
        same = f"same {counted(changes, 'change')}" if changes else "nothing to change"
        if any(step.state == "skipped" for step in steps):
            same = "not fully checked"
        elif self._command == "check":
            same = "no problems"
        return f"  {self._style.bold(_names(names))}  {len(names)} {role}s, {same}  {facts}".rstrip()

    def _facts(self, names: list[str]) -> str:
        """The system and the size that these hosts have. Of hosts that differ, only how many kinds there are."""
        found = {step.diff[0] for name in names for step in self._steps[name] if step.phase == "facts" and step.diff}
        return found.pop() if len(found) == 1 else f"{len(found)} kinds of hosts" if found else ""

    def _phase(self, phase: str, steps: list[StepEnded], *, single: bool) -> Iterator[str]:
        label = f"    {phase}".ljust(LABEL_WIDTH)
        for step in steps:
            if step.state in ("ok", "skipped"):
                continue
            yield label + self._line(step)
            label = " " * LABEL_WIDTH
            if step.failure is not None:
                lines = failure_lines(self._style, step.host, step.phase, step.step, step.failure, "")
                yield from (" " * LABEL_WIDTH + line for line in list(lines)[1:])
            elif single or self._verbose:
                yield from self._diff(step)
        right = [step.step for step in steps if step.state == "ok"]
        if right:
            yield label + self._style.dim(f"= {', '.join(right)}")
            label = " " * LABEL_WIDTH
        skipped = [step.step for step in steps if step.state == "skipped"]
        if skipped:
            yield label + self._style.dim(f"  not checked: {', '.join(skipped)}")

    def _line(self, step: StepEnded) -> str:
        if step.state == "failed":
            return self._style.red(f"✗ {step.title}: {step.failure.message if step.failure else ''}")
        if step.state == "unknown":
            return self._style.cyan(f"? {step.title}")
        if any(line.startswith("!") for line in step.diff):
            return self._style.red(f"! {step.title}")
        new = step.diff and all(line.startswith("+") for line in step.diff)
        if step.diff and all(line.startswith("- ") for line in step.diff):
            return self._style.red(f"- {step.title}")
        return self._style.green(f"+ {step.title}") if new else self._style.yellow(f"~ {step.title}")

    def _diff(self, step: StepEnded) -> Iterator[str]:
        lines = [line for line in step.diff if line.strip()]
        shown = lines if self._verbose else lines[:SHOWN_DIFF]
        for line in shown:
            yield self._style.dim(" " * (LABEL_WIDTH + 4) + line)
        if len(lines) > len(shown):
            yield self._style.dim(" " * (LABEL_WIDTH + 4) + f"... {len(lines) - len(shown)} more lines (-v shows them)")

    def _closing(self, ended: RunEnded) -> str:
        counts = ended.counts
        if self._command == "check":
            failed = counts.get("failed", 0)
            return self._style.bold("Check: ") + (f"{counted(failed, 'problem')}." if failed else "no problems.")
        change, unknown = counts.get("change", 0), counts.get("unknown", 0)
        words = [f"{change} to change", f"{counts.get('ok', 0)} already right"]
        if unknown:
            words.append(f"{unknown} unknown until earlier steps run")
        if counts.get("failed"):
            words.append(self._style.red(counted(counts["failed"], "problem")))
        return self._style.bold("Plan: ") + ", ".join(words) + "."


def _names(names: list[str]) -> str:
    return " ".join(names) if len(names) <= 6 else f"{names[0]} {names[1]} ... {names[-1]}"
