"""A run as spans of time: its steps, its phases, and who waited for whom."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from kbootstrap.errors import Failure
from kbootstrap.events import (
    Event,
    HostSummary,
    HostWaits,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepEnded,
    StepStarted,
)

RUNNING = "running"
"""The state of a step whose end the journal does not have."""


@dataclass(frozen=True)
class Span:
    """A time on one host; ``began`` is in seconds since the run began."""

    host: str
    phase: str
    began: float
    seconds: float

    @property
    def ended(self) -> float:
        return self.began + self.seconds


@dataclass(frozen=True)
class StepSpan(Span):
    step: str
    title: str
    state: str
    diff: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class Wait(Span):
    """The host's ``phase`` waited for ``for_phase`` of ``for_host``."""

    for_host: str
    for_phase: str


@dataclass(frozen=True)
class Timeline:
    """``seconds`` is the whole run, or how far its events go."""

    hosts: tuple[str, ...]
    seconds: float
    steps: tuple[StepSpan, ...]
    phases: tuple[Span, ...]
    waits: tuple[Wait, ...]

    def failures(self) -> dict[str, HostSummary]:
        """The first failure of every host that failed."""
        found: dict[str, HostSummary] = {}
        for step in self.steps:
            if step.failure is not None and step.host not in found:
                found[step.host] = HostSummary({}, step.phase, step.step, step.failure)
        return found


SomeSpan = TypeVar("SomeSpan", bound=Span)


def by_host(spans: Iterable[SomeSpan]) -> dict[str, list[SomeSpan]]:
    """The spans of every host, in their order."""
    found: dict[str, list[SomeSpan]] = {}
    for span in spans:
        found.setdefault(span.host, []).append(span)
    return found


def timeline(events: Sequence[Event]) -> Timeline:
    """The spans of a run, or of as much of it as there is."""
    zero = events[0].time if events else 0.0
    last = max((event.time for event in events), default=0.0)
    started = next((event for event in events if isinstance(event, RunStarted)), None)
    ended = next((event for event in events if isinstance(event, RunEnded)), None)
    steps = tuple(_steps(events, zero, last))
    hosts = dict.fromkeys([*(started.hosts if started else ()), *(step.host for step in steps)])
    seconds = max([ended.seconds if ended else 0.0, last - zero, *(step.ended for step in steps)])
    return Timeline(tuple(hosts), seconds, steps, tuple(_phases(steps)), tuple(_waits(events, zero, last)))


def _steps(events: Iterable[Event], zero: float, last: float) -> Iterator[StepSpan]:
    """The steps in the order of their ends; then those that have none."""
    running: dict[tuple[str, str, str], StepStarted] = {}
    for event in events:
        if isinstance(event, StepStarted):
            running[event.host, event.phase, event.step] = event
        elif isinstance(event, StepEnded):
            begun = running.pop((event.host, event.phase, event.step), None)
            began = begun.time if begun else event.time - event.seconds
            what = (event.step, event.title, event.state, event.diff, event.failure)
            yield StepSpan(event.host, event.phase, max(0.0, began - zero), event.seconds, *what)
    for begun in running.values():
        span = (max(0.0, begun.time - zero), last - begun.time)
        yield StepSpan(begun.host, begun.phase, *span, begun.step, begun.title, RUNNING)


def _phases(steps: Iterable[StepSpan]) -> Iterator[Span]:
    """From the first step of a phase on a host to its last one. Steps that were skipped took no time."""
    spans: dict[tuple[str, str], list[StepSpan]] = {}
    for step in steps:
        if step.state != "skipped":
            spans.setdefault((step.host, step.phase), []).append(step)
    for (host, phase), parts in spans.items():
        began = min(part.began for part in parts)
        yield Span(host, phase, began, max(part.ended for part in parts) - began)


def _waits(events: Iterable[Event], zero: float, last: float) -> Iterator[Wait]:
    """A wait ends when its phase begins, when the host waits for something else, or with the run."""
    open_waits: dict[str, HostWaits] = {}

    def closed(host: str, end: float) -> Iterator[Wait]:
        wait = open_waits.pop(host, None)
        if wait is not None and end > wait.time:
            for_whom = (wait.for_host, wait.for_phase)
            yield Wait(host, wait.phase, max(0.0, wait.time - zero), end - wait.time, *for_whom)

    for event in events:
        if isinstance(event, HostWaits):
            known = open_waits.get(event.host)
            if known is not None and replace(known, time=event.time) == event:
                continue
            yield from closed(event.host, event.time)
            open_waits[event.host] = event
        elif isinstance(event, (PhaseStarted, StepStarted, StepEnded, PhaseEnded)):
            waits = open_waits.get(event.host)
            if waits is not None and waits.phase == event.phase:
                yield from closed(event.host, event.time)
    for host in list(open_waits):
        yield from closed(host, last)
