"""Fits text into the columns of a terminal: wraps at words with a hanging indent, and cuts."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TextIO

from kbootstrap.text import cells

LEAST_COLUMNS = 20
"""Text is never wrapped to fewer columns than this, however small the terminal is."""


def columns(stream: TextIO) -> int | None:
    """The columns of the terminal behind the stream; None when it is no terminal, so nothing is wrapped or cut."""
    if not stream.isatty():
        return None
    given = os.environ.get("COLUMNS", "")
    if given.isdigit() and int(given) > 0:
        return int(given)
    try:
        return os.get_terminal_size(stream.fileno()).columns or 80
    except (OSError, ValueError):
        return 80


def cut(text: str, room: int) -> str:
    """The text, with an ellipsis at its end when it takes more columns than ``room``."""
    if cells(text) <= room:
        return text
    kept, left = "", room - 1
    for char in text:
        left -= cells(char)
        if left < 0:
            break
        kept += char
    return f"{kept.rstrip()}…" if room > 0 else ""


def cut_middle(text: str, room: int) -> str:
    """The text, without its middle when it is longer than ``room``: names of hosts differ at their ends."""
    if len(text) <= room or room < 3:
        return text[:room]
    after = (room - 1) // 2
    return f"{text[: room - 1 - after]}…{text[-after:]}"


def padded(text: str, room: int) -> str:
    """The text, cut or filled with spaces to exactly ``room`` columns."""
    short = cut(text, room)
    return short + " " * (room - cells(short))


def wrapped(text: str, room: int | None) -> Iterator[str]:
    """The text in lines of at most ``room`` columns, broken at spaces. A longer word has a line of its own.

    The line breaks and the first spaces of the text stay. None: only the text's own line breaks.
    """
    for line in text.split("\n"):
        if room is None:
            yield line
        else:
            yield from _wrapped(line, max(room, LEAST_COLUMNS))


def _wrapped(line: str, room: int) -> Iterator[str]:
    words = line.lstrip(" ").split(" ")
    at = line[: len(line) - len(line.lstrip(" "))] + words[0]
    for word in words[1:]:
        if cells(at) + 1 + cells(word) > room:
            yield at.rstrip(" ")
            at = word
        else:
            at += f" {word}"
    yield at
