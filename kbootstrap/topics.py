"""Topics of troubleshooting: what a class of failures means, how to check it, and what to do.

Every hint ends with the id of its topic in brackets: ``Check ssh.port. [ssh-refused]``. It is plain text, so Python and
the shell on the hosts write it alike. ``troubleshooting.md`` beside this file has the topics.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PAGE = Path(__file__).with_name("troubleshooting.md")
_AT_END = re.compile(r"\s*\[([a-z]+(?:-[a-z]+)*)\]$")


@dataclass(frozen=True)
class Topic:
    """A section of the page. ``blocks`` are its paragraphs, and its commands as lines with four spaces in front."""

    id: str
    title: str
    blocks: tuple[str, ...]


@cache
def topics() -> Mapping[str, Topic]:
    """All topics by id, in the order of the page."""
    sections = PAGE.read_text(encoding="utf-8").split("\n## ")[1:]
    return {topic.id: topic for topic in map(_read, sections)}


def _read(section: str) -> Topic:
    head, *blocks = section.strip().split("\n\n")
    name, _, title = head.partition(": ")
    return Topic(name, title, tuple(block if block.startswith("    ") else " ".join(block.split()) for block in blocks))


def topic_of(hint: str) -> str:
    """The id at the end of a hint; empty where it has none."""
    found = _AT_END.search(hint)
    return found[1] if found else ""


def extended(hint: str, more: str) -> str:
    """The hint with another sentence before its id."""
    topic = topic_of(hint)
    text = f"{_AT_END.sub('', hint)} {more}".strip()
    return f"{text} [{topic}]" if topic else text
