"""The only loop: runs (phase, host) pairs as soon as what they need is done, and streams what happens.

`plan` and `up` both come through here and differ only in the mode handed to the session. Worker threads talk to hosts;
everything else (scheduling, values, views) happens in the thread that called ``Scheduler.run``: nothing needs a lock.
"""

from __future__ import annotations

import contextlib
import functools
import heapq
import queue
import re
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

from kbootstrap import script, values
from kbootstrap.model import (
    Context,
    Event,
    Failure,
    KbootstrapError,
    Mode,
    Notice,
    Phase,
    PhaseEnded,
    PhaseStarted,
    Secret,
    State,
    Step,
    StepEnded,
    StepError,
    StepOutput,
    StepStarted,
    Stretch,
)
from kbootstrap.protocol import Status
from kbootstrap.redact import PrivateKeys
from kbootstrap.session import BrokenError, Item, Session

CHECK_TIMEOUT_S = 120
"""Longest a check may take; a plan waits no longer than this for any step."""
MAX_KEPT_LINES = 400
"""Lines of a step's output kept for its failure report; the journal has them all."""
MAX_TEXT = 4096
"""Longest line, command or hint of a host that is shown, in characters; the rest of it is dropped."""
MAX_SHOWN = 2 * 1024 * 1024
"""Output of a single script that is passed on to views and journal, in characters (every line costs 100 more)."""
MAX_LINES = 200_000
"""Lines and reports of a single script; more is a host gone mad."""
MAX_WARNINGS = 30

Key = tuple[str, str]
Emit = Callable[[Event], None]


@dataclass(frozen=True)
class Done:
    """A task has ended. Times are those of ``time.monotonic``."""

    key: Key
    ok: bool
    began: float
    ended: float


Inbox = queue.SimpleQueue[Event | Done | Exception]
"""What threads tell the scheduler: events, how a task ended, and bugs, which end the run."""


@dataclass(frozen=True)
class Task:
    """One (phase, host) pair.

    ``start`` runs in the scheduling thread when the task's turn has come and returns the work for a thread of its own,
    which says whether it succeeded; ``skip`` reports it as skipped.
    """

    key: Key
    start: Callable[[], Callable[[Emit], bool]]
    skip: Callable[[], None]
    needs: tuple[Key, ...] = ()
    after: tuple[Key, ...] = ()


class _Plan:
    """Which tasks may start: every task counts what it still waits for, so an end costs only its followers."""

    def __init__(self, tasks: Iterable[Task]) -> None:
        self.tasks = {task.key: task for task in tasks}
        self._order = {key: number for number, key in enumerate(self.tasks)}
        self._left: dict[Key, int] = {}
        self._followers: dict[Key, list[Key]] = {}
        self._ready: list[tuple[int, Key]] = []
        for key, task in self.tasks.items():
            known = {other for other in task.needs + task.after if other in self.tasks}
            self._left[key] = len(known)
            for other in known:
                self._followers.setdefault(other, []).append(key)
            if not known:
                heapq.heappush(self._ready, (self._order[key], key))

    def __bool__(self) -> bool:
        return bool(self._ready)

    def next(self) -> Task:
        """The first task, in the order they were given, that waits for nothing."""
        return self.tasks[heapq.heappop(self._ready)[1]]

    def end(self, key: Key) -> None:
        """This task has ended: those that waited only for it are ready."""
        for follower in self._followers.pop(key, ()):
            self._left[follower] -= 1
            if not self._left[follower]:
                heapq.heappush(self._ready, (self._order[follower], follower))


