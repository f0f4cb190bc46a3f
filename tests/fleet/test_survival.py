"""Runs that meet each other, and runs that are cut off: nobody is surprised and nothing is done twice."""

from __future__ import annotations

import signal
import subprocess

from support.driver import Fleet
from support.labs import MakeLab

HANGS = r"""
cat >/usr/local/sbin/modprobe <<'END'
#!/bin/sh
[ "$1" != -n ] || exec /usr/sbin/modprobe "$@"
touch /tmp/hangs
until [ -e /tmp/go ]; do sleep 0.1; done
exec /usr/sbin/modprobe "$@"
END
chmod 755 /usr/local/sbin/modprobe
"""


def up_that_hangs(fleet: Fleet, host: str, *options: str) -> subprocess.Popen[str]:
    """An `up` that works at prepare.modules of this host until /tmp/go is there."""
    fleet.text(host, HANGS)
    process = fleet.start("up", "--yes", "--output", "lines", *options, str(fleet.inventory))
    fleet.text(host, "until [ -e /tmp/hangs ]; do sleep 0.1; done")
    return process


def test_a_second_operator_is_told_who_is_at_work_and_changes_nothing(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    first = up_that_hangs(fleet, "w1", "--limit", "cp1,w1")
    second = fleet.up(code=1)
    assert {step for step in second.states if step[0] == "w2" and second.states[step] == "skipped"}
    message = second.result["hosts"]["w1"]["failure"]["message"]
    assert "another run is active on this host" in message
    assert "(up)" in message
    assert second.result["changed"] == 0
    fleet.text("w1", "touch /tmp/go")
    out, err = first.communicate(timeout=120)
    assert first.returncode == 0, out + err


def test_a_killed_operator_leaves_a_script_that_the_next_run_waits_for(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    first = up_that_hangs(fleet, "w1")
    first.send_signal(signal.SIGKILL)
    first.communicate(timeout=60)
    second = fleet.start("up", "--yes", "--output", "lines", str(fleet.inventory))
    assert second.stdout is not None
    for line in second.stdout:
        if " w1 " in line and "interrupted run is still running" in line:
            break
    assert "at prepare.modules" in line
    fleet.text("w1", "touch /tmp/go")
    out, err = second.communicate(timeout=120)
    assert second.returncode == 0, out + err
    assert fleet.plan().result["change"] == 0
