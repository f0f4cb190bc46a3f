"""The state of a run. It changes during the run, only in the scheduler's thread."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from kbootstrap.events import Event, HostSummary, StepEnded, StepOutput, StepRunning, StepStarted
from kbootstrap.phases.outputs import Outputs
from kbootstrap.phases.phase import Context
from kbootstrap.remote.facts import Facts
from kbootstrap.steps import State


@dataclass
class RunState:
    """Facts, outputs and lost hosts of a run. ``given`` is the context with the inventory and the options."""

    given: Context
    facts: dict[str, Facts] = field(default_factory=dict)
    outputs: Outputs = field(default_factory=Outputs)
    lost: set[str] = field(default_factory=set)

    def context(self) -> Context:
        """A snapshot for the phases. The facts are complete before the first phase, so they are not copied."""
        return replace(self.given, facts=self.facts, outputs=self.outputs, lost=frozenset(self.lost))

    def test_again(self, run_id: str) -> None:
        """An earlier test of the pod network does not count any more: this run has changed a host."""
        if not self.given.retest:
            self.given = replace(self.given, retest=run_id)

    def know_version(self, version: str) -> None:
        """Set the exact Kubernetes version before any phase has found it."""
        self.outputs = replace(self.outputs, kubernetes_version=version)


SIGN_OF_LIFE_S = 10.0
"""Seconds between two signs of life of a step."""


@dataclass
class RunningStep:
    """The current step of a host, the last line that it printed, and the time of its last sign of life."""

    started: StepStarted
    signed: float
    line: str = ""

    @property
    def name(self) -> str:
        return f"{self.started.phase}.{self.started.step}"


class StepCounts:
    """Counts step states per host from the events; ``running`` has the current step of each host."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = {host: HostSummary(counts={}) for host in hosts}
        self.running: dict[str, RunningStep] = {}

    def signs_of_life(self, now: float) -> list[StepRunning]:
        """Of every step that has run for a while; ``now`` is in seconds since the epoch."""
        signs = []
        for host, step in self.running.items():
            if now - step.signed >= SIGN_OF_LIFE_S:
                step.signed = now
                begun = step.started
                signs.append(StepRunning(now, host, begun.phase, begun.step, now - begun.time, step.line))
        return signs

    def handle(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self.running[event.host] = RunningStep(event, event.time)
        elif isinstance(event, StepOutput) and event.host in self.running and event.line.strip():
            self.running[event.host].line = event.line
        if not isinstance(event, StepEnded):
            return
        self.running.pop(event.host, None)
        old = self.hosts[event.host]
        counts = {**old.counts, event.state: old.counts.get(event.state, 0) + 1}
        new = replace(old, counts=counts)
        if event.failure is not None and old.failure is None:
            new = replace(new, failed_phase=event.phase, failed_step=event.step, failure=event.failure)
        self.hosts[event.host] = new

    @property
    def total(self) -> dict[State, int]:
        total: dict[State, int] = {}
        for summary in self.hosts.values():
            for state, number in summary.counts.items():
                total[state] = total.get(state, 0) + number
        return total
