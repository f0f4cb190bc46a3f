"""What people see at 60, 80 and 120 columns: golden/screen-*.txt. A change of a screen is a change of its file."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.examples import inventory

from kbootstrap.errors import Failure
from kbootstrap.events import (
    Event,
    HostSummary,
    HostWaits,
    Notice,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepEnded,
    StepOutput,
    StepRunning,
    StepStarted,
)
from kbootstrap.steps import State
from kbootstrap.text import cells
from kbootstrap.ui import Style
from kbootstrap.ui.lines import LinesView
from kbootstrap.ui.live import Board, LiveView
from kbootstrap.ui.plan import PlanView
from kbootstrap.ui.summary import summary_lines

HOSTS = ("cp1", "w1", "w2", "w3")
ADDRESSES = ("192.168.1.10", "192.168.1.11", "192.168.1.12", "192.168.1.13")
STARTED = RunStarted(
    0.0, "run-1", "up", "apply", "test", HOSTS, "/home/ann/.local/state/kbootstrap/runs/run-1/events.jsonl",
    "my cluster.yaml", ADDRESSES, "Kubernetes 1.34, containerd, Flannel",
)  # fmt: skip
WARNING = (
    "the kernel's rp_filter is strict on eth1, so pods that answer over another interface lose packets (Set "
    "net.ipv4.conf.all.rp_filter to 2 where the nodes have two networks.)"
)


def refused(host: str, address: str) -> StepEnded:
    failure = Failure(
        f"{host}: cannot connect to {address}:22: Connection refused",
        hint=f"Does sshd run on {host}? Try ssh -p 22 kb@{address}, and look at ssh.port there. [ssh-refused]",
    )
    return StepEnded(1.0, host, "connect", "ssh", "Connect and become root", "failed", 0.2, failure=failure)


def step(host: str, phase: str, name: str, state: State, *diff: str) -> StepEnded:
    return StepEnded(1.0, host, phase, name, f"Title of {name}", state, 0.4, diff)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def ended(*, failed: tuple[str, ...] = ()) -> RunEnded:
    hosts = {name: HostSummary({"changed": 12, "ok": 3}) for name in HOSTS}
    for name, address in zip(HOSTS, ADDRESSES, strict=True):
        if name in failed:
            lost = refused(name, address)
            hosts[name] = HostSummary({"failed": 1}, lost.phase, lost.step, lost.failure)
    end = RunEnded(21.5, "ok", 0, 21.5, {"changed": 48, "ok": 12}, hosts, nodes_ready=4, nodes=4)
    counts: dict[State, int] = {"changed": 12, "ok": 3, "failed": len(failed)}
    return replace(end, status="failed", exit_code=4, counts=counts, nodes_ready=None) if failed else end


def plan(tmp_path: Path) -> str:
    stream = Terminal()
    with PlanView(stream, inventory(tmp_path, workers=3)) as view:
        view.handle(replace(STARTED, command="plan", mode="plan"))
        view.handle(step("cp1", "facts", "facts", "ok", "CentOS Stream 9, 4 CPUs, 7.5 GiB"))
        names = ("package-sources", "hostname", "selinux", "firewall", "modules", "pod-network", "time")
        for name in names:
            view.handle(step("cp1", "prepare", name, "ok"))
        diff = (
            "- /dev/vdb1 swap swap defaults,nofail,x-systemd.device-timeout=10 0 0",
            "+ # /dev/vdb1 swap swap defaults",
        )
        view.handle(step("cp1", "prepare", "swap", "change", *diff))
        view.handle(step("cp1", "init", "init", "change", "! reset this host: init failed at wait-control-plane"))
        view.handle(step("cp1", "verify", "nodes", "unknown", "known once the cluster exists"))
        for host, address in zip(HOSTS[1:], ADDRESSES[1:], strict=True):
            view.handle(refused(host, address))
            view.handle(step(host, "prepare", "swap", "skipped"))
        view.handle(Notice(1.0, "warning", WARNING, "cp1"))
        view.handle(RunEnded(2.0, "failed", 4, 2.0, {"change": 2, "ok": 8, "unknown": 1, "failed": 3}, {}))
    return stream.getvalue()


def at_work() -> list[Event]:
    """A long step with output, a short one, a host that waits, one that failed."""
    pull = StepStarted(1.0, "cp1", "images", "images", "Pull the container images")
    return [
        STARTED,
        PhaseStarted(1.0, "cp1", "images", (("cri", "Check"), ("images", "Pull"))),
        StepStarted(1.0, "cp1", "images", "cri", "Check that containerd answers"),
        step("cp1", "images", "cri", "ok"),
        pull,
        StepOutput(2.0, "cp1", "images", "images", "image 3 of 7: registry.k8s.io/kube-scheduler:v1.34.2"),
        step("w1", "packages", "kubernetes", "changed"),
        HostWaits(2.0, "w1", "join", "cp1", "join-token"),
        PhaseStarted(44.0, "w2", "delete-join-token", (("delete-join-token", "Delete"),)),
        StepStarted(44.0, "w2", "delete-join-token", "delete-join-token", "Delete the join token"),
        refused("w3", ADDRESSES[3]),
    ]


def board(_tmp_path: Path) -> str:
    stream = Terminal()
    console = Console(file=stream, force_terminal=True, color_system=None, highlight=False)
    shown = Board(console)
    for event in at_work():
        shown.handle(event)
    console.print(shown.text())
    return stream.getvalue()


def live(tmp_path: Path, *, failed: tuple[str, ...] = ()) -> str:
    """What stays on the screen under the rows."""
    stream = Terminal()
    view = LiveView(stream)
    for event in (STARTED, Notice(1.0, "warning", WARNING, "cp1"), ended(failed=failed)):
        view.handle(event)
    return stream.getvalue()


def well(tmp_path: Path) -> str:
    return live(tmp_path)


def test_next_is_no_kubeconfig_that_kubectl_cannot_use() -> None:
    lines = list(summary_lines(Style(io.StringIO()), STARTED, replace(ended(), kubectl_works=False)))
    assert lines[lines.index("Next:") :] == ["Next:", "  kbootstrap status 'my cluster.yaml'"]


def unwell(tmp_path: Path) -> str:
    return live(tmp_path, failed=("w1", "w2", "w3"))


SCREENS = {"plan": plan, "board": board, "well": well, "unwell": unwell}


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize("name", SCREENS)
def test_screen(
    name: str, width: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, golden: Callable[[str, str], None]
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("LINES", "24")
    monkeypatch.setattr("kbootstrap.ui.live.time.time", lambda: 45.0)
    text = SCREENS[name](tmp_path)
    too_long = [line for line in text.splitlines() if cells(line) > width and len(line.split()) > 1]
    assert too_long == [], "a path may be longer than the screen, and nothing else"
    golden(f"screen-{name}-{width}.txt", text)


def test_lines_have_a_sign_of_life() -> None:
    stream = io.StringIO()
    with LinesView(stream) as view:
        view.handle(STARTED)
        view.handle(StepRunning(1.0, "cp1", "images", "images", 10.2, "image 3 of 7"))
    assert "cp1 images.images has run for 10 s: image 3 of 7\n" in stream.getvalue()
