"""The engine's rules: what runs when, what a failure stops, and how reports become events."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from kbootstrap.engine import MAX_LINES, MAX_TEXT, Emit, Key, PhaseRun, Scheduler, Task
from kbootstrap.errors import Failure, KbootstrapError
from kbootstrap.events import Event, Notice, PhaseEnded, StepEnded, StepOutput
from kbootstrap.phases.phase import Phase
from kbootstrap.secret import Secret
from kbootstrap.steps import Mode, State, Step
from kbootstrap.remote.script import Output, Report
from kbootstrap.remote.session import TO_DO, BrokenError, Item, LostError


class Log:
    """Remembers the order in which tasks began and ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def task(
        self,
        name: str,
        *needs: str,
        after: tuple[str, ...] = (),
        ok: bool = True,
        wait: threading.Event | None = None,
    ) -> Task:
        def work(_emit: Emit) -> bool:
            with self._lock:
                self.lines.append(f"+{name}")
                self._now += 1
                self.most_at_once = max(self.most_at_once, self._now)
            if wait is not None:
                assert wait.wait(10)
            with self._lock:
                self.lines.append(f"-{name}")
                self._now -= 1
            return ok

        return Task(
            key(name),
            start=lambda: work,
            skip=lambda: self.lines.append(f"skip {name}"),
            needs=tuple(map(key, needs)),
            after=tuple(map(key, after)),
        )


def key(name: str) -> Key:
    phase, _, host = name.partition("@")
    return phase, host


def test_a_worker_goes_on_while_the_master_initialises() -> None:
    log, slow = Log(), threading.Event()
    prepared = log.task("prepare@w")

    def let_init_go_on(_emit: Emit) -> bool:
        slow.set()
        return True

    tasks = [
        log.task("init@m", wait=slow),
        prepared,
        Task(key("images@w"), start=lambda: let_init_go_on, skip=lambda: None, needs=(prepared.key,)),
        log.task("join@w", "init@m", "images@w"),
    ]
    ended = Scheduler(lambda _event: None, 8).run(tasks)
    assert all(ended.values())
    assert log.lines.index("-prepare@w") < log.lines.index("-init@m") < log.lines.index("+join@w")


def test_the_critical_path_is_the_chain_that_decided_how_long_it_took() -> None:
    """The join waits for init and for its own host; only the one that ended last counts."""
    log, slow = Log(), threading.Event()
    slow_init = log.task("init@m", wait=slow)

    def prepared(_emit: Emit) -> bool:
        threading.Timer(0.2, slow.set).start()
        return True

    scheduler = Scheduler(lambda _event: None, 8)
    scheduler.run([log.task("connect@m")])
    scheduler.run(
        [
            slow_init,
            Task(key("prepare@w"), start=lambda: prepared, skip=lambda: None),
            log.task("join@w", "init@m", "prepare@w"),
            log.task("join@w2", ok=False),
            log.task("verify@m", "init@m", after=("join@w", "join@w2")),
        ]
    )
    assert [(part.phase, part.host) for part in scheduler.path] == [
        ("connect", "m"),
        ("init", "m"),
        ("join", "w"),
        ("verify", "m"),
    ]
    assert 0.1 < scheduler.path[1].seconds < 10


def test_a_failure_stops_what_needs_it_and_nothing_else() -> None:
    log = Log()
    tasks = [
        log.task("init@m", ok=False),
        log.task("join@w", "init@m"),
        log.task("verify@w", "join@w"),
        log.task("tidy@m", after=("join@w",)),
        log.task("prepare@w2"),
    ]
    ended = Scheduler(lambda _event: None, 8).run(tasks)
    assert [name for name in log.lines if name.startswith("skip")] == ["skip join@w", "skip verify@w"]
    assert ended[key("tidy@m")]
    assert ended[key("prepare@w2")]
    assert not ended[key("join@w")]


def test_parallelism_is_bounded() -> None:
    log, together = Log(), threading.Barrier(3)

    def work(_emit: Emit) -> bool:
        together.wait(10)
        return True

    tasks = [Task(key(f"p@h{n}"), start=lambda: work, skip=lambda: None) for n in range(9)]
    assert all(Scheduler(lambda _event: None, 3).run(tasks).values())
    bounded = [log.task(f"q@h{n}") for n in range(9)]
    Scheduler(lambda _event: None, 2).run(bounded)
    assert log.most_at_once <= 2


