"""Runs each task as soon as its requirements are done, and streams the events.

Worker threads talk to hosts. Everything else happens in the thread that called ``Scheduler.run``: workers post events
and updates (functions that change the run's state), and that thread processes them in order.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, HostWaits, Notice, PathSegment

POLL_S = 0.2
"""Seconds between two checks whether the run was asked to stop."""
MAX_WAITING = 5000
"""Items that wait for the scheduler's thread. Who posts more waits."""
MAX_PAUSE_S = 2.0
"""Longest wait of one who posts: never without end, whatever the scheduler's thread does."""

Key = tuple[str, str]
"""A phase and a host."""
Update = Callable[[], None]
"""Changes the run's state; called in the scheduler's thread."""
Post = Callable[["Event | Update"], None]


@dataclass(frozen=True)
class Ended:
    """A task has ended. Times are those of ``time.monotonic``."""

    key: Key
    ok: bool
    began: float
    ended: float


@dataclass(frozen=True)
class Task:
    """One (phase, host) pair.

    ``start`` runs in the scheduler's thread when the task can start. It returns the work for a worker thread; the work
    returns whether it succeeded. ``skip`` reports the task as skipped. ``failed`` is called when the work failed.
    """

    key: Key
    start: Callable[[], Callable[[Post], bool]]
    skip: Callable[[], None] = lambda: None
    failed: Callable[[], None] = lambda: None
    requires: tuple[Key, ...] = ()
    after: tuple[Key, ...] = ()


class TaskGraph:
    """Finds the tasks that can start. Every task knows its open requirements, so the end of a task is cheap."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = {task.key: task for task in tasks}
        self._order = {key: number for number, key in enumerate(self.tasks)}
        self._open: dict[Key, set[Key]] = {}
        self._followers: dict[Key, list[Key]] = {}
        self._ready: list[tuple[int, Key]] = []
        self.of_host: dict[str, list[Key]] = {}
        for key, task in self.tasks.items():
            known = {other for other in task.requires + task.after if other in self.tasks}
            self._open[key] = known
            self.of_host.setdefault(key[1], []).append(key)
            for other in known:
                self._followers.setdefault(other, []).append(key)
            if not known:
                heapq.heappush(self._ready, (self._order[key], key))
        self._changed = set(self.of_host)

    def __bool__(self) -> bool:
        return bool(self._ready)

    def next(self) -> Task:
        """The first task, in the given order, that waits for no other task."""
        return self.tasks[heapq.heappop(self._ready)[1]]

    def waits_for(self, key: Key) -> Key | None:
        """The first task, in the given order, that this one waits for; None when it can start."""
        return min(self._open[key], key=self._order.__getitem__, default=None)

    def take_changed(self) -> set[str]:
        """The hosts for which a task, or one that they waited for, has ended since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def end(self, key: Key) -> None:
        """Mark a task as ended. Tasks that waited only for it are now ready."""
        self._changed.add(key[1])
        for follower in self._followers.pop(key, ()):
            self._changed.add(follower[1])
            self._open[follower].discard(key)
            if not self._open[follower]:
                heapq.heappush(self._ready, (self._order[follower], follower))


