"""The views: the output of a run for people and for programs."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from support.examples import inventory
from support.local_transport import LocalTransport

from kbootstrap.errors import Failure, StepError
from kbootstrap.events import (
    Event,
    HostSummary,
    Notice,
    RunEnded,
    RunStarted,
    StepEnded,
    StepOutput,
    StepRunning,
    StepStarted,
)
from kbootstrap.inventory.models import Host
from kbootstrap.phases.preflight.finding import Finding
from kbootstrap.remote.session import Session
from kbootstrap.run import check, up
from kbootstrap.run.engine import Engine
from kbootstrap.run.hosts import Hosts
from kbootstrap.run.options import Options
from kbootstrap.run.run import _raise_all
from kbootstrap.run.scheduler import Post, Task
from kbootstrap.run.state import StepCounts
from kbootstrap.secret import Secret
from kbootstrap.steps import State
from kbootstrap.ui import CompositeView, Style, choose_view
from kbootstrap.ui.jsonlines import JsonView
from kbootstrap.ui.lines import LinesView
from kbootstrap.ui.live import Board, LiveView, Progress
from kbootstrap.ui.plan import PlanView
from kbootstrap.ui.summary import Failed, failure_lines, grouped

HOSTS = ("cp1", "w1", "w2")
ADDRESSES = ("10.0.0.1", "10.0.0.2", "10.0.0.3")
FAILURE = Failure(
    "exit status 1", "swapoff -a", 1, (*(f"line {n}" for n in range(40)), "no memory"), "free some memory"
)


def ended(host: str, step: str, state: State, *diff: str, failure: Failure | None = None) -> StepEnded:
    return StepEnded(2.0, host, "prepare", step, f"Title of {step}", state, 1.5, diff, failure)


def run(*steps: StepEnded | Notice | StepOutput, mode: str = "apply", failed: bool = False) -> list[Event]:
    """The output of a run with these events."""
    counts: dict[State, int] = {}
    for step in steps:
        if isinstance(step, StepEnded):
            counts[step.state] = counts.get(step.state, 0) + 1
    hosts = {name: HostSummary(counts={"ok": 1}) for name in HOSTS}
    if failed:
        hosts["w1"] = HostSummary(counts={"failed": 1}, failed_phase="prepare", failed_step="swap", failure=FAILURE)
    command = "plan" if mode == "plan" else "up"
    start = RunStarted(
        1.0, "run-1", command, "plan" if mode == "plan" else "apply", "demo", HOSTS, "/tmp/log", "demo.yaml", ADDRESSES,
        "Kubernetes 1.34, containerd, Flannel",
    )  # fmt: skip
    return [start, *steps, RunEnded(3.0, "failed" if failed else "ok", int(failed), 2.0, counts, hosts)]


def shown(view: object, events: list[Event], stream: io.StringIO) -> str:
    with view:  # type: ignore[attr-defined]
        for event in events:
            view.handle(event)  # type: ignore[attr-defined]
    return stream.getvalue()


def plan_text(tmp_path: Path, events: list[Event], *, verbose: bool = False) -> str:
    stream = io.StringIO()
    return shown(PlanView(stream, inventory(tmp_path, workers=2), verbose=verbose), events, stream)


def test_a_plan_shows_differences_and_folds_hosts_that_are_alike(tmp_path: Path) -> None:
    steps = [ended("cp1", "swap", "change", "- on", "+ off"), ended("cp1", "time", "ok")]
    steps += [ended(host, "swap", "change", "- on") for host in ("w1", "w2")]
    text = plan_text(tmp_path, run(*steps, mode="plan"))
    assert "Plan for test: 3 hosts, Kubernetes 1.34, containerd, Flannel" in text
    assert "~ Title of swap" in text
    assert "= time" in text
    assert "w1 w2  2 workers, same 1 change" in text
    assert "Plan: 3 to change, 1 already right." in text


@pytest.mark.parametrize(
    ("systems", "said"),
    [
        (("CentOS 9", "CentOS 9"), "nothing to change  CentOS 9"),
        (("CentOS 9", "Debian 12"), "nothing to change  2 kinds of hosts"),
    ],
)
def test_a_group_is_not_described_by_its_first_host(tmp_path: Path, systems: tuple[str, str], said: str) -> None:
    steps = [
        StepEnded(2.0, host, "facts", "facts", "Look at the host", "ok", 0.1, diff=(system,))
        for host, system in zip(("w1", "w2"), systems, strict=True)
    ]
    text = plan_text(tmp_path, run(*steps, mode="plan"))
    assert f"w1 w2  2 workers, {said}\n" in text


def test_long_differences_are_cut_unless_asked_for(tmp_path: Path) -> None:
    events = run(ended("cp1", "swap", "change", *[f"+ line {n}" for n in range(20)]), mode="plan")
    assert "... 14 more lines (-v shows them)" in plan_text(tmp_path, events)
    assert "+ line 19" in plan_text(tmp_path, events, verbose=True)


def test_a_plan_shows_the_failed_requirements(tmp_path: Path) -> None:
    events = run(ended("w1", "swap", "failed", failure=FAILURE), Notice(1, "warning", "old disk", "w2"), mode="plan")
    text = plan_text(tmp_path, events)
    assert "✗ Title of swap: exit status 1" in text
    assert "hint     free some memory" in text
    assert "! w2: old disk" in text
    assert "1 problem" in text


def test_hosts_that_wait_for_a_failed_one_take_a_line(tmp_path: Path) -> None:
    steps = [ended("cp1", "swap", "failed", failure=FAILURE), ended("cp1", "time", "skipped")]
    steps += [
        StepEnded(2.0, host, phase, "x", "X", "skipped", 0.0)
        for phase in ("prepare", "runtime", "join")
        for host in ("w1", "w2")
    ]
    text = plan_text(tmp_path, run(*steps, mode="plan"))
    assert text.count("not checked:") == 2
    assert "  not checked: time\n" in text
    assert "    not checked: prepare, runtime, join\n" in text
    assert "w1 w2  2 workers, not fully checked\n" in text


def test_several_requirements_take_a_line_each_with_its_hint(tmp_path: Path) -> None:
    found = [Finding("w1", "error", f"wrong {n}", f"mend {n}") for n in (1, 2)]
    with pytest.raises(StepError) as many:
        _raise_all(found)
    failure = many.value.failure
    text = plan_text(tmp_path, run(ended("w1", "requirements", "failed", failure=failure), mode="plan"))
    assert [line.strip() for line in text.splitlines() if "wrong" in line or "mend" in line] == [
        "found    wrong 1 - mend 1",
        "wrong 2 - mend 2",
    ]
    assert "2 requirements are not met" in text


def test_a_single_requirement_is_shown_once(tmp_path: Path) -> None:
    with pytest.raises(StepError) as one:
        _raise_all([Finding("w1", "error", "too small", "Add memory.")])
    events = run(ended("w1", "requirements", "failed", failure=one.value.failure), mode="plan")
    text = plan_text(tmp_path, events)
    assert text.count("too small") == text.count("Add memory.") == 1


def test_a_host_that_does_not_meet_the_requirements_or_its_inventory_is_to_be_mended() -> None:
    def next_step(phase: str, hosts: int = 1) -> str:
        stream = io.StringIO()
        start, end = run(failed=True)
        assert isinstance(end, RunEnded)
        unfit = HostSummary(counts={"failed": 1}, failed_phase=phase, failed_step="x", failure=FAILURE)
        failed = {f"cp{number}": unfit for number in range(1, hosts + 1)}
        text = shown(LinesView(stream), [start, replace(end, hosts=failed)], stream)
        return next(line for line in text.splitlines() if line.startswith("Fix"))

    assert next_step("preflight").startswith("Fix cp1, or the inventory, and run the same command again")
    assert next_step("prepare").startswith("Fix cp1 and run the same command again")
    assert next_step("prepare", hosts=500).startswith("Fix these 500 hosts and run the same command again")


def test_one_host_is_not_many() -> None:
    stream = io.StringIO()
    start, end = run()
    assert isinstance(start, RunStarted)
    assert isinstance(end, RunEnded)
    events: list[Event] = [replace(start, hosts=("cp1",)), replace(end, hosts={"cp1": HostSummary(counts={"ok": 1})})]
    text = shown(LinesView(stream), events, stream)
    assert "up of demo: 1 host, Kubernetes 1.34, containerd, Flannel\n" in text
    assert "Done in 2.0 s: 1 host." in text


def test_lines_name_what_changed_and_how_to_go_on() -> None:
    stream = io.StringIO()
    events = run(
        ended("cp1", "time", "ok"),
        ended("cp1", "swap", "changed"),
        ended("w1", "swap", "failed", failure=FAILURE),
        failed=True,
    )
    text = shown(LinesView(stream), events, stream)
    assert "cp1 prepare.swap changed (1.5 s) Title of swap" in text
    assert "prepare.time" not in text
    for part in (
        "w1: prepare.swap failed: exit status 1",
        "command  swapoff -a  (exit status 1)",
        "no memory",
        "hint     free some memory",
        "The full log of this run: /tmp/log",
        "1 of 3 hosts failed",
        "Fix w1 and run the same command again",
    ):
        assert part in text
    assert "line 3\n" not in text, "only the last lines"


def test_json_lines_have_their_shape() -> None:
    stream = io.StringIO()
    events = run(ended("w1", "swap", "failed", failure=FAILURE), failed=True)
    events.insert(1, StepStarted(1.0, "w1", "prepare", "swap", "Turn swap off"))
    text = shown(JsonView(stream), events, stream)
    first, started, step, last = (json.loads(line) for line in text.splitlines())
    assert (first["type"], first["version"]) == ("run", 1)
    assert started == {
        "type": "step-started", "host": "w1", "phase": "prepare", "step": "swap", "title": "Turn swap off", "time": 1.0
    }  # fmt: skip
    assert (step["host"], step["phase"], step["step"], step["state"]) == ("w1", "prepare", "swap", "failed")
    assert last["status"] == "failed"
    assert last["hosts"]["w1"]["failure"]["command"] == "swapoff -a"
    assert {"changed", "ok", "failed", "skipped", "unknown", "seconds"} <= set(last)


def test_failures_that_differ_in_the_name_alone_are_one() -> None:
    def lost(host: str, address: str, words: str = "timed out") -> HostSummary:
        failure = Failure(f"{host}: {address}:22 {words}", hint=f"Is {host}-2 up? See {host}.")
        return HostSummary({}, "connect", "ssh", failure)

    failures = {"w1": lost("w1", "10.0.0.1"), "w2": lost("w2", "10.0.0.2"), "w3": lost("w3", "10.0.0.3", "refused")}
    addresses = {"w1": "10.0.0.1", "w2": "10.0.0.2", "w3": "10.0.0.3"}
    groups = grouped(failures, addresses)
    assert [group.hosts for group in groups] == [("w1",), ("w2",), ("w3",)], "w1-2 is another host's name"
    alike = {name: replace(each, failure=replace(each.failure or FAILURE, hint="")) for name, each in failures.items()}
    first, second = grouped(alike, addresses)
    assert (first.hosts, first.failure.message) == (("w1", "w2"), "<address>:22 timed out")
    assert (second.hosts, second.failure.message) == (("w3",), "w3: 10.0.0.3:22 refused")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


def test_the_view_fits_the_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    assert isinstance(choose_view("auto", stream=io.StringIO()), LinesView)
    assert isinstance(choose_view("auto", stream=Terminal()), LiveView)
    assert isinstance(choose_view("json", stream=Terminal()), JsonView)
    monkeypatch.setenv("TERM", "dumb")
    assert isinstance(choose_view("auto", stream=Terminal()), LinesView)


def test_colours_only_on_a_terminal_that_wants_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert Style(Terminal()).red("x") == "\033[31mx\033[0m"
    assert Style(io.StringIO()).red("x") == "x"
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert Style(io.StringIO()).red("x") == "\033[31mx\033[0m"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Style(Terminal()).red("x") == "x"


def test_the_live_view_keeps_failures_and_the_summary(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    events = run(ended("w1", "swap", "failed", failure=FAILURE), failed=True)
    events.insert(1, StepStarted(1.0, "w1", "prepare", "swap", "Turn swap off"))
    text = shown(LiveView(stream), events, stream)
    assert "w1" in text
    assert "exit status 1" in text
    assert "free some memory" in text


def test_the_live_view_shows_everything_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    stream = Terminal()
    events = run(StepOutput(1.0, "w1", "prepare", "swap", "a line"), ended("w1", "swap", "changed", "- on"))
    text = shown(LiveView(stream, verbose=True), events, stream)
    for part in ("w1 prepare.swap | a line", "w1 prepare.swap changed (1.5 s) Title of swap", "w1 prepare.swap - on"):
        assert part in text


def test_every_host_of_a_failure_is_named() -> None:
    hosts = {f"w{number}": HostSummary({}, "prepare", "swap", FAILURE) for number in range(1, 13)}
    (group,) = grouped(hosts, {})
    first, *_ = failure_lines(Style(io.StringIO()), group)
    assert [f"w{number}" for number in range(1, 13)] == first.partition(":")[0].split()[1:]


def test_a_long_step_gives_a_sign_of_life_every_ten_seconds() -> None:
    counts = StepCounts(["w1"])
    counts.handle(StepStarted(100.0, "w1", "images", "images", "Pull"))
    counts.handle(StepOutput(105.0, "w1", "images", "images", "image 3 of 7"))
    assert counts.signs_of_life(109.0) == []
    assert counts.signs_of_life(110.0) == [StepRunning(110.0, "w1", "images", "images", 10.0, "image 3 of 7")]
    assert counts.signs_of_life(119.0) == []
    assert [sign.seconds for sign in counts.signs_of_life(120.0)] == [20.0]
    counts.handle(replace(ended("w1", "images", "changed"), phase="images"))
    assert counts.signs_of_life(200.0) == []


def interrupted(*steps: StepEnded) -> list[Event]:
    *before, end = run(*steps)
    assert isinstance(end, RunEnded)
    return [*before, replace(end, status="interrupted", exit_code=130)]


@pytest.mark.parametrize(("stopped", "word"), [(True, "stopped"), (False, "not finished")])
def test_a_host_with_skipped_steps_is_not_done(monkeypatch: pytest.MonkeyPatch, stopped: bool, word: str) -> None:
    monkeypatch.setenv("TERM", "xterm")
    board = Board(Console(file=Terminal()))
    steps = [ended("cp1", "swap", "changed"), ended("w1", "swap", "changed"), ended("w1", "time", "skipped")]
    for event in interrupted(*steps) if stopped else run(*steps):
        board.handle(event)
    assert [(row.mark.plain, row.doing) for row in board.rows.values()] == [("✓", "done"), ("!", word), ("✓", "done")]


def test_what_hosts_are_doing_is_shown_until_the_plan_is_complete(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    out, err = io.StringIO(), Terminal()
    start, *rest = run(ended("cp1", "swap", "change", "- on", "+ off"), mode="plan")
    with CompositeView(Progress(err), PlanView(out, inventory(tmp_path, workers=2))) as view:
        view.handle(start)
        view.handle(StepStarted(1.0, "w2", "facts", "facts", "Gather facts"))
        assert out.getvalue() == ""
        wait_for(lambda: "Gather facts" in err.getvalue())
        for event in rest:
            view.handle(event)
    assert "~ Title of swap" in out.getvalue()
    assert err.getvalue().endswith("\x1b[2K"), "nothing of it stays on the screen"


def test_leaving_at_once_says_which_steps_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begun = StepStarted(1.0, "w1", "runtime", "containerd", "Install containerd")

    def interrupted_run(engine: Engine, *_arguments: object) -> None:
        engine.emit(ended("cp1", "swap", "changed"))
        engine.emit(begun)
        engine.emit(replace(begun, host="cp1"))
        raise KeyboardInterrupt

    checks, works = (Session("x", LocalTransport(), mode="apply", run_id="1", owner="ann") for _ in range(2))
    works._detached = True

    def opened(hosts: Hosts, host: Host, post: Post) -> Task:
        hosts.sessions.update(cp1=checks, w1=works)
        return Task(("connect", host.name), lambda: lambda _post: True)

    monkeypatch.setattr(Hosts, "open_task", opened)
    monkeypatch.setattr(Engine, "run", interrupted_run)
    events: list[Event] = []
    with pytest.raises(KeyboardInterrupt):
        up(inventory(tmp_path), view=events.append)
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "these steps are still running: runtime.containerd on w1. The next run waits for them."
    ]


def test_blank_lines_of_a_failure_are_not_counted_as_left_out() -> None:
    failure = Failure("exit status 1", "apt-get update", 1, ("first", "", "second", ""))
    lines = list(failure_lines(Style(io.StringIO()), Failed(("w1",), "prepare", "swap", failure)))
    assert [line.split() for line in lines[2:]] == [["output", "first"], ["second"]]


READY = "printf '%s ready\\n' \"$mark\"; read -r request; "
HOSTILE = {
    "refuses the login": "printf 'go away \\033]0;evil\\007 hunter22\\n'; exit 1",
    "says it is busy": "printf '%s busy \\033]0;evil\\007 hunter22\\n' \"$mark\"",
    "breaks off while facts are gathered": READY + "printf '\\033[2J hunter22\\n%s done 3\\n' \"$mark\"",
    "ends with a word": READY + "printf '%s done \\033[2Jx\\n' \"$mark\"",
    "ends with nothing": READY + "printf '%s done\\n' \"$mark\"",
}
"""What a host can answer instead of what the launcher would; the operator's sudo password is hunter22."""


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("output", ["lines", "json"])
def test_no_host_controls_the_terminal_or_shows_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, output: str, answer: str
) -> None:
    def connect(_host: object, _shared: object) -> LocalTransport:
        until_quit = 'while read -r line && [ "$line" != quit ]; do :; done'
        return LocalTransport(("sh", "-c", f'read -r mark size; head -c "$size" >/dev/null; {answer}; {until_quit}'))

    monkeypatch.setattr("kbootstrap.run.hosts.SshTransport", connect)
    made = inventory(tmp_path, lambda data: data.update(ssh={"sudo": "none"}), workers=0)
    stream = io.StringIO()
    with choose_view(output, verbose=True, stream=stream) as view:
        done = check(made, options=Options(sudo_password=Secret("hunter22")), view=view.handle)
    assert done.status == "failed"
    assert done.hosts["cp1"].failure is not None
    text = stream.getvalue().replace("\\u001b", "\x1b")
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "hunter22" not in text