def test_ready_tasks_start_in_the_order_they_were_given() -> None:
    log = Log()
    tasks = [log.task("b@1", "a@1"), log.task("a@1"), log.task("a@2"), log.task("b@2", "a@2"), log.task("c@1", "b@1")]
    Scheduler(lambda _event: None, 1).run(tasks)
    assert [line[1:] for line in log.lines if line[0] == "+"] == ["a@1", "b@1", "a@2", "b@2", "c@1"]


def test_an_event_costs_nothing_per_waiting_task() -> None:
    class Needs(tuple[Key, ...]):
        reads = 0

        def __iter__(self) -> Iterator[Key]:
            Needs.reads += 1
            return super().__iter__()

        def __add__(self, other: object) -> Needs:
            Needs.reads += 1
            return self

    seen: list[Event] = []
    taken = threading.Semaphore(0)

    def take(event: Event) -> None:
        seen.append(event)
        taken.release()

    def talk(emit: Emit) -> bool:
        for number in range(100):
            emit(Notice(number, "info", "one at a time"))
            assert taken.acquire(timeout=10)
        return True

    talking = Task(key("talk@h"), lambda: talk, lambda: None)
    log = Log()
    waiting = [replace(log.task(f"w{n}@h"), needs=Needs([talking.key])) for n in range(50)]
    Scheduler(take, 1).run([talking, *waiting])
    assert len(seen) == 100
    assert Needs.reads <= 4 * len(waiting)


def test_tasks_that_wait_for_each_other_are_a_bug_and_no_hang() -> None:
    log = Log()
    with pytest.raises(RuntimeError, match="wait for each other"):
        Scheduler(lambda _event: None, 1).run([log.task("a@h", "b@h"), log.task("b@h", "a@h"), log.task("c@h")])


def test_stop_skips_what_has_not_begun_and_tells_what_runs() -> None:
    log, running = Log(), threading.Event()
    events: list[Event] = []
    scheduler = Scheduler(events.append, 8, on_stop=running.set)

    def begin(_emit: Emit) -> bool:
        scheduler.stop.set()
        return running.wait(10)

    tasks = [Task(key("a@h"), lambda: begin, lambda: None), log.task("b@h", "a@h")]
    ended = scheduler.run(tasks)
    assert ended == {key("a@h"): True, key("b@h"): False}
    assert log.lines == ["skip b@h"]
    scheduler.run([log.task("c@h")])
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "stopping after the running steps ... (Ctrl-C again to leave at once)"
    ], "a run has several rounds and says it once"


def test_an_error_in_a_task_is_a_notice_and_a_failure() -> None:
    def broken(_emit: Emit) -> bool:
        raise KbootstrapError("no such thing", "do that")

    events: list[Event] = []
    ended = Scheduler(events.append, 1).run([Task(key("a@h"), lambda: broken, lambda: None)])
    assert ended == {key("a@h"): False}
    assert [event.text for event in events if isinstance(event, Notice)] == ["no such thing\ndo that"]


# --- reports to events -----------------------------------------------------------------------------------------------

SWAP = Step("swap", "Turn swap off", "prepare/swap.sh", why="", timeout=30, retries=1, gives=("join",))
TIME = Step("time", "Set the clock", "prepare/time.sh", why="")
PHASE = Phase("prepare", "Prepare", "", hosts=lambda inventory: [], steps=lambda context, host: [])


