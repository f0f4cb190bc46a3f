"""A problem of a host, found from facts before any change."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from kbootstrap.inventory.fields import Requirement
from kbootstrap.inventory.models import Host


@dataclass(frozen=True)
class Finding:
    """A problem of a host: an ``error`` stops the host, a ``warning`` is only reported.

    ``requirement`` is the name under which `preflight.warn` turns an error into a warning; empty when nothing does.
    """

    host: str
    level: Literal["error", "warning"]
    text: str
    hint: str = ""
    requirement: Requirement | Literal[""] = ""


def error(host: Host, text: str, hint: str = "", name: Requirement | Literal[""] = "") -> Finding:
    return Finding(host.name, "error", text, hint, name)


def warning(host: Host, text: str, hint: str = "") -> Finding:
    return Finding(host.name, "warning", text, hint)


def differ(one: str, other: str) -> bool:
    """Whether both values are known and different."""
    return bool(one and other) and one != other
