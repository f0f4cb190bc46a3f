"""The events made from a host's reports, and the limits for a host that breaks the protocol."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from kbootstrap.errors import Failure, KbootstrapError
from kbootstrap.events import Event, Notice, PhaseEnded, StepEnded, StepOutput
from kbootstrap.phases.outputs import PhaseOutput
from kbootstrap.redact import Redactor
from kbootstrap.remote.protocol import Status
from kbootstrap.remote.script import Output, Report, build
from kbootstrap.remote.session import BrokenError, Item, LostError
from kbootstrap.run.phase_run import MAX_LINES, PhaseRun
from kbootstrap.run.redaction import MAX_TEXT, clean_event
from kbootstrap.run.scheduler import Update
from kbootstrap.secret import Secret
from kbootstrap.steps import Mode, State, Step

SWAP = Step("swap", "Turn swap off", "prepare/swap.sh", why="", timeout=30, retries=1, outputs=("join",))
TIME = Step("time", "Set the clock", "prepare/time.sh", why="")


class Replay:
    """A session that replays a host's output. The inline checks end before the first step that is applied."""

    def __init__(self, items: list[Item], status: int | KbootstrapError = 0) -> None:
        applies = (n for n, item in enumerate(items) if n and isinstance(item, Report) and item.word == "apply")
        self.checked = next(applies, len(items))
        self.items = items
        self.status = status
        self.breaks = False
        self.asked: list[str] = []
        self.scripts: list[str] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def run_inline(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        self._ask("inline", script, self.items[: self.checked], on_item)
        if self.breaks:
            raise BrokenError("h1", "reset")
        return Status.TO_DO if self.checked < len(self.items) else self._end()

    def reconnect(self, why: str) -> None:
        self.asked.append(f"reconnect: {why}")

    def run_detached(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        self._ask("detached", script, self.items[self.checked :], on_item)
        return self._end()

    def _ask(self, what: str, script: str, items: list[Item], on_item: Callable[[Item], None]) -> None:
        self.asked.append(what)
        self.scripts.append(script)
        for item in items:
            on_item(item)

    def _end(self) -> int:
        if isinstance(self.status, KbootstrapError):
            raise self.status
        return self.status


class Posts:
    """Collects what a phase posts, masked as in a run. ``outputs`` has the accepted outputs."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.outputs: dict[str, str] = {}
        self._redactor = Redactor([Secret("hunter2")])

    def post(self, item: Event | Update) -> None:
        if isinstance(item, Event):
            self.events.append(clean_event(self._redactor, item))
        else:
            item()

    def run(self, session: Replay, mode: Mode) -> bool:
        def keep(output: PhaseOutput) -> None:
            self.outputs[output.name] = str(output.value)

        run = PhaseRun("prepare", "h1", [SWAP, TIME], partial(build, family="el"), PhaseOutput, keep)
        return run.work(session, mode, self.post)  # type: ignore[arg-type] # a stand-in for Session

    @property
    def ended(self) -> list[StepEnded]:
        return [event for event in self.events if isinstance(event, StepEnded)]


def play(
    items: list[Item], status: int | KbootstrapError = 0, mode: Mode = "apply"
) -> tuple[bool, list[StepEnded], list[Event], dict[str, str]]:
    posts, session = Posts(), Replay(items, status)
    ok = posts.run(session, mode)
    assert session.asked == (["inline"] if session.checked == len(items) else ["inline", "detached"])
    assert session.closed is any("rc files" in text or "gone" in text for text in hints(posts.events))
    return ok, posts.ended, posts.events, posts.outputs


def hints(events: list[Event]) -> list[str]:
    failures = [event.failure for event in events if isinstance(event, StepEnded) and event.failure]
    return [failure.message + failure.hint for failure in failures]


def report(text: str) -> Report:
    word, *args = text.split(" ")
    return Report(word, tuple(args))


def ok_step(name: str) -> Iterator[Item]:
    yield report(f"begin {name}")
    yield report(f"end {name} ok")


def states(ended: list[StepEnded]) -> list[State]:
    return [event.state for event in ended]


def test_changed_steps_carry_their_diff() -> None:
    said: list[Report | Output] = [
        report("begin swap"),
        Output("swap is on: /dev/sda2 hunter2"),
        report("apply swap"),
        report("command swapoff -a"),
        Output("done"),
        report("verify swap"),
        report("end swap changed"),
        *ok_step("time"),
    ]
    ok, ended, events, _ = play(said)
    assert ok
    assert states(ended) == ["changed", "ok"]
    assert ended[0].diff == ("swap is on: /dev/sda2 ***",)
    assert [e.line for e in events if isinstance(e, StepOutput)] == ["swap is on: /dev/sda2 ***", "done"]
    assert isinstance(events[-1], PhaseEnded)


def test_a_failed_step_says_everything_and_the_rest_is_skipped() -> None:
    said: list[Report | Output] = [
        report("begin swap"),
        report("apply swap"),
        report("command swapoff -a --password hunter2"),
        Output("swapoff: cannot allocate memory"),
        report("hint free some memory"),
        report("end swap failed 255"),
    ]
    ok, ended, _, _ = play(said, status=1)
    assert not ok
    assert states(ended) == ["failed", "skipped"]
    assert ended[0].failure == Failure(
        message="exit status 255",
        command="swapoff -a --password ***",
        exit_status=255,
        output=("swapoff: cannot allocate memory",),
        hint="free some memory",
    )


def test_a_change_that_did_not_take_is_a_failure() -> None:
    said: list[Report | Output] = [
        report("begin swap"),
        report("apply swap"),
        report("verify swap"),
        Output("swap is on: /dev/sda2"),
        report("end swap unverified 1"),
    ]
    _, ended, _, _ = play(said, status=1)
    assert ended[0].failure is not None
    assert "applied, but the check still fails: swap is on: /dev/sda2" in ended[0].failure.message


CALL = re.compile(r"^(kb_begin|kb_step|kb_change) '(\w+)'", re.M)


def scripts_of(said: list[Item], checked: int, breaks: bool, mode: Mode = "apply") -> tuple[Replay, list[StepEnded]]:
    posts, session = Posts(), Replay(said)
    session.checked, session.breaks = checked, breaks
    posts.run(session, mode)
    return session, posts.ended


def test_what_the_inline_checks_found_is_not_checked_again() -> None:
    """The second script begins with the step that does not hold, and applies it at once."""
    said = [
        *ok_step("swap"),
        report("begin time"),
        report("begin time"),
        report("apply time"),
        report("end time changed"),
    ]
    session, ended = scripts_of(said, 3, breaks=False)
    assert states(ended) == ["ok", "changed"]
    first, second = (CALL.findall(script) for script in session.scripts)
    assert first == [("kb_begin", "swap"), ("kb_step", "swap"), ("kb_step", "time")]
    assert second == [("kb_begin", "time"), ("kb_change", "time")]


@pytest.mark.parametrize("heard", [0, 1, 2, 3])
def test_checks_that_break_are_repeated_by_the_script(heard: int) -> None:
    said = [*ok_step("swap"), report("begin time"), *(ok_step("swap") if heard < 2 else ()), *ok_step("time")]
    session, ended = scripts_of([*said[:heard], *said[3:]], heard, breaks=True)
    assert states(ended) == ["ok", "ok"]
    assert session.asked == ["inline", "reconnect: reset", "detached"]
    left = ["swap", "time"] if heard < 2 else ["time"]
    assert CALL.findall(session.scripts[1]) == [("kb_begin", left[0]), *(("kb_step", name) for name in left)]


def test_checks_that_break_after_the_last_step_are_done() -> None:
    session, ended = scripts_of([*ok_step("swap"), *ok_step("time")], 4, breaks=True)
    assert states(ended) == ["ok", "ok"]
    assert session.asked == ["inline", "reconnect: reset"]


def test_a_plan_that_breaks_fails() -> None:
    session, ended = scripts_of(list(ok_step("swap")), 2, breaks=True, mode="plan")
    assert states(ended) == ["ok", "failed"]
    assert session.asked == ["inline"]


def test_plan_states() -> None:
    said: list[Report | Output] = [
        report("begin swap"),
        Output("x"),
        report("end swap change"),
        report("begin time"),
        report("end time unknown"),
    ]
    ok, ended, _, _ = play(said, mode="plan")
    assert ok
    assert states(ended) == ["change", "unknown"]


def test_a_stop_skips_the_rest() -> None:
    ok, ended, _, _ = play(list(ok_step("swap")), status=75)
    assert not ok
    assert states(ended) == ["ok", "skipped"]


def test_a_lost_host_fails_the_running_step() -> None:
    ok, ended, _, _ = play([report("begin swap"), report("apply swap")], status=LostError("h1: gone", "reboot it"))
    assert not ok
    assert states(ended) == ["failed", "skipped"]
    assert ended[0].failure == Failure("h1: gone", hint="reboot it")


def test_an_overdue_step_names_its_limit() -> None:
    _, ended, _, _ = play([report("begin swap"), report("apply swap"), report("command sleep 99")], status=124)
    assert ended[0].failure is not None
    assert ended[0].failure.message == "timed out after 30 s"
    assert ended[0].failure.command == "sleep 99"


def test_an_output_is_kept_once_it_is_accepted() -> None:
    _, _, _, outputs = play(
        [report("begin swap"), report("value join aGVsbG8="), report("end swap ok"), *ok_step("time")]
    )
    assert outputs == {"join": "hello"}


LIES = [
    "begin other",
    "begin",
    "end swap ok",
    "apply swap",
    "verify swap",
    "retry swap 2",
    "value join aGVsbG8=",
    "rubbish",
    "begin\u00e9",
    "__class__",
    "handle",
]
IN_A_STEP = [
    "begin time",
    "end swap",
    "end time ok",
    "end swap great",
    "end swap change",
    "end swap failed \u00b2",
    "end swap failed 1234",
    "end swap failed -1",
    "verify swap",
    "retry swap 2",
    "value join !!!",
    "value join /w==",
    "value join",
    "value kubeconfig aGVsbG8=",
    "value",
]


@pytest.mark.parametrize("lie", [[lie] for lie in LIES] + [["begin swap", lie] for lie in IN_A_STEP])
def test_a_host_that_breaks_the_protocol_fails_and_is_disconnected(lie: list[str]) -> None:
    ok, ended, _, outputs = play([report(text) for text in lie])
    assert not ok
    assert states(ended) == ["failed", "skipped"]
    assert ended[0].failure is not None
    assert ended[0].failure.message.startswith("h1 ")
    assert outputs == {}


def test_no_stage_comes_twice_because_each_has_a_deadline_of_its_own() -> None:
    for stages in (["apply", "apply"], ["apply", "verify", "verify"], ["apply", "retry", "retry"]):
        ok, ended, _, _ = play([report("begin swap"), *(report(f"{stage} swap 2") for stage in stages)])
        assert not ok
        assert states(ended) == ["failed", "skipped"]


def test_a_flood_of_lines_costs_no_memory_and_ends() -> None:
    said: list[Item] = [report("begin swap"), *[Output("x")] * (MAX_LINES + 1)]
    ok, ended, events, _ = play(said)
    assert not ok
    assert ended[0].failure is not None
    assert "more than 200000 lines" in ended[0].failure.message
    assert len(events) < 25_000
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "prepare.swap prints more than 2 MiB: the rest is not shown"
    ]


def test_a_warning_of_a_check_that_runs_again_is_said_once() -> None:
    said = [
        "begin swap",
        "warning odd",
        "apply swap",
        "verify swap",
        "warning odd",
        "warning other",
        "end swap changed",
    ]
    ok, _, events, _ = play([report(text) for text in [*said, "begin time", "end time ok"]])
    assert ok
    assert [event.text for event in events if isinstance(event, Notice)] == ["odd", "other"]


def test_a_flood_of_warnings_ends() -> None:
    ok, _, events, _ = play([report("begin swap"), *[report(f"warning x{number}") for number in range(200)]])
    assert not ok
    assert sum(isinstance(event, Notice) for event in events) == 30


def test_long_lines_are_cut_after_they_were_masked() -> None:
    """A secret at the end of the shown part would not be recognised after the cut."""
    line = "x" * (MAX_TEXT - 4) + "hunter2" + "y" * 5000
    said: list[Item] = [report("begin swap"), Output(line), Report("command", (line,)), Report("hint", (line,))]
    _, ended, events, _ = play([*said, report("apply swap"), report("end swap failed 1")], status=1)
    (shown,) = [event.line for event in events if isinstance(event, StepOutput)]
    assert ended[0].failure is not None
    for text in (shown, ended[0].failure.command, ended[0].failure.hint):
        assert len(text) == MAX_TEXT
        assert "hu" not in text