@dataclass
class Scheduler:
    """Runs tasks in the order of their needs, at most ``parallelism`` at once, until all have ended.

    ``stop`` ends the run early: running tasks are told by ``on_stop``, the others are skipped. ``path`` is the critical
    path of everything that was run so far.
    """

    emit: Emit
    parallelism: int
    stop: threading.Event = field(default_factory=threading.Event)
    on_stop: Callable[[], None] = lambda: None
    path: list[Stretch] = field(default_factory=list)
    _told: bool = field(default=False, init=False)

    def run(self, tasks: Iterable[Task]) -> dict[Key, bool]:
        plan = _Plan(tasks)
        ended: dict[Key, bool] = {}
        running: set[Key] = set()
        spans: dict[Key, tuple[float, float]] = {}
        inbox: Inbox = queue.SimpleQueue()
        while len(ended) < len(plan.tasks):
            if self.stop.is_set() and not self._told:
                self._told = True
                text = "stopping after the running steps ... (Ctrl-C again to leave at once)"
                self.emit(Notice(time.time(), "warning", text))
                self.on_stop()
            self._start_ready(plan, running, ended, inbox)
            if running:
                self._take(inbox, plan, running, ended, spans)
            elif not plan and len(ended) < len(plan.tasks):
                raise RuntimeError("tasks wait for each other")
        self.path += _critical_path(plan.tasks, spans)
        return ended

    def _start_ready(self, plan: _Plan, running: set[Key], ended: dict[Key, bool], inbox: Inbox) -> None:
        while plan and (self.stop.is_set() or len(running) < self.parallelism):
            task = plan.next()
            key = task.key
            if self.stop.is_set() or not all(ended.get(k, True) for k in task.needs):
                ended[key] = False
                plan.end(key)
                task.skip()
            else:
                running.add(key)
                threading.Thread(target=_work, args=(key, task.start(), inbox), name="/".join(key), daemon=True).start()

    def _take(
        self,
        inbox: Inbox,
        plan: _Plan,
        running: set[Key],
        ended: dict[Key, bool],
        spans: dict[Key, tuple[float, float]],
    ) -> None:
        try:
            item = inbox.get(timeout=0.2)
        except queue.Empty:
            return
        while True:
            if isinstance(item, Done):
                key, ended[item.key], spans[item.key] = item.key, item.ok, (item.began, item.ended)
                running.discard(key)
                plan.end(key)
            elif isinstance(item, Exception):
                raise item
            else:
                self.emit(item)
            if inbox.empty():
                return
            item = inbox.get()


def _critical_path(tasks: Mapping[Key, Task], spans: Mapping[Key, tuple[float, float]]) -> list[Stretch]:
    """Back from the task that ended last, each time to the one it waited for last."""
    path: list[Stretch] = []
    reached = set(spans)
    while reached:
        key = max(reached, key=lambda each: spans[each][1])
        began, ended = spans[key]
        path.append(Stretch(*key, ended - began))
        reached = {other for other in tasks[key].needs + tasks[key].after if other in spans}
    return path[::-1]


def _work(key: Key, work: Callable[[Emit], bool], inbox: Inbox) -> None:
    ok, began = False, time.monotonic()
    try:
        ok = work(inbox.put)
    except KbootstrapError as error:
        inbox.put(Notice(time.time(), "error", f"{error.message}\n{error.hint}".strip(), key[1]))
    except Exception as error:
        inbox.put(error)
    finally:
        inbox.put(Done(key, ok, began, time.monotonic()))


def failure_of(error: KbootstrapError, clean: Callable[[str], str]) -> Failure:
    """The error as a step's failure, fit to be shown: a host may have had a word in it."""

    def fit(text: str) -> str:
        return clean(text)[:MAX_TEXT]

    failure = error.failure if isinstance(error, StepError) else Failure(error.message, hint=error.hint)
    return Failure(
        fit(failure.message),
        fit(failure.command),
        failure.exit_status,
        tuple(map(fit, failure.output)),
        fit(failure.hint),
    )


# --- phases ----------------------------------------------------------------------------------------------------------

_STATES: dict[Mode, dict[str, State]] = {
    "plan": {"ok": "ok", "change": "change", "unknown": "unknown"},
    "apply": {"ok": "ok", "changed": "changed"},
}
_STATUS = re.compile(r"[0-9]{1,3}\Z")


def _nonsense(text: str) -> StepError:
    """A host that does not keep to the protocol: nothing it says after this is listened to."""
    return StepError(Failure(text, hint="Look at the host: it does not say what kbootstrap's scripts say."))


def _patience(step: Step) -> int:
    """Seconds a check of the step may take."""
    return min(CHECK_TIMEOUT_S, step.timeout)


