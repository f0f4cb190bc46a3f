"""Plain timestamped lines, for logs and pipes."""

from __future__ import annotations

import time
from typing import TextIO

from kbootstrap.events import Event, NetworkTested, Notice, RunEnded, RunStarted, StepEnded, StepOutput, StepRunning
from kbootstrap.ui import Style
from kbootstrap.ui.connections import connection_lines
from kbootstrap.ui.summary import summary_lines, what_of


class LinesView:
    """One line per step that changed, failed or was skipped; with ``verbose`` every step and its output."""

    def __init__(self, stream: TextIO, *, verbose: bool = False) -> None:
        self._stream = stream
        self._verbose = verbose
        self._style = Style(stream)
        self._started: RunStarted | None = None

    def __enter__(self) -> LinesView:
        return self

    def __exit__(self, *details: object) -> None:
        self._stream.flush()

    def handle(self, event: Event) -> None:
        if isinstance(event, RunStarted):
            self._started = event
            self._say(event.time, f"{event.command} of {event.cluster}: {what_of(event)}")
        elif isinstance(event, Notice):
            self._say(
                event.time, f"{event.host or '-'} {event.level}: {event.text}" if event.level != "info" else event.text
            )
        elif isinstance(event, StepOutput) and self._verbose:
            self._say(event.time, f"{event.host} {event.phase}.{event.step} | {event.line}")
        elif isinstance(event, StepRunning):
            last = f": {event.line}" if event.line else ""
            self._say(event.time, f"{event.host} {event.phase}.{event.step} has run for {event.seconds:.0f} s{last}")
        elif isinstance(event, StepEnded):
            self._step(event)
        elif isinstance(event, NetworkTested):
            for line in connection_lines(self._style, event):
                print(line, file=self._stream)
        elif isinstance(event, RunEnded):
            for line in summary_lines(self._style, self._started, event, verbose=self._verbose):
                print(line, file=self._stream)

    def _step(self, event: StepEnded) -> None:
        if event.state == "ok" and not self._verbose:
            return
        text = f"{event.host} {event.phase}.{event.step} {event.state} ({event.seconds:.1f} s) {event.title}"
        self._say(event.time, text)
        if self._verbose:
            for line in event.diff:
                self._say(event.time, f"{event.host} {event.phase}.{event.step} {line}")

    def _say(self, at: float, text: str) -> None:
        stamp = time.strftime("%H:%M:%S", time.localtime(at))
        print(f"{stamp} {text}", file=self._stream, flush=True)
