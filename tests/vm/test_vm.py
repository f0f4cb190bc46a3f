"""kbootstrap on machines with a kernel, swap, SELinux and a firewall of their own. Each test is a sequence of steps."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from support.driver import Fleet
from support.labs import MakeLab
from vm.state import RUNNING, State, differences, read

RUN_S = 1800
"""Longest run of kbootstrap without KVM."""
SECTIONS = frozenset(
    "files content labels names packages active failed swap names-of-host selinux firewall".split()
    + "network mounts clock".split()
)
RUNTIME_STATE = (
    "/var/log",
    "/var/cache",
    "/var/tmp",
    "/var/lib/apt",
    "/var/lib/dpkg",
    "/var/lib/systemd",
    "/var/lib/private",
    "/var/lib/sudo",
    "/var/lib/ucf",
    "/etc/passwd-",
    "/etc/group-",
    "/etc/shadow-",
    "/etc/gshadow-",
)
"""What a running host and its package manager change by themselves."""
SYSCTLS = """
net.ipv4.ip_forward
net.bridge.bridge-nf-call-iptables
net.bridge.bridge-nf-call-ip6tables
"""


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("support.driver.RUN_S", RUN_S)


def test_one_machine_is_prepared_and_put_back(lab: MakeLab, capsys: pytest.CaptureFixture[str]) -> None:
    """From a machine as it is found to one that is ready for a kubelet, over a reboot, and back."""
    clock = Clock(capsys)
    with clock("lab up"):
        fleet = lab(1, 0)
    before = read(fleet, "cp1")
    assert {line.split()[-1] for line in before["swap"]} == {"100", "5", "3"}, "zram, a partition, and a file"
    with clock("up --only prepare"):
        fleet.up("--only", "prepare")
    is_prepared(fleet)
    with clock("reboot"):
        fleet.fault("cp1", "reboot")
    is_prepared(fleet)
    with clock("second up --only prepare"):
        assert fleet.up("--only", "prepare").result["changed"] == 0
    with clock("reset"):
        fleet.events("reset", "--yes", "--purge")
    as_before(before, read(fleet, "cp1"), SECTIONS)
    with clock("reboot"):
        fleet.fault("cp1", "reboot")
    as_before(before, read(fleet, "cp1"), SECTIONS | RUNNING)
    with clock("faults"):
        faults_are_real(fleet)


def faults_are_real(fleet: Fleet) -> None:
    """The faults of the lab, which containers and simulated hosts can only pretend."""
    assert fleet.fault("cp1", "disk-full") == "running"
    assert fleet.run("cp1", "echo text >/etc/full").returncode != 0
    fleet.fault("cp1", "clock-skew")
    assert float(fleet.text("cp1", "date +%s")) > time.time() + 200
    assert fleet.fault("cp1", "stop") == "paused"
    assert fleet.fault("cp1", "kill") == "gone"
    assert fleet.fault("cp1", "heal") == "running"
    fleet.text("cp1", "rm /etc/full; echo text >/etc/full")
    assert abs(float(fleet.text("cp1", "date +%s")) - time.time()) < 100


def is_prepared(fleet: Fleet) -> None:
    """What `prepare` promises, as the kernel says it."""
    state = read(fleet, "cp1")
    assert state["swap"] == set()
    assert {"overlay", "br_netfilter"} <= state["modules"]
    assert {f"{key} = 1" for key in SYSCTLS.split()} <= state["sysctl"]
    assert {"0", "SELINUX=permissive"} <= state["selinux"]
    assert not {"firewalld.service", "systemd-timesyncd.service"} & state["active"]
    assert state["names-of-host"] == {"cp1"}
    assert state["failed"] == set()


def as_before(before: State, after: State, sections: frozenset[str]) -> None:
    assert differences(before, after, but=RUNTIME_STATE, sections=sections) == []


class Clock:
    """Prints how long each part of a test takes."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self._capsys = capsys

    def say(self, text: str) -> None:
        with self._capsys.disabled():
            print(f"\n{text}", end="")

    @contextmanager
    def __call__(self, what: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self.say(f"{what}: {time.monotonic() - began:.0f} s")
