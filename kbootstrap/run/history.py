"""Reads the journals of runs back into events, as far as they go.

A run that was killed leaves a journal without its last line, or with half of it. Another version of kbootstrap may have
written other lines. What cannot be read is left out, and ``Recorded.problems`` says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from kbootstrap.errors import InventoryError
from kbootstrap.events import Event, RunEnded, RunStarted
from kbootstrap.redact import Redactor
from kbootstrap.run.journal import journal_of, runs_folder
from kbootstrap.text import counted

LAST = "last"
"""The name of the newest run."""
MAX_NUMBER = 2**35
"""No time and no count in a journal is as large; NaN is not smaller than it."""
_UNFINISHED = {
    "unfinished": "it has no end: the run was killed, or is still running",
    "not-begun": "it has no event: the run ended before it began",
}
_KINDS = {kind.__name__: kind for kind in get_args(Event)}


@dataclass(frozen=True)
class Recorded:
    """What the journal of a run has: its events, and its damage as text."""

    run_id: str
    path: Path
    events: tuple[Event, ...]
    damage: tuple[str, ...]

    @property
    def started(self) -> RunStarted | None:
        return next((event for event in self.events if isinstance(event, RunStarted)), None)

    @property
    def ended(self) -> RunEnded | None:
        return next((event for event in reversed(self.events) if isinstance(event, RunEnded)), None)

    @property
    def result(self) -> str:
        """ok, failed or interrupted; ``unfinished`` without a last line, ``not-begun`` without any."""
        if self.ended is not None:
            return self.ended.status
        return "unfinished" if self.events else "not-begun"

    @property
    def problems(self) -> tuple[str, ...]:
        """Why this is not a whole run; empty for a whole one."""
        return (*self.damage, *([_UNFINISHED[self.result]] if self.result in _UNFINISHED else []))

    @property
    def seconds(self) -> float:
        """How long the run took; without its last line, how far the journal goes."""
        if self.ended is not None:
            return self.ended.seconds
        return max(0.0, self.events[-1].time - self.events[0].time) if self.events else 0.0


def all_runs(root: Path | None = None, *, brief: bool = True) -> Iterator[Recorded]:
    """The runs that have a journal, newest first. With ``brief`` only the first and the last line of each is read."""
    return (read_run(folder, brief=brief) for folder in _folders(root or runs_folder()))


def find_run(name: str = LAST, root: Path | None = None) -> Recorded:
    """The run of this id, or of an id that begins so, or the newest run. Raises InventoryError."""
    root = root or runs_folder()
    folders = _folders(root)
    if name == LAST:
        found = [folder for folder in folders if _has_begun(folder)][:1] or folders[:1]
    else:
        found = [folder for folder in folders if folder.name.startswith(name)]
    if not folders:
        raise InventoryError(f"no run has a journal in {root}", "XDG_STATE_HOME moves this folder. [run-history]")
    if len(found) != 1:
        many = f"{len(found)} runs begin with {name!r}: {', '.join(each.name for each in found[:5])}"
        text = f"{many}{' ...' if len(found) > 5 else ''}" if found else f"no run begins with {name!r}"
        raise InventoryError(text, "`kbootstrap runs` lists the runs; `last` is the newest. [run-history]")
    return read_run(found[0])


def _has_begun(folder: Path) -> bool:
    try:
        return journal_of(folder).stat().st_size > 0
    except OSError:
        return False


def _folders(root: Path) -> list[Path]:
    try:
        return sorted((path for path in root.iterdir() if path.is_dir()), reverse=True)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InventoryError(
            f"{root} cannot be read: {error.strerror}", "XDG_STATE_HOME moves this folder. [run-history]"
        ) from None


def read_run(folder: Path, *, brief: bool = False) -> Recorded:
    """The run of this folder."""
    path = journal_of(folder)
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        return Recorded(folder.name, path, (), (f"the journal cannot be read: {error.strerror}",))
    # The last line ends with a newline too, unless the run was killed while it wrote.
    torn = lines.pop()
    reader = _Reader()
    numbered = list(enumerate(lines, start=1))
    kept = [*numbered[:1], *numbered[1:][-1:]] if brief else numbered
    events = tuple(event for number, line in kept if (event := reader.event(number, line)) is not None)
    return Recorded(folder.name, path, events, tuple(_damage(events, reader, torn=bool(torn))))


def _damage(events: tuple[Event, ...], reader: _Reader, *, torn: bool) -> Iterator[str]:
    if torn:
        yield "its last line is cut off"
    if reader.broken:
        yield f"{counted(len(reader.broken), 'line')} cannot be read (the first: line {reader.broken[0]})"
    if reader.unknown:
        kinds = ", ".join(sorted(reader.unknown))
        yield f"it has events that this version of kbootstrap does not know: {kinds}"
    if events and not isinstance(events[0], RunStarted):
        yield "its first line is missing"


class _Reader:
    """Turns lines into events. ``broken`` are the numbers of lines that are no event, ``unknown`` kinds of events."""

    def __init__(self) -> None:
        self._redactor = Redactor()
        self.broken: list[int] = []
        self.unknown: set[str] = set()

    def event(self, number: int, line: bytes) -> Event | None:
        try:
            data = self._clean(json.loads(line.decode()))
            kind = data.pop("event")
            if kind not in _KINDS:
                self.unknown.add(str(kind)[:40])
                return None
            return _adapter(kind).validate_python(data)
        except (ValueError, ValidationError, RecursionError, KeyError, TypeError, AttributeError):
            self.broken.append(number)
            return None

    def _clean(self, value: Any) -> Any:
        """The value with all text safe to show. Secrets are masked already; terminal escapes in a file may be new."""
        if isinstance(value, str):
            return self._redactor.clean(value)
        if isinstance(value, dict):
            return {self._clean(key): self._clean(item) for key, item in value.items()}
        if isinstance(value, (int, float)) and not abs(value) < MAX_NUMBER:
            raise ValueError("a number is out of range")
        return [self._clean(item) for item in value] if isinstance(value, list) else value


@cache
def _adapter(kind: str) -> TypeAdapter[Event]:
    """Checks the values of an event. What another version has in addition is left out."""
    return TypeAdapter(_KINDS[kind])
