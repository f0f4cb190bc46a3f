"""What goes wrong around a run: the right state, words a person can act on, and a run that converges afterwards."""

from __future__ import annotations

import threading

import pytest
from support.breakpoints import ended, until, up_held
from support.driver import Fleet
from support.labs import MakeLab

from kbootstrap import inventory, run
from kbootstrap.events import Event, RunEnded
from kbootstrap.remote.timeouts import Timeouts
from kbootstrap.run.options import Control

DOCKER = "download.docker.com"
DNF_LOCK = """
exec 9>>/run/sim/dnf.lock
flock 9
echo 4242 >/run/sim/dnf.lock
: >/tmp/locked
until [ -e /tmp/unlock ]; do sleep 0.02; done
"""
APT_LOCK = """
import fcntl, os, time
lock = open("/var/lib/dpkg/lock-frontend", "w")
fcntl.lockf(lock, fcntl.LOCK_EX)
open("/tmp/locked", "w").close()
while not os.path.exists("/tmp/unlock"):
    time.sleep(0.02)
"""


def converges(fleet: Fleet, *options: str) -> None:
    assert fleet.up(*options).result["status"] == "ok"
    assert fleet.up(*options).result["changed"] == 0


def test_a_host_that_dies_in_the_middle_stops_nobody_else(lab: MakeLab, monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, because nobody wants to wait for the five minutes a host may be away."""
    fleet = lab(1, 2)
    monkeypatch.setattr("kbootstrap.run.run.kubeconfigs", lambda: fleet.inventory.parent / "kubeconfigs")
    control = Control(timeouts=Timeouts(reconnect=2))
    fleet.fault("w2", "breakpoint", moment="packages kubernetes command 1")
    seen: list[Event] = []
    loaded = inventory.load(fleet.inventory)
    thread = threading.Thread(target=lambda: run.up(loaded, control=control, view=seen.append))
    thread.start()
    until("w2 is in the middle", lambda: fleet.run("w2", "[ -e /run/sim/held ]").returncode == 0)
    fleet.fault("w2", "kill")
    thread.join(timeout=120)
    end = seen[-1]
    assert isinstance(end, RunEnded)
    lost = end.hosts["w2"]
    assert (lost.failed_phase, lost.failed_step) == ("packages", "kubernetes")
    assert lost.failure is not None
    assert "cannot reconnect for 2 s" in lost.failure.message
    assert "Run the command again" in lost.failure.hint
    assert [name for name, host in end.hosts.items() if host.failure] == ["w2"]
    fleet.fault("w2", "heal")
    converges(fleet)


@pytest.mark.parametrize(
    ("host", "moment", "told"),
    [
        ("cp1", "kubeadm has written the manifests", "reset this host: init"),
        ("w1", "kubeadm has written bootstrap-kubelet.conf", "reset this host: join"),
    ],
)
def test_a_reboot_in_the_middle_of_kubeadm(lab: MakeLab, host: str, moment: str, told: str) -> None:
    fleet = lab(1, 1)
    with up_held(fleet, host, moment) as process:
        fleet.fault(host, "reboot")
    assert "to see whether it rebooted" in ended(process, 1)
    until(f"{host} is up", lambda: all(found.state == "up" for found in fleet.backend.status(fleet.name).hosts))
    assert told in fleet.kbootstrap("plan", str(fleet.inventory))
    converges(fleet)


def test_a_disk_that_is_full_in_the_middle(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    with up_held(fleet, "cp1", "packages tools command 1") as process:
        fleet.fault("cp1", "disk-full")
    said = ended(process, 1)
    assert "No space left on device" in said
    assert "The file system at / is full" in said
    fleet.fault("cp1", "heal")
    converges(fleet)


def one_host(lab: MakeLab, distribution: str) -> Fleet:
    """A host whose package repositories answer, also before the phase `prepare` has replaced those of CentOS 7."""
    fleet = lab(1, 0, distribution)
    if distribution == "centos7":
        archive = r"s|^mirrorlist=.*repo=\([a-z]*\).*|baseurl=http://vault.centos.org/7.9.2009/\1/$basearch/|"
        fleet.text("cp1", f"sed -i '{archive}' /etc/yum.repos.d/CentOS-Base.repo")
    return fleet


@pytest.mark.parametrize("distribution", ["centos9", "centos7", "debian12"])
def test_another_package_manager_is_waited_for(lab: MakeLab, distribution: str) -> None:
    fleet = one_host(lab, distribution)
    if distribution == "debian12":
        fleet.text("cp1", "cat >/tmp/lock.py; setsid /.machine/python3 /tmp/lock.py >/dev/null 2>&1 &", APT_LOCK)
    else:
        fleet.text("cp1", f"setsid sh -c '{DNF_LOCK}' >/dev/null 2>&1 &")
    fleet.text("cp1", "until [ -e /tmp/locked ]; do sleep 0.02; done")
    process = fleet.start("up", "--yes", "--output", "lines", "--only", "runtime", str(fleet.inventory))
    waits = "grep -qs 'Another package manager is at work' /run/kbootstrap/*/runtime.log"
    until("it waits for the lock", lambda: process.poll() is not None or fleet.run("cp1", waits).returncode == 0)
    fleet.text("cp1", ": >/tmp/unlock")
    said = ended(process, 0)
    assert "trying again" not in said
    converges(fleet, "--only", "runtime")


@pytest.mark.parametrize(("distribution", "trouble"), [("centos9", "503"), ("debian12", "503"), ("centos7", "reset")])
def test_a_mirror_that_fails_for_a_moment_is_asked_again(lab: MakeLab, distribution: str, trouble: str) -> None:
    fleet = one_host(lab, distribution)
    moment = "runtime docker-repository command 1" if distribution == "debian12" else "runtime containerd apply 0"
    with up_held(fleet, "cp1", moment, "--only", "runtime") as process:
        fleet.text("cp1", f"mkdir -p /.lab/internet; echo '{trouble} 1' >/.lab/internet/{DOCKER}")
    assert "failed, retrying in 2 s" in ended(process, 0)
    converges(fleet, "--only", "runtime")


@pytest.mark.parametrize("distribution", ["centos9", "centos7", "debian12"])
def test_what_a_mirror_does_not_have_is_not_asked_for_again(lab: MakeLab, distribution: str) -> None:
    fleet = one_host(lab, distribution)
    fleet.up("--only", "runtime")
    whole = fleet.inventory.read_text()
    fleet.change_inventory(lambda text: text.replace("  runtime:\n", '  runtime:\n    version: "9.9.9"\n'))
    said = fleet.kbootstrap("up", "--yes", "--output", "lines", "--only", "runtime", str(fleet.inventory), code=1)
    assert "trying again" not in said
    assert "containerd.io" in said
    assert "Another try would not help" in said
    fleet.inventory.write_text(whole)
    fleet.text("cp1", "rm -f /etc/pki/rpm-gpg/RPM-GPG-KEY-docker /etc/apt/keyrings/docker.asc; mkdir -p /.lab/internet")
    fleet.text("cp1", f"echo 404 >/.lab/internet/{DOCKER}")
    said = fleet.kbootstrap("up", "--yes", "--output", "lines", "--only", "runtime", str(fleet.inventory), code=1)
    assert "trying again" not in said
    assert "the server answers with status 404" in said
    fleet.text("cp1", f"rm /.lab/internet/{DOCKER}")
    converges(fleet, "--only", "runtime")


def test_an_api_server_that_is_away_for_a_while(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    slow = r"printf '#!/bin/sh\nsleep 0.3; exec /usr/bin/kubectl \"$@\"\n'"
    fleet.text("cp1", f"{slow} >/usr/local/sbin/kubectl; chmod 755 /usr/local/sbin/kubectl")
    with up_held(fleet, "cp1", "network flannel begin 0") as process:
        fleet.text("cp1", "systemctl stop kubelet && /.machine/sim/bin/publish")
    applies = "grep -qs 'apply flannel' /run/kbootstrap/*/network.log"
    until("it waits for the API", lambda: process.poll() is not None or fleet.run("cp1", applies).returncode == 0)
    fleet.text("cp1", "systemctl start kubelet")
    ended(process, 0)
    converges(fleet)


def test_a_clock_that_jumps_in_the_middle(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    with up_held(fleet, "w1", "join join begin 0") as process:
        fleet.fault("w1", "clock-skew", seconds=-3600)
    said = ended(process, 1)
    assert "x509: certificate has expired or is not yet valid" in said
    assert "Are the clocks the same?" in said
    assert "behind the other hosts" in fleet.kbootstrap("up", "--yes", str(fleet.inventory), code=1)
    fleet.fault("w1", "heal")
    converges(fleet)


def test_names_that_cannot_be_resolved(lab: MakeLab) -> None:
    fleet = lab(1, 0, "debian12")
    with up_held(fleet, "cp1", "runtime docker-repository begin 0", "--only", "runtime") as process:
        fleet.text("cp1", "mv /etc/resolv.conf /etc/resolv.conf.away; : >/etc/resolv.conf")
    said = ended(process, 1)
    assert "Could not resolve" in said
    assert "This host cannot resolve deb.debian.org: see /etc/resolv.conf" in said
    fleet.text("cp1", "mv /etc/resolv.conf.away /etc/resolv.conf")
    converges(fleet, "--only", "runtime")


def test_a_dpkg_that_was_cut_off_is_told_to_finish(lab: MakeLab) -> None:
    fleet = lab(1, 0, "debian12")
    with up_held(fleet, "cp1", "apt has installed containerd.io", "--only", "runtime") as process:
        fleet.fault("cp1", "reboot")
    ended(process, 1)
    until("cp1 is up", lambda: all(found.state == "up" for found in fleet.backend.status(fleet.name).hosts))
    assert "dpkg was interrupted" in fleet.run("cp1", "apt-get install -y socat").stderr
    converges(fleet)
