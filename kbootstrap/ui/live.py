"""The live view: one row per active host, redrawn in place. Warnings and failures stay above the table."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from kbootstrap.events import Event, NetworkTested, Notice, PhaseStarted, RunEnded, RunStarted, StepEnded, StepStarted
from kbootstrap.steps import State
from kbootstrap.ui import Style
from kbootstrap.ui.connections import connection_lines
from kbootstrap.ui.summary import failure_lines, summary_lines

MOST_KEPT_ROWS = 25
"""A table with more hosts than this is removed at the end of the run; the summary has the results."""


@dataclass
class Row:
    """The row of one host."""

    phase: str = ""
    doing: str = "waiting"
    since: float = field(default_factory=time.time)
    active: bool = False
    over: bool = False
    counts: dict[State, int] = field(default_factory=dict)

    def end(self, *, interrupted: bool) -> None:
        self.over, self.active, self.phase = True, False, ""
        if self.counts.get("failed"):
            self.doing = "failed"
        elif self.counts.get("skipped"):
            self.doing = "stopped" if interrupted else "not finished"
        else:
            self.doing = "done"

    @property
    def mark(self) -> Text:
        if self.counts.get("failed"):
            return Text("✗", style="red")
        if self.over:
            return Text("!", style="yellow") if self.counts.get("skipped") else Text("✓", style="green")
        return Text("●", style="cyan") if self.active else Text("·", style="dim")


class Board:
    """The state of every host, as a table that fits the console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.rows: dict[str, Row] = {}

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.rows = {host: Row() for host in event.hosts}
        elif isinstance(event, PhaseStarted):
            self._at_work(event.host, event.phase, "", event.time)
        elif isinstance(event, StepStarted):
            self._at_work(event.host, event.phase, event.title, event.time)
        elif isinstance(event, StepEnded):
            row = self.rows[event.host]
            row.counts[event.state] = row.counts.get(event.state, 0) + 1
            row.active = False
            row.doing = "waiting" if not row.counts.get("failed") else "failed"
        elif isinstance(event, RunEnded):
            for row in self.rows.values():
                row.end(interrupted=event.status == "interrupted")

    def _at_work(self, host: str, phase: str, doing: str, at: float) -> None:
        row = self.rows[host]
        row.phase, row.doing, row.since, row.active = phase, doing, at, True

    def table(self) -> Table:
        table = Table.grid(padding=(0, 2))
        table.add_column(no_wrap=True)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(no_wrap=True, style="cyan")
        table.add_column(no_wrap=True, ratio=1, overflow="ellipsis")
        table.add_column(no_wrap=True, justify="right")
        table.add_column(no_wrap=True, style="dim")
        room = max(3, self._console.size.height - 3)
        shown = sorted(self.rows.items(), key=lambda item: not item[1].active)[:room]
        names = {name for name, _ in shown}
        for name, row in self.rows.items():
            if name in names:
                seconds = f"{time.time() - row.since:.0f} s" if row.active else ""
                table.add_row(row.mark, name, row.phase, row.doing, seconds, _counts(row.counts))
        if len(self.rows) > len(shown):
            table.add_row("", "...", "", f"{len(self.rows) - len(shown)} more hosts", "", "")
        return table


class Progress:
    """The board during a run. It is removed from the screen at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._board = Board(self._console)
        self._live = Live(
            console=self._console,
            get_renderable=self._board.table,
            refresh_per_second=5,
            transient=True,
            redirect_stdout=False,
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._live.stop()

    def handle(self, event: Event) -> None:
        self._board.handle(event)
        if isinstance(event, RunEnded):
            self._live.stop()


class LiveView(Progress):
    """The board, with failures and warnings above it, and the summary below at the end of the run."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(stream)
        self._stream = stream
        self._verbose = verbose
        self._style = Style(stream)
        self._started: RunStarted | None = None

    def handle(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            # The last table stays on the screen, unless it is long.
            self._live.transient = len(self._board.rows) > MOST_KEPT_ROWS
        super().handle(event)
        if isinstance(event, RunStarted):
            self._started = event
        elif isinstance(event, StepEnded) and event.failure is not None:
            log = self._started.log if self._started else ""
            lines = failure_lines(self._style, event.host, event.phase, event.step, event.failure, log)
            self._print(Text.from_ansi("\n".join(lines)))
        elif isinstance(event, Notice):
            style = {"info": "", "warning": "yellow", "error": "red"}[event.level]
            mark = "" if event.level == "info" else "! "
            self._print(Text(f"{mark}{event.host + ': ' if event.host else ''}{event.text}", style=style))
        elif isinstance(event, NetworkTested):
            self._print(Text.from_ansi("\n".join(connection_lines(self._style, event))))
        elif isinstance(event, RunEnded):
            for line in summary_lines(self._style, self._started, event, verbose=self._verbose):
                print(line, file=self._stream)

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True)


def _counts(counts: dict[State, int]) -> str:
    return " ".join(f"{counts[state]} {state}" for state in ("changed", "ok", "failed") if counts.get(state))
