"""Start-up: the imports of a command, and its CPU time compared with bare Python."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

HEAVY = {"paramiko", "fabric", "invoke", "cryptography", "pydantic", "yaml", "rich", "asyncio"}
"""Packages that cost more than the whole command line; only commands that need them import them."""
COMMANDS = [["--help"], ["--version"], ["up", "--help"], ["plan", "--help"], ["lab", "--help"]]
RATIO = 5
"""CPU of `--help` against bare Python; docs/performance.md has what it really is."""


def imported(*arguments: str, **environment: str) -> set[str]:
    """The top-level packages that a command imports."""
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "kbootstrap", *arguments],
        capture_output=True,
        text=True,
        env=os.environ | environment,
    )
    modules = [line.rpartition("|")[2].strip() for line in done.stderr.splitlines() if line.startswith("import time:")]
    assert "kbootstrap.cli" in modules, done.stderr
    return {module.partition(".")[0] for module in modules}


@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_help_imports_nothing_heavy(arguments: list[str]) -> None:
    assert not imported(*arguments) & HEAVY


def test_completion_imports_nothing_heavy() -> None:
    words = {"_KBOOTSTRAP_COMPLETE": "bash_complete", "COMP_WORDS": "kbootstrap ", "COMP_CWORD": "1"}
    assert not imported(**words) & HEAVY


def test_the_watch_sees_a_heavy_import() -> None:
    assert "pydantic" in imported("plan", "no-such-file.yaml")


def cpu_of(*arguments: str) -> float:
    """CPU seconds of Python with these arguments."""
    process = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_utime + usage.ru_stime


def test_help_costs_little_more_than_python() -> None:
    # Compare the minimum of several runs: other load on the machine can only increase the time.
    pairs = [(cpu_of("-m", "kbootstrap", "--help"), cpu_of("-c", "pass")) for _ in range(7)]
    assert min(ours for ours, _ in pairs) <= RATIO * min(bare for _, bare in pairs)
