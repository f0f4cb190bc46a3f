"""Steps in, one POSIX shell script out; lines of its output in, reports out.

This is the only module that puts values into shell text, and ``quote`` is the only function that does it.
"""

from __future__ import annotations

import base64
import binascii
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from kbootstrap.remote.protocol import shell_assignments
from kbootstrap.secret import Param, Secret
from kbootstrap.steps import Step

PACKAGE = Path(__file__).parent.parent
MAX_LINE = 64 * 1024
"""Longest line of a host's output that is kept, in bytes. The rest of a longer line is dropped."""
MAX_VALUE = 1024 * 1024
"""Largest value that a host can return, in bytes."""

_HERE_DOCUMENT = re.compile(r"<<'?([A-Z]+)'?")
_NAME = re.compile(r"[A-Z][A-Z0-9_]*\Z")
_REQUIRES = re.compile(r"^# requires: (.+)$", re.M)


def quote(value: str) -> str:
    """The value as one single-quoted shell word. Raises ValueError for NUL, which no shell variable can hold."""
    if "\0" in value:
        raise ValueError("a value for a host contains a NUL character")
    return "'" + value.replace("'", "'\\''") + "'"


@functools.cache
def shell_file(path: str) -> str:
    """The text of a shell file below the package, without lines that are only comments (here-documents stay whole)."""
    kept = []
    end = ""
    for line in _source(path).splitlines():
        if end:
            end = "" if line == end else end
        elif not line.strip() or line.strip() == "#" or line.lstrip().startswith("# "):
            continue
        elif here := _HERE_DOCUMENT.search(line):
            end = here[1]
        kept.append(line)
    return "\n".join(kept) + "\n"


@functools.cache
def _source(path: str) -> str:
    return (PACKAGE / path).read_text(encoding="utf-8")


def library_path(name: str, family: str) -> str:
    """The shell file of a library. ``os`` is the one of the OS family."""
    return f"shell/os/{family}.sh" if name == "os" else f"shell/lib/{name}.sh"


@functools.cache
def required(name: str, family: str) -> tuple[str, ...]:
    """The libraries whose functions a library calls: its comment ``# requires: NAME ...``."""
    found = _REQUIRES.search(_source(library_path(name, family)))
    return tuple(found[1].split()) if found else ()


def resolve(names: Iterable[str], family: str) -> list[str]:
    """These libraries and all that they require, each once."""
    found: dict[str, None] = {}
    waiting = list(names)
    while waiting:
        name = waiting.pop(0)
        if name not in found:
            found[name] = None
            waiting += required(name, family)
    return list(found)


def bootstrap() -> str:
    """The text of bootstrap.sh, the command of a connection."""
    return shell_file("shell/bootstrap.sh").strip()


def launcher(marker: str) -> bytes:
    """launcher.sh as bootstrap.sh reads it from its input, with the marker of the connection's reports."""
    text = shell_file("shell/launcher.sh").encode()
    return f"{marker} {len(text)}\n".encode() + text


def runner() -> str:
    """The start of every script: the exit statuses and runner.sh."""
    return shell_assignments() + shell_file("shell/runner.sh")


def build(
    steps: Iterable[Step], family: str, environment: Mapping[str, str] = MappingProxyType({}), *, checked: bool = False
) -> str:
    """One script for the steps of one phase on one host of an OS family (``el`` or ``debian``).

    The programs that it starts get the variables of ``environment``. The same text serves plan and apply: ``KB_MODE``
    is set from outside (or is the first argument when run by hand). With ``checked`` the first step was already checked
    and must be applied: it is applied without another check.
    """
    steps = list(steps)
    libraries = resolve((name for step in steps for name in step.libraries), family)
    parts = [runner(), *(shell_file(library_path(name, family)) for name in libraries)]
    parts += [f"{name}={quote(value)}\nexport {name}\n" for name, value in environment.items()]
    parts += [f"kb_begin {quote(step.id)}\n" for step in steps[:1]]
    calls = ["kb_change" if checked else "kb_step", *["kb_step"] * len(steps)]
    parts += [_step(*each) for each in zip(calls, steps, [*steps[1:], None], strict=False)]
    return "".join(parts)


def facts_script() -> str:
    """The script that gathers a host's facts; it needs no runner."""
    return shell_file("shell/facts.sh")


def support_script() -> str:
    """The script that prints a host's versions, logs and pods; it needs no runner."""
    return shell_file("shell/support.sh")


