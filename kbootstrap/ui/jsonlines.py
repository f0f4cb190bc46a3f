"""``--output json``: one object per line. The format is a public interface; ``version`` counts breaking changes.

Only the run, its steps and its result go to standard output. Warnings go to standard error.
"""

from __future__ import annotations

import json
import sys
from typing import Any, TextIO

from kbootstrap.errors import Failure
from kbootstrap.events import Event, HostSummary, NetworkTested, Notice, RunEnded, RunStarted, StepEnded, StepStarted
from kbootstrap.steps import State
from kbootstrap.topics import topic_of

VERSION = 1
STATES: tuple[State, ...] = ("changed", "ok", "failed", "skipped", "unknown", "change")


class JsonView:
    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __enter__(self) -> JsonView:
        return self

    def __exit__(self, *details: object) -> None:
        self._stream.flush()

    def handle(self, event: Event) -> None:
        if isinstance(event, Notice):
            print(f"{event.level}: {event.host + ': ' if event.host else ''}{event.text}", file=sys.stderr)
        line = as_object(event)
        if line is not None:
            print(json.dumps(line, ensure_ascii=False), file=self._stream, flush=True)


def as_object(event: Event) -> dict[str, Any] | None:
    """The event as a JSON object, or None for events that are not part of the interface."""
    if isinstance(event, RunStarted):
        return {
            "type": "run",
            "version": VERSION,
            "run": event.run_id,
            "command": event.command,
            "mode": event.mode,
            "cluster": event.cluster,
            "hosts": list(event.hosts),
            "log": event.log,
            "time": event.time,
        }
    if isinstance(event, StepStarted):
        where = {"host": event.host, "phase": event.phase, "step": event.step}
        return {"type": "step-started", **where, "title": event.title, "time": event.time}
    if isinstance(event, StepEnded):
        step: dict[str, Any] = {
            "type": "step",
            "host": event.host,
            "phase": event.phase,
            "step": event.step,
            "state": event.state,
            "title": event.title,
            "seconds": round(event.seconds, 3),
            "diff": list(event.diff),
        }
        return step | ({"failure": _failure(event.failure)} if event.failure else {})
    if isinstance(event, NetworkTested):
        return {
            "type": "network",
            "host": event.host,
            "ok": all(each.state == "ok" for each in event.connections),
            "connections": [
                {
                    "kind": each.kind,
                    "from": each.source,
                    "to": each.target,
                    "state": each.state,
                    "detail": each.detail,
                    "cause": each.cause,
                }
                for each in event.connections
            ],
        }
    if isinstance(event, RunEnded):
        counts: dict[str, Any] = {state: event.counts.get(state, 0) for state in STATES}
        hosts = {name: _host(summary) for name, summary in event.hosts.items()}
        status = "ok" if event.status == "ok" else "failed"
        exits = {"exit_code": event.exit_code, "interrupted": event.status == "interrupted"}
        return {
            "type": "result",
            "status": status,
            **counts,
            "seconds": round(event.seconds, 3),
            **exits,
            "hosts": hosts,
            "critical_path": [
                {"phase": part.phase, "host": part.host, "seconds": round(part.seconds, 3)}
                for part in event.critical_path
            ],
        }
    return None


def _failure(failure: Failure) -> dict[str, Any]:
    return {
        "message": failure.message,
        "command": failure.command,
        "exit_status": failure.exit_status,
        "output": list(failure.output),
        "hint": failure.hint,
        "topic": topic_of(failure.hint),
    }


def _host(summary: HostSummary) -> dict[str, Any]:
    counts: dict[str, Any] = {state: summary.counts.get(state, 0) for state in STATES}
    if summary.failure is not None:
        where = {"phase": summary.failed_phase, "step": summary.failed_step}
        counts["failure"] = {**where, **_failure(summary.failure)}
    return counts