class Replay:
    """A session that plays back what a host said: a look ends before the first step that is applied."""

    def __init__(self, items: list[Item], status: int | KbootstrapError = 0) -> None:
        applies = (n for n, item in enumerate(items) if n and isinstance(item, Report) and item.word == "apply")
        self.looked = next(applies, len(items))
        self.items = items
        self.status = status
        self.breaks = False
        self.asked: list[str] = []
        self.scripts: list[str] = []
        self.closed = False

    def close(self) -> None:
        self.closed = True

    def run_inline(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        self._ask("inline", script, self.items[: self.looked], on_item)
        if self.breaks:
            raise BrokenError("h1", "reset")
        return Status.TO_DO if self.looked < len(self.items) else self._end()

    def reconnect(self, why: str) -> None:
        self.asked.append(f"reconnect: {why}")

    def run_detached(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        self._ask("detached", script, self.items[self.looked :], on_item)
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


def play(
    items: list[Item], status: int | KbootstrapError = 0, mode: Mode = "apply"
) -> tuple[bool, list[StepEnded], list[Event], dict[str, Secret]]:
    events: list[Event] = []
    values: dict[str, Secret] = {}
    run = PhaseRun(PHASE, "h1", [SWAP, TIME], "el", values.__setitem__, lambda text: text.replace("hunter2", "***"))
    session = Replay(items, status)
    ok = run.work(session, mode, events.append)  # type: ignore[arg-type] # a stand-in for Session
    assert session.asked == (["inline"] if session.looked == len(items) else ["inline", "detached"])
    assert session.closed is any("does not say what" in text or "gone" in text for text in hints(events))
    return ok, [event for event in events if isinstance(event, StepEnded)], events, values


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
    assert "still does not hold: swap is on: /dev/sda2" in ended[0].failure.message


CALL = re.compile(r"^(kb_begin|kb_step|kb_change) '(\w+)'", re.M)


def scripts_of(said: list[Item], looked: int, breaks: bool, mode: Mode = "apply") -> tuple[Replay, list[StepEnded]]:
    events: list[Event] = []
    run = PhaseRun(PHASE, "h1", [SWAP, TIME], "el", lambda _name, _value: None, str)
    session = Replay(said)
    session.looked, session.breaks = looked, breaks
    run.work(session, mode, events.append)  # type: ignore[arg-type] # a stand-in for Session
    return session, [event for event in events if isinstance(event, StepEnded)]


def test_what_a_look_found_is_not_looked_at_again() -> None:
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
def test_a_look_that_breaks_is_looked_at_again_by_the_script(heard: int) -> None:
    said = [*ok_step("swap"), report("begin time"), *(ok_step("swap") if heard < 2 else ()), *ok_step("time")]
    session, ended = scripts_of([*said[:heard], *said[3:]], heard, breaks=True)
    assert states(ended) == ["ok", "ok"]
    assert session.asked == ["inline", "reconnect: reset", "detached"]
    left = ["swap", "time"] if heard < 2 else ["time"]
    assert CALL.findall(session.scripts[1]) == [("kb_begin", left[0]), *(("kb_step", name) for name in left)]


def test_a_look_that_breaks_after_its_last_step_is_done() -> None:
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


def test_a_lost_host_blames_the_running_step() -> None:
    ok, ended, _, _ = play([report("begin swap"), report("apply swap")], status=LostError("h1: gone", "reboot it"))
    assert not ok
    assert states(ended) == ["failed", "skipped"]
    assert ended[0].failure == Failure("h1: gone", hint="reboot it")


def test_an_overdue_step_names_its_limit() -> None:
    _, ended, _, _ = play([report("begin swap"), report("apply swap"), report("command sleep 99")], status=124)
    assert ended[0].failure is not None
    assert ended[0].failure.message == "not done after 30 s"
    assert ended[0].failure.command == "sleep 99"


def test_values_are_secrets() -> None:
    _, _, _, values = play(
        [report("begin swap"), report("value join aGVsbG8="), report("end swap ok"), *ok_step("time")]
    )
    assert values == {"join": Secret("hello")}


LIES = [
    "begin other",
    "begin",
    "end swap ok",
    "apply swap",
    "verify swap",
    "retry swap 2",
    "value join aGVsbG8=",
    "rubbish",
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
def test_a_host_that_lies_is_a_failure_and_is_hung_up_on(lie: list[str]) -> None:
    ok, ended, _, values = play([report(text) for text in lie])
    assert not ok
    assert states(ended) == ["failed", "skipped"]
    assert ended[0].failure is not None
    assert ended[0].failure.message.startswith("h1 ")
    assert values == {}


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
        "prepare.swap prints without end: the rest of its output is left out"
    ]


def test_a_flood_of_warnings_ends() -> None:
    ok, _, events, _ = play([report("begin swap"), *[report("warning x")] * 200])
    assert not ok
    assert sum(isinstance(event, Notice) for event in events) == 30


def test_long_lines_are_cut_after_they_were_masked() -> None:
    """A secret that lies across the end of what is shown would not be recognised once it is cut."""
    line = "x" * (MAX_TEXT - 4) + "hunter2" + "y" * 5000
    said: list[Item] = [report("begin swap"), Output(line), Report("command", (line,)), Report("hint", (line,))]
    _, ended, events, _ = play([*said, report("apply swap"), report("end swap failed 1")], status=1)
    (shown,) = [event.line for event in events if isinstance(event, StepOutput)]
    assert ended[0].failure is not None
    for text in (shown, ended[0].failure.command, ended[0].failure.hint):
        assert len(text) == MAX_TEXT
        assert "hu" not in text