class PhaseRun:
    """One phase on one host: its script is sent, and its reports become events. ``family`` is the host's kind of OS."""

    def __init__(
        self,
        phase: Phase,
        host: str,
        steps: list[Step],
        family: str,
        on_value: Callable[[str, Secret], None],
        clean: Callable[[str], str],
    ) -> None:
        self._phase = phase.name
        self._host = host
        self._steps = {step.id: step for step in steps}
        self._family = family
        self._keep = on_value
        self._clean = clean
        self._left = list(steps)
        self._step: Step | None = None
        self._stage = ""
        self._began = 0.0
        self._deadline = float("inf")
        self._lines: dict[str, list[str]] = {}
        self._keys = PrivateKeys()
        self._command = ""
        self._hint = ""
        self._failed_requirements: list[str] = []
        self._failed = False
        self._mode: Mode = "plan"
        self._retries = 0
        self._items = 0
        self._warnings = 0
        self._room = MAX_SHOWN

    def work(self, session: Session, mode: Mode, emit: Emit) -> bool:
        """Run the script to its end; every step gets its StepEnded. Returns whether all of them hold."""
        began = time.time()
        self._mode = mode
        self._await_next()
        titles = tuple((step.id, step.title) for step in self._steps.values())
        emit(PhaseStarted(began, self._host, self._phase, titles))
        try:
            self._close(self._run(session, lambda item: self._handle(item, emit)), emit)
        except KbootstrapError as error:
            # The connection is gone, or what comes over it cannot be believed.
            session.close()
            self._fail_current(failure_of(error, self._clean), emit)
        self._skip_rest(emit)
        ok = not self._failed
        emit(PhaseEnded(time.time(), self._host, self._phase, ok, time.time() - began))
        return ok

    def _run(self, session: Session, handle: Callable[[Item], None]) -> int:
        """Look, and in apply mode run detached what is left from the first step on that does not hold.

        Most phases of a second `up` end with the look, which costs what it costs in a plan. Returns the exit status.
        """
        try:
            status = session.run_inline(self._phase, script.build(self._left, self._family), handle, self._overdue)
            known = status == Status.TO_DO and self._step is not None
            if self._mode == "plan" or not known:
                return status
        except BrokenError as error:
            if self._mode == "plan" or self._overdue():
                raise
            known = False
            session.reconnect(error.why)
        left = [*([self._step] if self._step else []), *self._left]
        if not left:
            return 0
        self._deadline = time.monotonic() + _patience(left[0])
        text = script.build(left, self._family, checked=known)
        return session.run_detached(self._phase, text, handle, self._overdue)

    def _await_next(self) -> None:
        """A script that does not come to its next step is as overdue as a check that does not end."""
        self._deadline = time.monotonic() + (_patience(self._left[0]) if self._left else CHECK_TIMEOUT_S)

    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline

    def _handle(self, item: Item, emit: Emit) -> None:
        self._items += 1
        if self._items > MAX_LINES:
            raise _nonsense(f"{self._host} sent more than {MAX_LINES} lines for one script")
        if isinstance(item, script.Output):
            self._output(item.line, emit)
            return
        handler = getattr(self, f"_on_{item.word}", None)
        if handler is None:
            raise _nonsense(f"{self._host} sent a report that makes no sense: {self._text(item.word)!r}")
        handler(item.args, emit)

    def _text(self, text: str) -> str:
        """What a host said, fit to be shown. Cut only after masking: half a secret would not be recognised."""
        return self._clean(text)[:MAX_TEXT]

    def _output(self, line: str, emit: Emit) -> None:
        if self._step is None:
            return
        line = self._text(self._keys.hide(line))
        kept = self._lines.setdefault(self._stage, [])
        kept.append(line)
        del kept[:-MAX_KEPT_LINES]
        before, self._room = self._room, self._room - len(line) - 100
        if self._room >= 0:
            emit(StepOutput(time.time(), self._host, self._phase, self._step.id, line))
        elif before >= 0:
            text = f"{self._phase}.{self._step.id} prints without end: the rest of its output is left out"
            emit(Notice(time.time(), "warning", text, self._host))

    def _on_begin(self, args: tuple[str, ...], emit: Emit) -> None:
        step = self._steps.get(args[0]) if args else None
        if step and step is self._step and self._stage == "check":
            # The script that goes on where a look ended.
            return
        if step is None or step not in self._left or self._step is not None:
            raise _nonsense(f"{self._host} reports a step that was not asked for")
        self._left.remove(step)
        self._step, self._stage, self._began = step, "check", time.time()
        self._deadline = time.monotonic() + _patience(step)
        self._lines, self._command, self._hint, self._retries = {}, "", "", 0
        self._failed_requirements = []
        self._keys = PrivateKeys()
        emit(StepStarted(self._began, self._host, self._phase, step.id, step.title))

    def _move(self, before: str, stage: str) -> Step:
        """The running step goes on to its next stage. Stages come once and in order: each has a deadline of its own."""
        if self._step is None or self._stage != before:
            raise _nonsense(f"{self._host} reports {stage!r} out of turn")
        self._stage = stage
        return self._step

    def _on_apply(self, args: tuple[str, ...], emit: Emit) -> None:
        self._deadline = time.monotonic() + self._move("check", "apply").timeout

    def _on_verify(self, args: tuple[str, ...], emit: Emit) -> None:
        self._deadline = time.monotonic() + _patience(self._move("apply", "verify"))

    def _on_retry(self, args: tuple[str, ...], emit: Emit) -> None:
        step = self._move("apply", "apply")
        self._retries += 1
        if self._retries > step.retries:
            raise _nonsense(f"{self._host} tries {step.id} more often than it was asked to")
        self._deadline = time.monotonic() + step.timeout
        text = f"{self._phase}.{step.id} failed, trying again in {' '.join(args[1:])} s"
        emit(Notice(time.time(), "warning", self._text(text), self._host))

    def _on_command(self, args: tuple[str, ...], emit: Emit) -> None:
        self._command = self._text(" ".join(args))

    def _on_hint(self, args: tuple[str, ...], emit: Emit) -> None:
        self._hint = self._text(" ".join(args))

    def _on_warning(self, args: tuple[str, ...], emit: Emit) -> None:
        self._warnings += 1
        if self._warnings > MAX_WARNINGS:
            raise _nonsense(f"{self._host} sent more than {MAX_WARNINGS} warnings")
        emit(Notice(time.time(), "warning", self._text(" ".join(args)), self._host))

    def _on_requirement_failed(self, args: tuple[str, ...], emit: Emit) -> None:
        self._failed_requirements = [*self._failed_requirements, self._text(" ".join(args))][:MAX_KEPT_LINES]

    def _on_value(self, args: tuple[str, ...], emit: Emit) -> None:
        """A value counts only from the step that may hand it over: no worker speaks for the control plane."""
        if len(args) != 2 or self._step is None or args[0] not in self._step.gives:
            raise _nonsense(f"{self._host} sent a value that was not asked for")
        try:
            self._keep(args[0], Secret(script.decode_value(args[1])))
        except ValueError as error:
            raise _nonsense(f"{self._host} sent a bad value {self._text(args[0])!r}: {error}") from None

    def _on_end(self, args: tuple[str, ...], emit: Emit) -> None:
        if self._step is None or len(args) < 2 or args[0] != self._step.id:
            raise _nonsense(f"{self._host} ends a step that does not run")
        word = args[1]
        if self._failed_requirements:
            self._end(
                "failed",
                Failure("; ".join(self._failed_requirements), output=tuple(self._failed_requirements), hint=self._hint),
                emit,
            )
        elif word in _STATES[self._mode]:
            self._end(_STATES[self._mode][word], None, emit)
        elif word in ("failed", "unverified") and len(args) == 3 and _STATUS.match(args[2]):
            self._end("failed", self._failure(word, int(args[2])), emit)
        else:
            raise _nonsense(f"{self._host} ends a step as {self._text(word)!r}, which makes no sense")

    def _failure(self, word: str, status: int | None) -> Failure:
        output = self._lines.get("apply", [])
        message = output[-1] if output and status == Status.FAILED_WITH_MESSAGE else f"exit status {status}"
        if word == "unverified":
            output = output + self._lines.get("verify", [])
            message = "applied, but it still does not hold: " + "; ".join(self._lines.get("verify", [])[-3:])
        return Failure(message, self._command, status, tuple(output), self._hint)

    def _end(self, state: State, failure: Failure | None, emit: Emit) -> None:
        step = self._step
        if step is None:
            return
        diff = tuple(self._lines.get("check", []))
        now = time.time()
        emit(StepEnded(now, self._host, self._phase, step.id, step.title, state, now - self._began, diff, failure))
        self._failed = self._failed or state == "failed"
        self._step = None
        self._await_next()

    def _fail_current(self, failure: Failure, emit: Emit) -> None:
        """The script or the connection broke: blame the running step, or the next one."""
        if self._step is None and self._left:
            self._step, self._began, self._lines = self._left.pop(0), time.time(), {}
        self._failed = True
        self._end("failed", failure, emit)

    def _close(self, status: int, emit: Emit) -> None:
        """The script ended. Any other status than these three is a failure of its own."""
        if status == Status.TIMED_OUT and self._step is not None:
            seconds = self._step.timeout if self._stage == "apply" else _patience(self._step)
            output = tuple(self._lines.get(self._stage, []))
            self._fail_current(
                Failure(f"not done after {seconds} s", self._command, Status.TIMED_OUT, output, self._hint), emit
            )
        elif self._step is not None or status not in (Status.OK, Status.STEP_FAILED, Status.STOPPED):
            self._fail_current(Failure(f"the script broke off with exit status {status}", exit_status=status), emit)
        if status != 0:
            self._failed = True

    def _skip_rest(self, emit: Emit) -> None:
        for step in self._left:
            emit(StepEnded(time.time(), self._host, self._phase, step.id, step.title, "skipped", 0.0))