def _step(call_name: str, step: Step, following: Step | None) -> str:
    call = [call_name, quote(step.id), str(step.retries), str(int(step.wait_only))]
    call += [quote(following.id)] if following else []
    return f"kb_load() {{\n{_assignments(step.params)}{shell_file('phases/' + step.script)}}}\n{' '.join(call)}\n"


def _assignments(params: Mapping[str, Param]) -> str:
    """The parameters as shell variables. Unset them first, because a variable from the environment stays exported."""
    lines = [f"unset {' '.join(sorted(params))}\n"] if params else []
    for name, value in sorted(params.items()):
        if not _NAME.match(name):
            raise ValueError(f"parameter {name!r} is not a shell variable name in capitals")
        text = value.reveal() if isinstance(value, Secret) else value
        lines.append(f"{name}={quote(text)}\n")
    return "".join(lines)


# --- output of the host ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Report:
    """One report line: a word and its arguments, e.g. ``end swap changed``."""

    word: str
    args: tuple[str, ...]


@dataclass(frozen=True)
class Output:
    """One line of ordinary output."""

    line: str


class Parser:
    """Splits a host's byte stream into reports and output lines.

    The marker is searched for anywhere in a line, because a command may print text without a newline before the next
    report. Lines are limited to ``MAX_LINE``, so a line without end does not use up the memory. Every byte is read
    once, so tiny pieces do not cost more time. ``offset`` counts the bytes of complete lines, without the reports named
    in ``foreign``: those come from the launcher and are not part of the log.
    """

    def __init__(self, marker: str, foreign: Collection[str] = ()) -> None:
        self._marker = marker.encode() + b" "
        self._foreign = foreign
        self._rest = bytearray()
        self._at = -1
        self._dropped = 0
        self.offset = 0

    def feed(self, data: bytes) -> Iterator[Report | Output]:
        *lines, rest = data.split(b"\n")
        for line in lines:
            self._add(line)
            self.offset += self._dropped + len(self._rest) + 1
            yield from self._line(self._take())
        self._add(rest)

    def _add(self, data: bytes) -> None:
        """Append data to the current line. ``_at`` is the position of its first marker; -1: no marker so far."""
        searched = max(0, len(self._rest) - len(self._marker))
        self._rest += data
        if self._at < 0:
            self._at = self._rest.find(self._marker, searched)
        self._bound()

    def _take(self) -> bytes:
        line = bytes(self._rest)
        self._rest.clear()
        self._at, self._dropped = -1, 0
        return line

    def _bound(self) -> None:
        """Drop the middle of a line that is too long. Keep its start, and its end in case a marker starts there."""
        if self._at > MAX_LINE:
            self._drop_bytes(MAX_LINE, self._at)
            self._at = MAX_LINE
        elif self._at < 0 and len(self._rest) > MAX_LINE + len(self._marker):
            self._drop_bytes(MAX_LINE, len(self._rest) - len(self._marker))
        if self._at >= 0 and len(self._rest) - self._at > MAX_VALUE * 2:
            self._drop_bytes(self._at + MAX_VALUE * 2, len(self._rest))

    def _drop_bytes(self, start: int, end: int) -> None:
        del self._rest[start:end]
        self._dropped += end - start

    @property
    def received(self) -> int:
        """All bytes so far, including those of an unfinished line."""
        return self.offset + self._dropped + len(self._rest)

    def end(self) -> Iterator[Report | Output]:
        """The remaining output when the stream ends without a newline. An incomplete report is dropped."""
        yield from (item for item in self._line(self._take()) if isinstance(item, Output) and item.line)

    def _line(self, line: bytes) -> Iterator[Report | Output]:
        before, marker, report = line.partition(self._marker)
        if before or not marker:
            yield Output(before[:MAX_LINE].decode("utf-8", "replace").rstrip("\r"))
        if marker:
            word, *args = report.decode("utf-8", "replace").rstrip("\r").split(" ")
            if word in self._foreign:
                self.offset -= len(marker) + len(report) + 1
            yield Report(word, tuple(args))


def decode_value(text: str) -> str:
    """Decode the text that a host sent with ``value``. Raises ValueError if too large, not base64 or not UTF-8."""
    if len(text) > MAX_VALUE * 4 // 3 + 4:
        raise ValueError("the value is larger than 1 MiB")
    try:
        return base64.b64decode(text, validate=True).decode("utf-8")
    except binascii.Error as error:
        raise ValueError(f"the value is not base64: {error}") from None
