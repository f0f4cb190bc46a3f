"""The scheduler's rules: what runs when, what a failure stops, and in which thread things happen."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from dataclasses import replace

import pytest

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, HostWaits, Notice
from kbootstrap.run.scheduler import MAX_WAITING, Key, Post, Scheduler, Task


class Log:
    """Records the order in which tasks began and ended."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.most_at_once = 0
        self._now = 0
        self._lock = threading.Lock()

    def task(
        self,
        name: str,
        *requires: str,
        after: tuple[str, ...] = (),
        ok: bool = True,
        wait: threading.Event | None = None,
    ) -> Task:
        def work(_post: Post) -> bool:
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
            requires=tuple(map(key, requires)),
            after=tuple(map(key, after)),
        )


def key(name: str) -> Key:
    phase, _, host = name.partition("@")
    return phase, host


def test_a_worker_goes_on_while_the_control_plane_initialises() -> None:
    log, slow = Log(), threading.Event()
    prepared = log.task("prepare@w")

    def let_init_go_on(_post: Post) -> bool:
        slow.set()
        return True

    tasks = [
        log.task("init@m", wait=slow),
        prepared,
        Task(key("images@w"), start=lambda: let_init_go_on, skip=lambda: None, requires=(prepared.key,)),
        log.task("join@w", "init@m", "images@w"),
    ]
    ended = Scheduler(lambda _event: None, 8).run(tasks)
    assert all(ended.values())
    assert log.lines.index("-prepare@w") < log.lines.index("-init@m") < log.lines.index("+join@w")


def test_the_critical_path_is_the_chain_that_decided_how_long_it_took() -> None:
    """The join waits for init and for its own host. Only the one that ends last counts."""
    log, slow = Log(), threading.Event()
    slow_init = log.task("init@m", wait=slow)

    def prepared(_post: Post) -> bool:
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


def test_a_failure_stops_what_requires_it_and_nothing_else() -> None:
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

    def work(_post: Post) -> bool:
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
    class Requires(tuple[Key, ...]):
        reads = 0

        def __iter__(self) -> Iterator[Key]:
            Requires.reads += 1
            return super().__iter__()

        def __add__(self, other: object) -> Requires:
            Requires.reads += 1
            return self

    seen: list[Event] = []
    taken = threading.Semaphore(0)

    def take(event: Event) -> None:
        seen.append(event)
        taken.release()

    def talk(post: Post) -> bool:
        for number in range(100):
            post(Notice(number, "info", "one at a time"))
            assert taken.acquire(timeout=10)
        return True

    talking = Task(key("talk@h"), lambda: talk, lambda: None)
    log = Log()
    waiting = [replace(log.task(f"w{n}@h"), requires=Requires([talking.key])) for n in range(50)]
    Scheduler(take, 1).run([talking, *waiting])
    assert len(seen) == 100
    assert Requires.reads <= 4 * len(waiting)


def test_tasks_that_wait_for_each_other_are_a_bug_and_no_hang() -> None:
    log = Log()
    with pytest.raises(RuntimeError, match="wait for each other"):
        Scheduler(lambda _event: None, 1).run([log.task("a@h", "b@h"), log.task("b@h", "a@h"), log.task("c@h")])


def test_stop_skips_waiting_tasks_and_reports_running_ones() -> None:
    log, running = Log(), threading.Event()
    events: list[Event] = []
    scheduler = Scheduler(events.append, 8, on_stop=running.set)

    def begin(_post: Post) -> bool:
        scheduler.stop.set()
        return running.wait(10)

    tasks = [Task(key("a@h"), lambda: begin, lambda: None), log.task("b@h", "a@h")]
    ended = scheduler.run(tasks)
    assert ended == {key("a@h"): True, key("b@h"): False}
    assert log.lines == ["skip b@h"]
    scheduler.run([log.task("c@h")])
    assert [event.text for event in events if isinstance(event, Notice)] == [
        "stopping after the running steps ... (Ctrl-C again to quit immediately)"
    ], "a run has several rounds and says it once"


def test_updates_are_made_in_the_thread_that_runs_the_scheduler() -> None:
    """Workers only post. Updates that were posted before an event are made before the event is shown."""
    threads: list[int] = []
    order: list[str] = []

    def work(post: Post) -> bool:
        threads.append(threading.get_ident())
        post(lambda: threads.append(threading.get_ident()))
        post(lambda: order.append("update"))
        post(Notice(0, "info", "event"))
        return False

    task = Task(key("a@h"), lambda: work, failed=lambda: threads.append(threading.get_ident()))
    Scheduler(lambda _event: order.append("event"), 1).run([task])
    assert threads[0] != threading.get_ident()
    assert threads[1:] == [threading.get_ident()] * 2
    assert order == ["update", "event"]


def test_what_is_posted_after_the_last_task_is_not_lost() -> None:
    events: list[Event] = []
    scheduler = Scheduler(events.append, 1)
    scheduler.post(Notice(0, "warning", "late"))
    scheduler.drain()
    assert [event.text for event in events if isinstance(event, Notice)] == ["late"]


def test_a_bug_in_a_task_ends_the_run() -> None:
    def broken(_post: Post) -> bool:
        raise LookupError("a bug")

    with pytest.raises(LookupError, match="a bug"):
        Scheduler(lambda _event: None, 1).run([Task(key("a@h"), lambda: broken)])


def test_an_error_in_a_task_is_a_notice_and_a_failure() -> None:
    def broken(_post: Post) -> bool:
        raise KbootstrapError("no such thing", "do that")

    events: list[Event] = []
    ended = Scheduler(events.append, 1).run([Task(key("a@h"), lambda: broken, lambda: None)])
    assert ended == {key("a@h"): False}
    assert [event.text for event in events if isinstance(event, Notice)] == ["no such thing\ndo that"]


def test_a_host_that_floods_waits_for_the_screen() -> None:
    """Two tasks post faster than their events can be shown."""
    most = 0

    def show(_event: Event) -> None:
        nonlocal most
        most = max(most, scheduler._inbox.qsize())
        time.sleep(0.0001)

    def flood(post: Post) -> bool:
        for number in range(8000):
            post(Notice(0.0, "info", str(number)))
        return True

    scheduler = Scheduler(show, 2)
    tasks = [Task(("flood", host), lambda: flood, lambda: None) for host in ("w1", "w2")]
    assert scheduler.run(tasks) == {("flood", "w1"): True, ("flood", "w2"): True}
    assert 2000 < most <= MAX_WAITING + 10


def test_a_host_that_waits_for_another_says_so_once() -> None:
    """And not one whose own work goes on."""
    events: list[Event] = []
    scheduler = Scheduler(events.append, 4)
    tasks = [
        Task(("init", "cp1"), lambda: lambda _post: True),
        Task(("prepare", "w1"), lambda: lambda _post: True),
        Task(("join", "w1"), lambda: lambda _post: True, requires=(("prepare", "w1"), ("init", "cp1"))),
        Task(("join", "w2"), lambda: lambda _post: True, requires=(("init", "cp1"),)),
    ]
    assert all(scheduler.run(tasks).values())
    waits = [(each.host, each.phase, each.for_host, each.for_phase) for each in events if isinstance(each, HostWaits)]
    assert waits.count(("w2", "join", "cp1", "init")) == 1
    assert set(waits) <= {("w2", "join", "cp1", "init"), ("w1", "join", "cp1", "init")}
