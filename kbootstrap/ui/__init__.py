"""Views over the stream of events: context managers with ``handle(event)``. Nothing else knows about screens."""

from __future__ import annotations

import os
import sys
from typing import Protocol, TextIO

from kbootstrap.model import Event


class View(Protocol):
    def __enter__(self) -> View: ...

    def __exit__(self, *details: object) -> None: ...

    def handle(self, event: Event) -> None: ...


class Paint:
    """Colours for a stream: none when it is no terminal or NO_COLOR is set (https://no-color.org)."""

    def __init__(self, stream: TextIO) -> None:
        self._on = stream.isatty() and not os.environ.get("NO_COLOR")

    def _wrap(self, code: str, text: str) -> str:
        return f"\033[{code}m{text}\033[0m" if self._on else text

    def bold(self, text: str) -> str:
        return self._wrap("1", text)

    def dim(self, text: str) -> str:
        return self._wrap("2", text)

    def red(self, text: str) -> str:
        return self._wrap("31", text)

    def green(self, text: str) -> str:
        return self._wrap("32", text)

    def yellow(self, text: str) -> str:
        return self._wrap("33", text)

    def cyan(self, text: str) -> str:
        return self._wrap("36", text)


def choose_view(output: str, *, verbose: bool = False, stream: TextIO | None = None) -> View:
    """The view for ``--output``: json, lines, live, or auto (live on a terminal, lines elsewhere)."""
    stream = stream or sys.stdout
    if output == "json":
        from kbootstrap.ui.jsonlines import JsonView

        return JsonView(stream)
    if output == "live" or (output == "auto" and stream.isatty() and os.environ.get("TERM") != "dumb"):
        from kbootstrap.ui.live import LiveView

        return LiveView(stream, verbose=verbose)
    from kbootstrap.ui.lines import LinesView

    return LinesView(stream, verbose=verbose)
