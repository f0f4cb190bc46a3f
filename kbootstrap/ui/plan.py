"""The plan as text: per host and phase, what changes, what is already right, and what is not known yet.

`check` uses the same view; its steps are the ones that run before a plan. Hosts with the same steps in the same
states are shown once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, TextIO

from kbootstrap.events import Event, Notice, RunEnded, RunStarted, StepEnded
from kbootstrap.text import counted
from kbootstrap.ui import Style
from kbootstrap.ui.summary import detail_lines, what_of, without_name

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory

SHOWN_DIFF = 6
"""Lines shown of a difference; ``-v`` shows all."""
NAMED_HOSTS = 6
"""Of a larger group without a failure, the first two and the last host are named."""
LABEL_WIDTH = 22
"""Columns before the steps of a phase; the longest name of a phase fits in."""
_QUIET_PHASES = {
    "plan": ("connect", "facts", "preflight"),
    "check": ("connect", "facts"),
    "reset": ("connect", "facts", "preflight"),
}
"""Phases of a command that are shown only when they have problems."""
_SIGNS = {
    "+": "new",
    "~": "changes",
    "-": "goes",
    "!": "is destroyed",
    "?": "known later",
    "=": "is right",
}
"""What the signs in a plan mean; those that occur are explained below it."""
_TITLES = {"plan": "Plan for", "check": "Check of", "reset": "Plan for the reset of"}


class PlanView:
    """Shows a plan when it is complete; ``short`` shows only its title and its totals."""

    def __init__(self, stream: TextIO, inventory: Inventory, *, verbose: bool = False, short: bool = False) -> None:
        self._stream = stream
        self._inventory = inventory
        self._verbose = verbose
        self._short = short
        self._style = Style(stream)
        self._steps: dict[str, list[StepEnded]] = {}
        self._notices: list[Notice] = []
        self._command = "plan"
        self._signs: set[str] = set()
        self._what = ""

    def __enter__(self) -> PlanView:
        return self

    def __exit__(self, *details: object) -> None:
        self._stream.flush()

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._steps = {host: [] for host in event.hosts}
            self._command = event.command if event.command in _TITLES else "plan"
            self._what = what_of(event)
        elif isinstance(event, StepEnded):
            self._steps[event.host].append(event)
        elif isinstance(event, Notice):
            self._notices.append(event)
        elif isinstance(event, RunEnded):
            for line in self._render(event):
                print(line, file=self._stream)

    def _render(self, ended: RunEnded) -> Iterator[str]:
        title = f"{_TITLES[self._command]} {self._inventory.cluster.name}: {self._what}"
        yield from self._style.hanging("", title, self._style.bold, indent=2)
        if not self._short:
            yield from self._details()
        label, text = self._closing(ended)
        first, *more = self._style.hanging("", f"{label} {text}", indent=6)
        yield first.replace(label, self._style.bold(label), 1)
        yield from more

    def _details(self) -> Iterator[str]:
        for group in self._groups():
            yield ""
            yield from self._group(group)
        if self._notices:
            yield ""
        for notice in self._notices:
            text = f"! {notice.host + ': ' if notice.host else ''}{notice.text}"
            yield from self._style.hanging("", text, self._style.yellow, indent=2)
        yield ""
        meanings = (f"{sign} {meaning}" for sign, meaning in _SIGNS.items() if sign in self._signs)
        # With spaces that do not break, a sign stays with its meaning.
        legend = "   ".join(meaning.replace(" ", "\N{NO-BREAK SPACE}") for meaning in meanings)
        if legend:
            yield from self._style.hanging("", legend, self._style.dim)

    def _groups(self) -> list[list[str]]:
        groups: dict[tuple[object, ...], list[str]] = {}
        for name, steps in self._steps.items():
            host = self._inventory.host(name)
            failures = (step.failure and without_name(step.failure, name, host.address) for step in steps)
            like = tuple((step.phase, step.step, step.state) for step in steps)
            groups.setdefault((host.role, like, tuple(failures)), []).append(name)
        return list(groups.values())

    def _group(self, hosts: list[str]) -> Iterator[str]:
        steps = self._steps[hosts[0]]
        if len(hosts) > 1:
            steps = [self._of_anyone(step) for step in steps]
        yield from self._heading(hosts, steps)
        phases: dict[str, list[StepEnded]] = {}
        for step in steps:
            if step.phase not in _QUIET_PHASES[self._command] or step.state not in ("ok", "skipped"):
                phases.setdefault(step.phase, []).append(step)
        skipped = [phase for phase, members in phases.items() if all(step.state == "skipped" for step in members)]
        for phase, members in phases.items():
            if phase not in skipped:
                yield from self._phase(phase, members, single=len(hosts) == 1)
        if skipped:
            yield from self._style.hanging("    not checked: ", ", ".join(skipped), self._style.dim)

    def _of_anyone(self, step: StepEnded) -> StepEnded:
        """The step of one of several hosts, without its name."""
        host = self._inventory.host(step.host)
        return replace(step, failure=step.failure and without_name(step.failure, host.name, host.address))

    def _heading(self, hosts: list[str], steps: list[StepEnded]) -> Iterator[str]:
        host = self._inventory.host(hosts[0])
        role = "control plane" if host.is_control_plane else "worker"
        facts = self._facts(hosts)
        if len(hosts) == 1:
            text = "  ".join(filter(None, (host.node_ip, role, facts)))
            return self._named(hosts[0], text)
        failed = any(step.failure for step in steps)
        named = hosts if failed or len(hosts) <= NAMED_HOSTS else [*hosts[:2], "...", hosts[-1]]
        changes = sum(step.state == "change" for step in steps)
        same = f"same {counted(changes, 'change')}" if changes else "nothing to change"
        if any(step.state == "skipped" for step in steps):
            same = "not fully checked"
        elif failed:
            same = "the same problem"
        elif self._command == "check":
            same = "no problems"
        return self._named(" ".join(named), f"{len(hosts)} {role}s, {same}  {facts}".rstrip())

    def _named(self, who: str, text: str) -> Iterator[str]:
        first, *more = self._style.hanging("", f"  {who}  {text}", indent=6)
        yield first.replace(f"  {who}", f"  {self._style.bold(who)}", 1)
        yield from more

    def _facts(self, hosts: list[str]) -> str:
        """The system and the size that these hosts have. Of hosts that differ, only how many kinds there are."""
        found = {step.diff[0] for name in hosts for step in self._steps[name] if step.phase == "facts" and step.diff}
        return found.pop() if len(found) == 1 else f"{len(found)} kinds of hosts" if found else ""

    def _phase(self, phase: str, steps: list[StepEnded], *, single: bool) -> Iterator[str]:
        label = f"    {phase}".ljust(LABEL_WIDTH)
        for step in steps:
            if step.state in ("ok", "skipped"):
                continue
            yield from self._step(label, step)
            label = " " * LABEL_WIDTH
            if step.failure is not None:
                yield from detail_lines(self._style, step.failure, margin=" " * LABEL_WIDTH)
            elif single or self._verbose:
                yield from self._diff(step)
        right = [step.step for step in steps if step.state == "ok"]
        if right:
            yield from self._signed(label, "=", ", ".join(right), self._style.dim)
            label = " " * LABEL_WIDTH
        skipped = [step.step for step in steps if step.state == "skipped"]
        if skipped:
            yield from self._style.hanging(
                f"{label}  not checked: ", ", ".join(skipped), self._style.dim, LABEL_WIDTH + 4
            )

    def _signed(self, label: str, sign: str, text: str, paint: Callable[[str], str]) -> Iterator[str]:
        self._signs.add(sign)
        return self._style.hanging(label, f"{sign} {text}", paint, LABEL_WIDTH + 2)

    def _step(self, label: str, step: StepEnded) -> Iterator[str]:
        if step.state == "failed":
            text = f"{step.title}: {step.failure.message if step.failure else ''}"
            return self._signed(label, "✗", text, self._style.red)
        if step.state == "unknown":
            return self._signed(label, "?", step.title, self._style.cyan)
        signs = {line[:1] for line in step.diff}
        if "!" in signs:
            return self._signed(label, "!", step.title, self._style.red)
        if step.diff and all(line.startswith("- ") for line in step.diff):
            return self._signed(label, "-", step.title, self._style.red)
        if signs == {"+"}:
            return self._signed(label, "+", step.title, self._style.green)
        return self._signed(label, "~", step.title, self._style.yellow)

    def _diff(self, step: StepEnded) -> Iterator[str]:
        lines = [line for line in step.diff if line.strip()]
        shown = lines if self._verbose else lines[:SHOWN_DIFF]
        margin = " " * (LABEL_WIDTH + 4)
        for line in shown:
            yield from self._style.hanging(margin, line, self._style.dim, LABEL_WIDTH + 6)
        if len(lines) > len(shown):
            more = f"... {len(lines) - len(shown)} more lines (-v shows them)"
            yield from self._style.hanging(margin, more, self._style.dim)

    def _closing(self, ended: RunEnded) -> tuple[str, str]:
        counts = ended.counts
        if self._command == "check":
            failed = counts.get("failed", 0)
            return "Check:", f"{counted(failed, 'problem')}." if failed else "no problems."
        change, unknown = counts.get("change", 0), counts.get("unknown", 0)
        words = [f"{change} to change", f"{counts.get('ok', 0)} already right"]
        if unknown:
            words.append(f"{unknown} unknown until earlier steps run")
        if counts.get("failed"):
            words.append(counted(counts["failed"], "problem"))
        return "Plan:", f"{', '.join(words)}."
