"""Shorter protocol times: a test sets those that it would wait out."""

from __future__ import annotations

from types import ModuleType

import pytest

from kbootstrap import bulk, session, transport

_CONSTANTS: dict[str, tuple[ModuleType, str]] = {
    "reconnect": (session, "RECONNECT_S"),
    "keepalive": (transport, "KEEPALIVE_S"),
    "answer": (transport, "ANSWER_S"),
    "look": (transport, "LOOK_S"),
    "bulk_answer": (bulk, "ANSWER_S"),
}


def set_timeouts(monkeypatch: pytest.MonkeyPatch, **seconds: float) -> None:
    """Set protocol times for one test, by the names above."""
    for name, value in seconds.items():
        module, constant = _CONSTANTS[name]
        monkeypatch.setattr(module, constant, value)
