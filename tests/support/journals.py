"""Journals: reading their lines, and a run with an event of every kind to write one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbootstrap.errors import Failure
from kbootstrap.events import (
    Connection,
    Event,
    HostSummary,
    HostWaits,
    NetworkTested,
    Notice,
    PathSegment,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepEnded,
    StepOutput,
    StepRunning,
    StepStarted,
)
from kbootstrap.run.journal import Journal

FAILURE = Failure("it failed", "kubeadm join", 1, ("one", "two"), "Look there. [join-failed]")
EVENTS: tuple[Event, ...] = (
    RunStarted(1000.0, "20260101T000000-aaaaaa", "up", "apply", "demo", ("cp1", "w1"), "/x", "a.yaml", ("1", "2"), "K"),
    HostWaits(1000.5, "w1", "join", "cp1", "init"),
    PhaseStarted(1001.0, "cp1", "init", (("init", "Start the control plane"),)),
    StepStarted(1001.0, "cp1", "init", "init", "Start the control plane"),
    StepOutput(1002.0, "cp1", "init", "init", "a line"),
    StepRunning(1002.0, "cp1", "init", "init", 1.0, "a line"),
    StepEnded(1003.0, "cp1", "init", "init", "Start the control plane", "changed", 2.0, ("+ new",)),
    PhaseEnded(1003.0, "cp1", "init", True, 2.0),
    Notice(1003.0, "warning", "the clock is late", "w1"),
    StepEnded(1004.0, "w1", "join", "join", "Join the cluster", "failed", 1.0, (), FAILURE),
    NetworkTested(1004.0, "cp1", (Connection("pod", "cp1", "w1", "ok"),)),
    RunEnded(
        1005.0,
        "failed",
        1,
        5.0,
        {"changed": 1, "failed": 1},
        {"cp1": HostSummary({"changed": 1}), "w1": HostSummary({"failed": 1}, "join", "join", FAILURE)},
        (PathSegment("init", "cp1", 2.0),),
    ),
)


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal, oldest first; a last line that was cut off is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def record(root: Path, run_id: str, events: tuple[Event, ...] = EVENTS) -> Path:
    with Journal(run_id, root) as journal:
        for event in events:
            journal.handle(event)
    return journal.path