@dataclass
class Engine:
    """Turns phases into tasks over open sessions."""

    context: Context
    sessions: Mapping[str, Session]
    mode: Mode
    emit: Emit
    clean: Callable[[str], str]
    scheduler: Scheduler
    learn: Callable[[Secret], None] = lambda _secret: None
    """Called with every secret that is born in the run, so that it is masked from then on."""

    def run(self, phases: Iterable[Phase], only: Callable[[Phase, str], bool]) -> dict[Key, bool]:
        """Run the phases on the hosts for which ``only`` says so. Hosts without a session are skipped."""
        tasks: list[Task] = []
        previous: dict[str, Key] = {}
        for phase in phases:
            for host in phase.hosts(self.context.inventory):
                if only(phase, host.name):
                    tasks.append(self._task(phase, host.name, previous))
        self.scheduler.on_stop = self._stop
        return self.scheduler.run(tasks)

    def _task(self, phase: Phase, name: str, previous: dict[str, Key]) -> Task:
        inventory = self.context.inventory
        host = inventory.host(name)
        key = (phase.name, name)
        needs = phase.needs(inventory, host)
        after = phase.after(inventory, host)
        if name in previous:
            needs = [*needs, previous[name]]
        previous[name] = key
        return Task(key, lambda: self._start(phase, name), lambda: self._skip(phase, name), tuple(needs), tuple(after))

    def _start(self, phase: Phase, name: str) -> Callable[[Emit], bool]:
        session = self.sessions.get(name)
        facts = self.context.facts.get(name)
        if session is None or facts is None:
            self._skip(phase, name)
            return lambda _emit: False
        host = self.context.inventory.host(name)
        try:
            steps = phase.steps(self.context, host)
        except KbootstrapError as error:
            return functools.partial(_raise, error)
        steps = self._without_lost(phase, name, steps)
        if not steps:
            return lambda _emit: True
        if host.ssh.command_timeout is not None:
            steps = [replace(step, timeout=host.ssh.command_timeout) for step in steps]
        run = PhaseRun(phase, name, steps, facts.family, self._value, self.clean)

        def work(emit: Emit) -> bool:
            ok = run.work(session, self.mode, emit)
            if not ok:
                self.context.lost.add(name)
            return ok

        return work

    def _value(self, name: str, value: Secret) -> None:
        """Keep a value a host handed over. Raises ValueError or KbootstrapError when it is not what it should be."""
        accepted = values.accept(name, value.reveal(), self.context.inventory)
        for secret in values.secrets_in(name, accepted):
            self.learn(secret)
        self.context.values[name] = accepted

    def _skip(self, phase: Phase, name: str) -> None:
        if name not in self.context.facts:
            return
        # What a host handed over may make no sense; the phase that needs it has said so.
        with contextlib.suppress(KbootstrapError):
            self._skipped(phase, name, phase.steps(self.context, self.context.inventory.host(name)))

    def _skipped(self, phase: Phase, name: str, steps: Iterable[Step]) -> None:
        for step in steps:
            self.emit(StepEnded(time.time(), name, phase.name, step.id, step.title, "skipped", 0.0))

    def _without_lost(self, phase: Phase, name: str, steps: list[Step]) -> list[Step]:
        """Steps about a host that failed in this run are skipped; those about one that takes no part are not there."""
        lost = self.context.lost
        self._skipped(phase, name, (step for step in steps if step.about in lost and step.about in self.context.facts))
        return [step for step in steps if step.about not in lost]

    def _stop(self) -> None:
        if self.mode == "apply":
            for session in self.sessions.values():
                session.stop()


def _raise(error: KbootstrapError, _emit: Emit) -> bool:
    raise error
