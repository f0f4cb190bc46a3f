"""Views of the event stream: context managers with ``handle(event)``. No other module writes a run to the screen."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from typing import Protocol, TextIO

from kbootstrap.events import Event
from kbootstrap.text import cells
from kbootstrap.ui.wrap import columns, wrapped


class View(Protocol):
    def __enter__(self) -> View: ...

    def __exit__(self, *details: object) -> None: ...

    def handle(self, event: Event) -> None: ...


class CompositeView:
    """Several views: every event goes to each of them, in order."""

    def __init__(self, *views: View) -> None:
        self._views = views

    def __enter__(self) -> CompositeView:
        for view in self._views:
            view.__enter__()
        return self

    def __exit__(self, *details: object) -> None:
        for view in reversed(self._views):
            view.__exit__(*details)

    def handle(self, event: Event) -> None:
        for view in self._views:
            view.handle(event)


class Style:
    """Colours and width of a stream.

    There are colours on a terminal that knows them, unless NO_COLOR is set (https://no-color.org), and wherever
    FORCE_COLOR is set. ``columns`` is the width that text has to fit; None: it is no terminal.
    """

    def __init__(self, stream: TextIO) -> None:
        wanted = can_redraw(stream) or os.environ.get("FORCE_COLOR", "") not in ("", "0")
        self._on = wanted and not os.environ.get("NO_COLOR")
        self.columns = columns(stream)

    def hanging(
        self, prefix: str, text: str, paint: Callable[[str], str] = str, indent: int | None = None
    ) -> Iterator[str]:
        """The prefix and the text, wrapped at words; further lines are indented by ``indent`` (default: the prefix)."""
        indent = cells(prefix) if indent is None else indent
        room = None if self.columns is None else self.columns - indent
        first, *more = wrapped(text, room)
        yield prefix + paint(first)
        for line in more:
            yield " " * indent + paint(line)

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


def can_redraw(stream: TextIO) -> bool:
    """Whether the stream is a terminal that can redraw lines in place."""
    return stream.isatty() and os.environ.get("TERM") != "dumb"


def choose_view(output: str, *, verbose: bool = False, stream: TextIO | None = None) -> View:
    """The view for ``--output``: json, lines, live, or auto (live on a terminal, lines elsewhere)."""
    stream = stream or sys.stdout
    if output == "json":
        from kbootstrap.ui.jsonlines import JsonView

        return JsonView(stream)
    if output == "live" or (output == "auto" and can_redraw(stream)):
        from kbootstrap.ui.live import LiveView

        return LiveView(stream, verbose=verbose)
    from kbootstrap.ui.lines import LinesView

    return LinesView(stream, verbose=verbose)
