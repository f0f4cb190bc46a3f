"""The output of `kbootstrap runs`: a table of runs, or their data as JSON."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any

from kbootstrap.text import cells, counted
from kbootstrap.ui.summary import duration

if TYPE_CHECKING:
    from kbootstrap.run.history import Recorded

RESULTS = {
    "ok": "done",
    "failed": "failed",
    "interrupted": "stopped",
    "unfinished": "no end",
    "not-begun": "not begun",
}
"""The results of a run, and their words for people."""
_HEADINGS = ("RUN", "BEGAN", "COMMAND", "CLUSTER", "HOSTS", "RESULT", "TIME")
_HOST_CELLS = 24
"""Columns for the names of hosts; more hosts are counted."""


def began_text(seconds: float) -> str:
    """The time in the operator's time zone."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def runs_lines(runs: Iterable[Recorded]) -> Iterator[str]:
    """One line per run; damage of its journal follows in brackets."""
    rows = [(*_HEADINGS, ""), *map(_row, runs)]
    widths = [max(cells(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for *row, remark in rows:
        filled = [cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True)]
        yield "  ".join([*filled, remark]).rstrip()


def _row(run: Recorded) -> tuple[str, ...]:
    started, ended = run.started, run.ended
    result = RESULTS[run.result] + (f" ({ended.exit_code})" if ended and ended.exit_code else "")
    shown = duration(run.seconds) if ended else f">= {duration(run.seconds)}" if run.events else ""
    what = (began_text(started.time), started.command, started.cluster) if started else ("", "", "")
    remark = "; ".join(run.damage)
    hosts = started.hosts if started else ()
    return (run.run_id, *what, _hosts(hosts), result, shown, f"({remark})" if remark else "")


def _hosts(names: tuple[str, ...]) -> str:
    text = " ".join(names)
    return text if cells(text) <= _HOST_CELLS else counted(len(names), "host")


def run_object(run: Recorded) -> dict[str, Any]:
    """The run as an object of ``runs -o json``."""
    started, ended = run.started, run.ended
    return {
        "run": run.run_id,
        "time": started.time if started else None,
        "command": started.command if started else None,
        "mode": started.mode if started else None,
        "cluster": started.cluster if started else None,
        "hosts": list(started.hosts) if started else [],
        "result": run.result,
        "exit_code": ended.exit_code if ended else None,
        "seconds": round(run.seconds, 3),
        "log": str(run.path),
        "problems": list(run.problems),
    }
