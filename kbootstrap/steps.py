"""A step: one condition that must hold on a host."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from kbootstrap.secret import Param

Mode = Literal["plan", "apply"]
"""``plan`` stops after the checks; ``apply`` changes what does not hold."""

State = Literal["ok", "change", "unknown", "changed", "failed", "skipped"]
"""How a step ended. ``plan`` gives ok, change or unknown; ``up`` gives ok, changed, failed or skipped."""


@dataclass(frozen=True)
class Step:
    """One condition that must hold on a host: a shell file with ``check`` and ``apply``, and the values it reads.

    ``script`` is the file's path below ``kbootstrap/phases``; empty for a builtin step, which runs in Python.
    ``params`` become shell variables (names in capitals).
    ``timeout`` limits ``apply``, in seconds; ``retries`` is how often a failed ``apply`` is tried again.
    ``libraries`` are the shell files below ``kbootstrap/shell/lib`` whose functions the step calls.
    ``wait_only`` marks a step that only waits for something: its success is ``ok``, never ``changed``.
    ``outputs`` names the values that the step can return for later phases; any other value is a protocol error.
    ``subject`` is the host that a step on the control plane is about; the step is skipped when that host has failed.
    """

    id: str
    title: str
    script: str
    why: str
    params: Mapping[str, Param] = field(default_factory=dict)
    timeout: int = 300
    retries: int = 0
    wait_only: bool = False
    libraries: tuple[str, ...] = ()
    outputs: tuple[str, ...] = ()
    subject: str = ""
