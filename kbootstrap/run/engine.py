"""Turns phases into tasks over open sessions."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, StepEnded
from kbootstrap.inventory.proxy import environment
from kbootstrap.phases import outputs
from kbootstrap.phases.outputs import PhaseOutput
from kbootstrap.phases.phase import Phase
from kbootstrap.redact import Redactor
from kbootstrap.remote import script
from kbootstrap.remote.session import Session
from kbootstrap.run.phase_run import PhaseRun
from kbootstrap.run.scheduler import Key, Post, Scheduler, Task
from kbootstrap.run.state import RunState
from kbootstrap.steps import Mode, Step


@dataclass
class Engine:
    """Runs phases on hosts. Every secret that is created during the run is added to ``redactor``."""

    state: RunState
    sessions: Mapping[str, Session]
    mode: Mode
    emit: Callable[[Event], None]
    redactor: Redactor
    scheduler: Scheduler

    def run(self, phases: Iterable[Phase], only: Callable[[Phase, str], bool]) -> dict[Key, bool]:
        """Run the phases on the hosts for which ``only`` is true. Hosts without a session are skipped."""
        tasks: list[Task] = []
        previous: dict[str, Key] = {}
        for phase in phases:
            for host in phase.hosts(self.state.given.inventory):
                if only(phase, host.name):
                    tasks.append(self._task(phase, host.name, previous))
        self.scheduler.on_stop = self._stop
        return self.scheduler.run(tasks)

    def _task(self, phase: Phase, name: str, previous: dict[str, Key]) -> Task:
        inventory = self.state.given.inventory
        host = inventory.host(name)
        key = (phase.name, name)
        requires = phase.requires(inventory, host)
        if name in previous:
            requires = [*requires, previous[name]]
        previous[name] = key
        return Task(
            key,
            start=lambda: self._start(phase, name),
            skip=lambda: self._skip(phase, name),
            failed=lambda: self.state.lost.add(name),
            requires=tuple(requires),
            after=tuple(phase.after(inventory, host)),
        )

    def _start(self, phase: Phase, name: str) -> Callable[[Post], bool]:
        session = self.sessions.get(name)
        facts = self.state.facts.get(name)
        if session is None or facts is None:
            self._skip(phase, name)
            return lambda _post: False
        inventory = self.state.given.inventory
        host = inventory.host(name)
        try:
            steps = phase.steps(self.state.context(), host)
        except KbootstrapError as error:
            return functools.partial(_raise, error)
        steps = self._without_lost(phase, name, steps)
        if not steps:
            return lambda _post: True
        if host.ssh.command_timeout is not None:
            steps = [replace(step, timeout=host.ssh.command_timeout) for step in steps]
        accept = functools.partial(outputs.accept, inventory=inventory)
        build = functools.partial(script.build, family=facts.family, environment=environment(inventory))
        run = PhaseRun(phase.name, name, steps, build, accept, self._keep)
        return lambda post: run.work(session, self.mode, post)

    def _keep(self, output: PhaseOutput) -> None:
        for secret in output.secrets:
            self.redactor.add(secret)
        self.state.outputs = output.added_to(self.state.outputs)

    def _skip(self, phase: Phase, name: str) -> None:
        if name not in self.state.facts:
            return
        # Without the outputs of a failed phase the steps may be unknown. The failed phase is already reported.
        with contextlib.suppress(KbootstrapError):
            host = self.state.given.inventory.host(name)
            self._skipped(phase, name, phase.steps(self.state.context(), host))

    def _skipped(self, phase: Phase, name: str, steps: Iterable[Step]) -> None:
        for step in steps:
            self.emit(StepEnded(time.time(), name, phase.name, step.id, step.title, "skipped", 0.0))

    def _without_lost(self, phase: Phase, name: str, steps: list[Step]) -> list[Step]:
        """Steps about a host that failed in this run are skipped; steps about one that takes no part are left out."""
        lost, answered = self.state.lost, self.state.facts
        self._skipped(phase, name, (step for step in steps if step.subject in lost and step.subject in answered))
        return [step for step in steps if step.subject not in lost]

    def _stop(self) -> None:
        if self.mode == "apply":
            for session in self.sessions.values():
                session.stop()


def _raise(error: KbootstrapError, _post: Post) -> bool:
    raise error
