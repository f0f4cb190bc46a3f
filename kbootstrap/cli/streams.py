"""Standard streams that never end a run: what cannot be written is dropped, and said once on what is left.

The reader of a pipe may go away, a disk may be full, a terminal may be closed or may not know a character. Hosts are in
the middle of a change then, so the command goes on to its end, and its exit code says that something was not shown.
"""

from __future__ import annotations

import errno
import io
import os
import sys
from typing import Any, TextIO

_NAMES = {1: "standard output", 2: "standard error"}

_broken: dict[int, OSError] = {}
"""Why a stream is no longer written to, by file descriptor."""

_closed: dict[int, OSError] = {}
"""Streams that were closed from the start. That is no failure as long as there is nothing to say."""


class _Forgiving(io.FileIO):
    """A stream's file. After the first failed write it takes everything and writes nothing."""

    def write(self, data: Any, /) -> int:
        if self.fileno() not in _broken:
            try:
                if self.fileno() in _closed:
                    raise _closed[self.fileno()]
                written = super().write(data)
                return len(data) if written is None else written
            except OSError as error:
                _gave_up(self.fileno(), error)
        return len(data)


def protect() -> None:
    """Replace standard output and standard error. A stream that is closed from the start becomes the null device."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError as error:
            os.open(os.devnull, os.O_RDWR)  # takes the lowest free number, which is this one
            _closed[fd] = error
    if sys.stdin is None:
        sys.stdin = open(0, encoding="utf-8", errors="replace", closefd=False)  # noqa: SIM115 - for the whole process
    sys.stdout = _protected(1, sys.stdout)
    sys.stderr = _protected(2, sys.stderr)


def _protected(fd: int, stream: TextIO | None) -> TextIO:
    raw = _Forgiving(fd, "wb", closefd=False)
    encoding = stream.encoding if stream is not None else "utf-8"
    at_once = fd == 2 or os.isatty(fd)
    return io.TextIOWrapper(io.BufferedWriter(raw), encoding=encoding, errors="replace", line_buffering=at_once)


def broken() -> str:
    """What could not be written so far and why; an empty text when all could."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return ", ".join(f"{_NAMES[fd]}: {error.strerror}" for fd, error in _broken.items())


def unread() -> bool:
    """Whether the reader of standard output has gone away."""
    sys.stdout.flush()
    return 1 in _broken and _broken[1].errno == errno.EPIPE


def _gave_up(fd: int, error: OSError) -> None:
    _broken[fd] = error
    if fd == 1 and error.errno != errno.EPIPE:
        text = f"kbootstrap: {_NAMES[fd]} cannot be written: {error.strerror}\n"
        try:
            os.write(2, text.encode())
        except OSError as also:
            _broken[2] = also
