"""Runs of `up` that wait at one moment of one step, so that a test strikes exactly there (bin/breakpoint)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator

from support.driver import Fleet

PATIENCE_S = 120
"""Longest wait for anything; an undisturbed `up` takes a tenth of it."""


def until(what: str, holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline, f"not within {PATIENCE_S} s: {what}"
        time.sleep(0.02)


def comes_to_its_moment(fleet: Fleet, host: str, over: Callable[[], bool]) -> bool:
    """Wait until the host is held; False when the run is over without it."""
    held = False

    def known() -> bool:
        nonlocal held
        ended = over()
        held = fleet.run(host, "[ -e /run/sim/held ]").returncode == 0
        return held or ended

    until(f"{host} comes to its moment", known)
    return held


@contextlib.contextmanager
def up_held(fleet: Fleet, host: str, moment: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """An `up` whose host waits at this moment; it goes on when the block ends."""
    fleet.fault(host, "breakpoint", moment=moment)
    process = fleet.start("up", "--yes", "--output", "lines", *options, str(fleet.inventory))
    try:
        assert comes_to_its_moment(fleet, host, lambda: process.poll() is not None), process.communicate()
        yield process
        if fleet.run(host, "true").returncode == 0:
            fleet.fault(host, "release")
    except BaseException:
        process.kill()
        process.wait()
        raise


def ended(process: subprocess.Popen[str], code: int) -> str:
    """What the run printed; it must end with this exit code."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == code, f"exit code {process.returncode}\n{out}{err}"
    assert "Traceback" not in err
    return out + err
