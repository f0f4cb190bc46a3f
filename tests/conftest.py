"""Shared by every tier of the tests. Prints the figures of the fault matrix at the end."""

from __future__ import annotations

import signal
from collections import Counter

import pytest

if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:  # nohup
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # a shell's background job
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    cases: Counter[str] = Counter()
    survivors: Counter[str] = Counter()
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            cases.update(dict(report.user_properties).get("cases", {}))
            survivors.update(dict(report.user_properties).get("survivors", {}))
    if cases:
        kinds = ", ".join(f"{fault} {survivors[fault]} of {cases[fault]}" for fault in sorted(cases))
        terminalreporter.section("fault matrix")
        terminalreporter.line(f"{cases.total()} cases, {survivors.total()} survived: {kinds}")