@dataclass
class Scheduler:
    """Runs tasks in the order of their requirements, at most ``parallelism`` at once, until all have ended.

    ``stop`` ends the run early: ``on_stop`` stops the running tasks, the others are skipped. ``on_poll`` is called at
    least every ``POLL_S`` seconds. ``path`` is the critical path of all tasks so far.
    """

    emit: Callable[[Event], None]
    parallelism: int
    stop: threading.Event = field(default_factory=threading.Event)
    on_stop: Callable[[], None] = lambda: None
    on_poll: Callable[[], None] = lambda: None
    path: list[PathSegment] = field(default_factory=list)
    _inbox: queue.SimpleQueue[Event | Ended | Update | Exception] = field(default_factory=queue.SimpleQueue, init=False)
    _stopping: bool = field(default=False, init=False)

    def post(self, item: Event | Update) -> None:
        """Hand an event or an update to the scheduler's thread, from any thread at any time.

        While many items wait there, the caller waits too: else the output of a host that floods would fill the memory.
        """
        self._inbox.put(item)
        latest = time.monotonic() + MAX_PAUSE_S
        while self._inbox.qsize() > MAX_WAITING and time.monotonic() < latest:
            time.sleep(0.005)

    def drain(self) -> None:
        """Process the items that were posted after the last task ended."""
        while not self._inbox.empty():
            item = self._inbox.get()
            if not isinstance(item, (Ended, Exception)):
                self._apply(item)

    def run(self, tasks: Iterable[Task]) -> dict[Key, bool]:
        """Run these tasks; returns which of them succeeded. Raises the exception of a task that has a bug."""
        graph = TaskGraph(tasks)
        ended: dict[Key, bool] = {}
        running: set[Key] = set()
        spans: dict[Key, tuple[float, float]] = {}
        while len(ended) < len(graph.tasks):
            if self.stop.is_set() and not self._stopping:
                self._stopping = True
                text = "stopping after the running steps ... (Ctrl-C again to quit immediately)"
                self.emit(Notice(time.time(), "warning", text))
                self.on_stop()
            self._start_ready(graph, running, ended)
            if running:
                self._tell_who_waits(graph, running, ended)
                for item in self._take():
                    running.discard(item.key)
                    ended[item.key], spans[item.key] = item.ok, (item.began, item.ended)
                    if not item.ok:
                        graph.tasks[item.key].failed()
                    graph.end(item.key)
            elif not graph and len(ended) < len(graph.tasks):
                raise RuntimeError("tasks wait for each other")
        self.path += _critical_path(graph.tasks, spans)
        return ended

    def _start_ready(self, graph: TaskGraph, running: set[Key], ended: dict[Key, bool]) -> None:
        while graph and (self.stop.is_set() or len(running) < self.parallelism):
            task = graph.next()
            key = task.key
            if self.stop.is_set() or not all(ended.get(k, True) for k in task.requires):
                ended[key] = False
                graph.end(key)
                task.skip()
            else:
                running.add(key)
                threading.Thread(target=self._work, args=(key, task.start()), name="/".join(key), daemon=True).start()

    def _tell_who_waits(self, graph: TaskGraph, running: set[Key], ended: dict[Key, bool]) -> None:
        """Emit HostWaits for the hosts whose next task now waits for a task of another host."""
        for host in graph.take_changed():
            key = next((key for key in graph.of_host[host] if key not in ended), None)
            wanted = graph.waits_for(key) if key and key not in running else None
            if key and wanted and wanted[1] != host:
                self.emit(HostWaits(time.time(), host, key[0], wanted[1], wanted[0]))

    def _take(self) -> list[Ended]:
        """Process all posted items; waits up to ``POLL_S`` for the first. Returns the tasks that ended."""
        ended: list[Ended] = []
        self.on_poll()
        try:
            item = self._inbox.get(timeout=POLL_S)
        except queue.Empty:
            return ended
        while True:
            if isinstance(item, Ended):
                ended.append(item)
            elif isinstance(item, Exception):
                raise item
            else:
                self._apply(item)
            if self._inbox.empty():
                return ended
            item = self._inbox.get()

    def _apply(self, item: Event | Update) -> None:
        if isinstance(item, Event):
            self.emit(item)
        else:
            item()

    def _work(self, key: Key, work: Callable[[Post], bool]) -> None:
        ok, began = False, time.monotonic()
        try:
            ok = work(self.post)
        except KbootstrapError as error:
            self.post(Notice(time.time(), "error", f"{error.message}\n{error.hint}".strip(), key[1]))
        except Exception as error:
            self._inbox.put(error)
        finally:
            self._inbox.put(Ended(key, ok, began, time.monotonic()))


def _critical_path(tasks: Mapping[Key, Task], spans: Mapping[Key, tuple[float, float]]) -> list[PathSegment]:
    """Go back from the task that ended last: each time to the requirement that ended last."""
    path: list[PathSegment] = []
    reached = set(spans)
    while reached:
        key = max(reached, key=lambda each: spans[each][1])
        began, ended = spans[key]
        path.append(PathSegment(*key, ended - began))
        reached = {other for other in tasks[key].requires + tasks[key].after if other in spans}
    return path[::-1]
