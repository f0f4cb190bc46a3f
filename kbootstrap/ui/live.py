"""The live view: one row per host at work, redrawn in place; warnings and failures stay above."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kbootstrap.model import (
    Event,
    Notice,
    PhaseStarted,
    RunEnded,
    RunStarted,
    State,
    StepEnded,
    StepStarted,
)
from kbootstrap.ui import Paint
from kbootstrap.ui.summary import failure_lines, summary_lines

MOST_KEPT_ROWS = 25
"""A table with more hosts than this is wiped when the run is over; the summary says it all."""


@dataclass
class Row:
    """What is shown of one host."""

    phase: str = ""
    doing: str = "waiting"
    since: float = field(default_factory=time.time)
    active: bool = False
    over: bool = False
    counts: dict[State, int] = field(default_factory=dict)

    @property
    def mark(self) -> Text:
        if self.counts.get("failed"):
            return Text("✗", style="red")
        if self.over:
            return Text("✓", style="green")
        return Text("●", style="cyan") if self.active else Text("·", style="dim")


class LiveView:
    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._paint = Paint(stream)
        self._rows: dict[str, Row] = {}
        self._started: RunStarted | None = None
        self._live = Live(
            console=self._console,
            get_renderable=self._table,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> LiveView:
        self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
            self._rows = {host: Row() for host in event.hosts}
        elif isinstance(event, PhaseStarted):
            self._row(event.host, event.phase, "", event.time, active=True)
        elif isinstance(event, StepStarted):
            self._row(event.host, event.phase, event.title, event.time, active=True)
        elif isinstance(event, StepEnded):
            self._step(event)
        elif isinstance(event, Notice):
            style = {"info": "", "warning": "yellow", "error": "red"}[event.level]
            mark = "" if event.level == "info" else "! "
            self._print(Text(f"{mark}{event.host + ': ' if event.host else ''}{event.text}", style=style))
        elif isinstance(event, RunEnded):
            self._end()
            for line in summary_lines(self._paint, self._started, event, verbose=self._verbose):
                print(line, file=self._stream)

    def _end(self) -> None:
        """The last picture stays on the screen, unless it is a long one."""
        for row in self._rows.values():
            row.over, row.active, row.phase = True, False, ""
            row.doing = "failed" if row.counts.get("failed") else "done"
        self._live.transient = len(self._rows) > MOST_KEPT_ROWS
        self._live.stop()

    def _row(self, host: str, phase: str, doing: str, at: float, *, active: bool) -> None:
        row = self._rows[host]
        row.phase, row.doing, row.since, row.active = phase, doing, at, active

    def _step(self, event: StepEnded) -> None:
        row = self._rows[event.host]
        row.counts[event.state] = row.counts.get(event.state, 0) + 1
        row.active = False
        row.doing = "waiting" if not row.counts.get("failed") else "failed"
        if event.failure is not None:
            log = self._started.log if self._started else ""
            lines = failure_lines(self._paint, event.host, event.phase, event.step, event.failure, log)
            self._print(Text.from_ansi("\n".join(lines)))

    def _print(self, text: Text) -> None:
        self._live.console.print(text, soft_wrap=True)

    def _table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, style="dim")
        room = max(3, self._console.size.height - 3)
        shown = sorted(self._rows.items(), key=lambda item: not item[1].active)[:room]
        names = {name for name, _ in shown}
        for name, row in self._rows.items():
            if name in names:
                seconds = f"{time.time() - row.since:.0f} s" if row.active else ""
                table.add_row(row.mark, name, row.phase, row.doing, seconds, _counts(row.counts))
        if len(self._rows) > len(shown):
            table.add_row("", "...", "", f"{len(self._rows) - len(shown)} more hosts", "", "")
        return table


def _counts(counts: dict[State, int]) -> str:
    return " ".join(f"{counts[state]} {state}" for state in ("changed", "ok", "failed") if counts.get(state))
