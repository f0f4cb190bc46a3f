"""What a support bundle has of the hosts: facts, versions, services, logs and pods. Changes nothing on any host.

It takes no lock, so it works beside a run. A host that does not answer, or not to the end, is named with the reason.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, StepEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases.phase import Context
from kbootstrap.remote import script
from kbootstrap.remote.facts import Facts
from kbootstrap.remote.protocol import Status
from kbootstrap.remote.session import Item, Session
from kbootstrap.run.hosts import Hosts
from kbootstrap.run.options import Control, Options
from kbootstrap.run.scheduler import Post, Scheduler, Task
from kbootstrap.run.state import RunState

PARTS = frozenset("system versions services kubelet runtime containers kubeadm nodes pods events".split())
"""The parts that shell/support.sh prints."""
HOST_S = 240
"""Time limit for one host, in seconds."""
MAX_TEXT = 16 * 1024 * 1024
"""Most that is kept of one host, in characters: hosts are not trusted."""
_END = "=== end"


@dataclass
class HostReport:
    """The parts of one host by name, and its facts. ``problem`` is why something is missing; empty when nothing is."""

    facts: Facts | None = None
    parts: dict[str, str] = field(default_factory=dict)
    problem: str = ""


def collect(inventory: Inventory, options: Options, control: Control) -> dict[str, HostReport]:
    """Ask every host of the inventory. Raises InventoryError for a private key that is no use."""
    for secret in (*inventory.secrets(), options.ssh_password, options.sudo_password):
        if secret is not None:
            control.redactor.add(secret)
    reports = {host.name: HostReport() for host in inventory.hosts}

    def note(event: Event) -> None:
        if isinstance(event, StepEnded) and event.failure is not None:
            reports[event.host].problem = event.failure.message

    state = RunState(Context(inventory, {}))
    hosts = Hosts("support-bundle", "plan", options, control, state)
    hosts.check_keys(inventory.hosts)
    scheduler = Scheduler(note, options.parallelism or inventory.parallelism, control.stop)
    try:
        scheduler.run([hosts.open_task(host, scheduler.post) for host in inventory.hosts])
        scheduler.run([_task(name, session, reports[name]) for name, session in hosts.sessions.items()])
    finally:
        hosts.close()
    for name, facts in state.facts.items():
        reports[name].facts = facts
    return reports


def _task(name: str, session: Session, report: HostReport) -> Task:
    work = functools.partial(_ask, session, report)
    return Task(("support", name), start=lambda: work)


def _ask(session: Session, report: HostReport, _post: Post) -> bool:
    lines = _Lines()
    deadline = time.monotonic() + HOST_S
    try:
        status = session.run_inline("support", script.support_script(), lines.keep, _past(deadline))
        if status == Status.TIMED_OUT:
            report.problem = f"the host did not end within {HOST_S} s"
        elif not lines.whole:
            report.problem = "the output of the host ends too early"
    except KbootstrapError as error:
        report.problem = error.message
    report.parts = lines.parts()
    return not report.problem


def _past(deadline: float) -> Callable[[], bool]:
    return lambda: time.monotonic() > deadline


class _Lines:
    """The lines of a host, by part. Lines that belong to no part that is known are dropped."""

    def __init__(self) -> None:
        self._parts: dict[str, list[str]] = {}
        self._now: list[str] | None = None
        self._room = MAX_TEXT
        self.whole = False

    def keep(self, item: Item) -> None:
        if not isinstance(item, script.Output):
            return
        self.whole = item.line == _END
        name = item.line.removeprefix("=== ")
        if name != item.line and name in PARTS:
            self._now = self._parts.setdefault(name, [])
        elif self._now is not None and self._room > 0:
            self._room -= len(item.line) + 1
            self._now.append(item.line)

    def parts(self) -> dict[str, str]:
        return {name: "\n".join(lines) + "\n" for name, lines in self._parts.items()}
