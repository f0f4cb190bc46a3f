"""Explains why a file is not YAML: the line with an arrow below it, and a guess what its author meant."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import yaml

from kbootstrap.text import cells, printable

MAX_WIDTH = 70
"""Columns of a line that are shown."""

LINES_BEFORE = 3
"""A wrong line often makes YAML fail only some lines below it."""

_SECRET_LINE = re.compile(r"password|passphrase|secret|token", re.I)
_KEY = r"^(?:\s*-)?\s*[\w.-]+"


@dataclass(frozen=True)
class Guess:
    """What is probably wrong, and where: ``line`` and ``column`` count from 0."""

    line: int
    column: int
    text: str


_SIGNS: Sequence[tuple[str, str]] = (
    (r"^[ ]*(\t)", "this is a tab; YAML is indented with spaces"),
    ("(\u00a0)", "this is a no-break space; write a normal space"),
    ("(\u3000)", "this is a full-width space; write a normal space"),
    ("(\uff1a)", "this is a full-width colon; write ': '"),
    ("(\uff0c|\u3001)", "this is a full-width comma; write ', '"),
    ("([\u201c\u201d\u201e\u2018\u2019])", "this is a curly quote; write \" or '"),
    ("([\uff3b\uff3d\u3010\u3011\uff5b\uff5d\uff08\uff09])", "this is a full-width bracket; write [ ] or { }"),
    ("(\uff0d|\u2013|\u2014)", "this is a long dash; write -"),
    (r":\s*(\{\{)", "templates are not filled in here; write the value itself"),
    (r":\s+([@`%])", "a value that begins with this sign must be in quotes"),
    (_KEY + r"(:)(?![\s/]|$)", "a space is missing after the colon"),
    (r"^\s*(-)[A-Za-z0-9_\"'{]", "a space is missing after the dash"),
    (_KEY + r"\s*(=)\s*\S", "a key and its value are written 'key: value'"),
)
"""Signs of a mistake, each with what to do; the group is the place of the arrow."""


def guess(lines: Sequence[str], line: int) -> Guess | None:
    """The first sign of a mistake in a line or in the few lines before it."""
    for number in range(min(line, len(lines) - 1), max(-1, line - LINES_BEFORE - 1), -1):
        for pattern, text in _SIGNS:
            found = re.search(pattern, without_comment(lines[number]))
            if found is not None:
                return Guess(number, found.start(1), text)
    return None


def without_comment(line: str) -> str:
    """The line up to a comment. For guesses: a # after a space counts also within quotes."""
    return re.split(r"(?:^|\s)#", line, maxsplit=1)[0]


def not_yaml(text: str, error: yaml.YAMLError) -> tuple[int, str]:
    """The line (from 1) of a YAML error, and what is wrong there, with the line itself and an arrow."""
    lines = re.split(r"\r\n|[\n\r\x85\u2028\u2029]", text)
    mark = getattr(error, "problem_mark", None)
    if mark is None:
        return 1, str(error).splitlines()[0]
    start = getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or "this cannot be read"
    meant = guess(lines, mark.line)
    if meant is None and start is not None and "quoted scalar" in (getattr(error, "context", None) or ""):
        meant = Guess(start.line, start.column, "this quote is not closed")
    if meant is None and problem.startswith("mapping values"):
        meant = Guess(mark.line, mark.column, "a colon with a space after it: put the value in quotes, or indent less")
    if meant is None and problem.startswith("expected <block end>"):
        meant = Guess(mark.line, mark.column, "this line is indented unlike the lines it belongs to")
    place = meant or Guess(mark.line, mark.column, "")
    secret = place.line < len(lines) and _is_secret(lines, place.line)
    problem = re.sub(r"'.*'", "'...'", problem) if secret else problem
    shown = [] if secret else list(_snippet(lines, place))
    said = f"{problem}; {place.text}" if place.text and not shown else problem
    return place.line + 1, "\n".join([said, *shown])


def _is_secret(lines: Sequence[str], number: int) -> bool:
    """Whether a line may hold a part of a secret: it has such a key, or continues a value that a line above began."""
    depth = len(lines[number]) - len(lines[number].lstrip())
    above = (each for each in reversed(lines[:number]) if each.strip() and len(each) - len(each.lstrip()) < depth)
    return any(_SECRET_LINE.search(each) for each in (lines[number], next(above, "")))


def _snippet(lines: Sequence[str], place: Guess) -> Iterator[str]:
    if place.line >= len(lines) or not lines[place.line].strip():
        return
    line = lines[place.line]
    first = max(0, place.column - MAX_WIDTH // 2) if place.column > MAX_WIDTH - 10 else 0
    before, rest = (_visible(part) for part in (line[first : place.column], line[place.column : first + MAX_WIDTH]))
    number = f"{place.line + 1:>5} | "
    yield f"{number}{before}{rest}"
    yield f"{' ' * (len(number) - 2)}| {' ' * cells(before)}^ {place.text}".rstrip()


def _visible(text: str) -> str:
    return printable(text.replace("\t", "\u2192"))
