"""The live view: one row per host, redrawn in place. Warnings stay above the rows, failures below them at the end."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Self, TextIO

from rich.console import Console
from rich.live import Live
from rich.text import Text

from kbootstrap.events import (
    Event,
    HostWaits,
    NetworkTested,
    Notice,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepEnded,
    StepOutput,
    StepStarted,
)
from kbootstrap.steps import State
from kbootstrap.ui import Style
from kbootstrap.ui.connections import connection_lines
from kbootstrap.ui.summary import summary_lines, what_of
from kbootstrap.ui.wrap import cut_middle, padded

MOST_KEPT_ROWS = 25
"""With more hosts than this, the rows are removed at the end of the run; the summary has the results."""
PHASE_WIDTH = 21
"""Columns of a phase with the number of its step; the longest is ``delete-join-token 1/1``."""
SECONDS_WIDTH = 6
COUNTS_WIDTH = 24
"""``51 changed 12 ok 1 failed``; only where the terminal has ``WIDE`` columns."""
WIDE = 110
LINE_AFTER_S = 3.0
"""Seconds after which the row of a step shows the last line that it printed."""


@dataclass
class Row:
    """The row of one host. ``waits_for`` are the host and the phase that it waits for."""

    phase: str = ""
    doing: str = "waiting"
    line: str = ""
    since: float = field(default_factory=time.time)
    active: bool = False
    over: bool = False
    steps: int = 0
    number: int = 0
    waits_for: tuple[str, str] | None = None
    counts: dict[State, int] = field(default_factory=dict)

    def end(self, *, interrupted: bool) -> None:
        self.over, self.active, self.phase, self.waits_for = True, False, "", None
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

    @property
    def where(self) -> str:
        """The phase, and which of its steps."""
        return f"{self.phase} {self.number}/{self.steps}" if self.active and self.number else self.phase


class Board:
    """The state of every host, as rows that fit the console."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self.rows: dict[str, Row] = {}

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self.rows = {host: Row() for host in event.hosts}
        elif isinstance(event, HostWaits):
            self.rows[event.host].waits_for = (event.for_host, event.for_phase)
        elif isinstance(event, PhaseStarted):
            row = self.rows[event.host]
            row.steps, row.number = len(event.steps), 0
            self._at_work(event.host, event.phase, "", event.time)
        elif isinstance(event, StepStarted):
            if event.phase != self.rows[event.host].phase:
                self.rows[event.host].steps = self.rows[event.host].number = 0
            elif self.rows[event.host].steps:
                self.rows[event.host].number += 1
            self._at_work(event.host, event.phase, event.title, event.time)
        elif isinstance(event, StepOutput):
            if event.line.strip():
                self.rows[event.host].line = event.line.strip()
        elif isinstance(event, StepEnded):
            row = self.rows[event.host]
            row.counts[event.state] = row.counts.get(event.state, 0) + 1
            row.active = False
            row.doing = f"{event.phase}.{event.step} failed" if event.state == "failed" else row.doing
            if not row.counts.get("failed"):
                row.doing = "waiting"
        elif isinstance(event, RunEnded):
            for row in self.rows.values():
                row.end(interrupted=event.status == "interrupted")

    def _at_work(self, host: str, phase: str, doing: str, at: float) -> None:
        row = self.rows[host]
        row.phase, row.doing, row.since, row.active, row.line, row.waits_for = phase, doing, at, True, "", None

    def text(self) -> Text:
        """The rows. Only the column that says what a host does gives way on a narrow terminal."""
        width, height = self._console.size
        room = max(3, height - 3)
        shown = sorted(self.rows.items(), key=lambda item: not item[1].active)[:room]
        names = {name for name, _ in shown}
        longest = min(max(map(len, self.rows), default=0), max(12, width // 4))
        lines = [self._row(name, row, longest, width) for name, row in self.rows.items() if name in names]
        if len(self.rows) > len(shown):
            lines.append(Text(f"   ... {len(self.rows) - len(shown)} more hosts"))
        return Text("\n", no_wrap=True, overflow="crop").join(lines)

    def _row(self, name: str, row: Row, longest: int, width: int) -> Text:
        counts = f"  {padded(_counts(row.counts), COUNTS_WIDTH)}" if width >= WIDE else ""
        room = max(0, width - 1 - 2 - longest - 2 - PHASE_WIDTH - 2 - 2 - SECONDS_WIDTH - len(counts))
        now = time.time() - row.since
        seconds = f"{now:.0f} s" if row.active else ""
        return Text.assemble(
            row.mark,
            "  ",
            (padded(cut_middle(name, longest), longest), "bold"),
            "  ",
            (padded(row.where, PHASE_WIDTH), "cyan"),
            "  ",
            padded(self._doing(row, now), room),
            f"  {seconds:>{SECONDS_WIDTH}}",
            (counts, "dim"),
        )

    def _doing(self, row: Row, seconds: float) -> str:
        if row.active:
            return f"{row.doing}: {row.line}" if row.line and seconds >= LINE_AFTER_S else row.doing
        if row.waits_for is None or row.counts.get("failed"):
            return row.doing
        host, phase = row.waits_for
        other = self.rows.get(host)
        return f"waits for {host}: {other.phase if other and other.active else phase}"


class Progress:
    """The board during a run. It is removed from the screen at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream, highlight=False, markup=False, emoji=False)
        self._board = Board(self._console)
        self._live = Live(
            console=self._console,
            get_renderable=self._board.text,
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
    """The board, with warnings above it, and failures and the summary below at the end of the run.

    With ``verbose``, every step, its output and its differences are above the board too.
    """

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        super().__init__(stream)
        self._stream = stream
        self._verbose = verbose
        self._style = Style(stream)
        self._started: RunStarted | None = None

    def handle(self, event: Event) -> None:
        if isinstance(event, RunEnded):
            # The last rows stay on the screen, unless there are many.
            self._live.transient = len(self._board.rows) > MOST_KEPT_ROWS
        super().handle(event)
        if isinstance(event, RunStarted):
            self._started = event
            self._say(f"{event.command} of {event.cluster}: {what_of(event)}", self._style.bold)
        elif isinstance(event, StepOutput) and self._verbose:
            self._say(f"{event.host} {event.phase}.{event.step} | {event.line}")
        elif isinstance(event, StepEnded) and self._verbose:
            where = f"{event.host} {event.phase}.{event.step}"
            self._say(f"{where} {event.state} ({event.seconds:.1f} s) {event.title}")
            for line in event.diff:
                self._say(f"{where} {line}")
        elif isinstance(event, Notice):
            paints: dict[str, Callable[[str], str]] = {"warning": self._style.yellow, "error": self._style.red}
            mark = "" if event.level == "info" else "! "
            self._say(f"{mark}{event.host + ': ' if event.host else ''}{event.text}", paints.get(event.level, str))
        elif isinstance(event, NetworkTested):
            self._print(connection_lines(self._style, event))
        elif isinstance(event, RunEnded):
            for line in summary_lines(self._style, self._started, event, verbose=self._verbose):
                print(line, file=self._stream)

    def _say(self, text: str, paint: Callable[[str], str] = str) -> None:
        self._print(self._style.hanging("", text, paint, indent=2))

    def _print(self, lines: Iterable[str]) -> None:
        """Print above the rows."""
        for line in lines:
            self._console.print(Text.from_ansi(line), soft_wrap=True)


def _counts(counts: dict[State, int]) -> str:
    return " ".join(f"{counts[state]} {state}" for state in ("changed", "ok", "failed") if counts.get(state))
