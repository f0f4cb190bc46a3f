"""One phase on one host: sends its script, and converts the host's reports to events."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from kbootstrap.errors import Failure, KbootstrapError, StepError
from kbootstrap.events import Notice, PhaseEnded, PhaseStarted, StepEnded, StepOutput, StepStarted
from kbootstrap.phases.outputs import PhaseOutput
from kbootstrap.redact import PrivateKeys
from kbootstrap.remote import script
from kbootstrap.remote.protocol import ReportWord, Status
from kbootstrap.remote.session import BrokenError, Item, Session
from kbootstrap.run.redaction import MAX_TEXT
from kbootstrap.run.scheduler import Post
from kbootstrap.steps import Mode, State, Step

CHECK_TIMEOUT_S = 120
"""Time limit for a check, in seconds. A plan waits no longer than this for any step."""
MAX_KEPT_LINES = 400
"""Lines of a step's output that are kept for its failure report; the journal has all of them."""
MAX_SHOWN = 2 * 1024 * 1024
"""Maximum output of a single script in views and journal, in characters (plus 100 for every line)."""
MAX_LINES = 200_000
"""Maximum lines and reports of a single script. A host that sends more is disconnected."""
MAX_WARNINGS = 30
"""Maximum warnings of a single script. A host that sends more is disconnected."""

Accept = Callable[[str, str], PhaseOutput]
"""Validates an output that a host returned. Raises ValueError or KbootstrapError."""

_STATES: dict[Mode, dict[str, State]] = {
    "plan": {"ok": "ok", "change": "change", "unknown": "unknown"},
    "apply": {"ok": "ok", "changed": "changed"},
}
_REPORT_WORDS = frozenset(map(str, ReportWord))
_EXIT_STATUS = re.compile(r"[0-9]{1,3}\Z")


def failure_of(error: KbootstrapError) -> Failure:
    """The error as the failure of a step."""
    return error.failure if isinstance(error, StepError) else Failure(error.message, hint=error.hint)


def check_timeout(step: Step) -> int:
    """Time limit for a check of the step, in seconds."""
    return min(CHECK_TIMEOUT_S, step.timeout)


class PhaseRun:
    """One phase on one host. ``build`` makes a script of steps for it; ``keep`` gets every accepted output."""

    def __init__(
        self,
        phase: str,
        host: str,
        steps: list[Step],
        build: Callable[..., str],
        accept: Accept,
        keep: Callable[[PhaseOutput], None],
    ) -> None:
        self._phase = phase
        self._host = host
        self._steps = {step.id: step for step in steps}
        self._build = build
        self._accept = accept
        self._keep = keep
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
        self._said: set[str] = set()
        self._room = MAX_SHOWN

    def work(self, session: Session, mode: Mode, post: Post) -> bool:
        """Run the script to its end; every step gets its StepEnded. Returns whether all steps hold."""
        began = time.time()
        self._mode = mode
        self._expect_next_step()
        titles = tuple((step.id, step.title) for step in self._steps.values())
        post(PhaseStarted(began, self._host, self._phase, titles))
        try:
            self._close(self._run(session, lambda item: self._handle(item, post)), post)
        except KbootstrapError as error:
            # The connection is lost, or the host violates the protocol.
            session.close()
            self._fail_current(failure_of(error), post)
        self._skip_rest(post)
        ok = not self._failed
        post(PhaseEnded(time.time(), self._host, self._phase, ok, time.time() - began))
        return ok

    def _run(self, session: Session, handle: Callable[[Item], None]) -> int:
        """Run the checks inline. In apply mode, if a check finds a change, run the script detached from that step on.

        In a second `up` most phases end with the inline checks, so they take as long as in a plan. Returns the exit
        status.
        """
        try:
            text = self._build(self._left)
            status = session.run_inline(self._phase, text, handle, self._overdue)
            checked = status == Status.TO_DO and self._step is not None
            if self._mode == "plan" or not checked:
                return status
        except BrokenError as error:
            if self._mode == "plan" or self._overdue():
                raise
            checked = False
            session.reconnect(error.why)
        left = [*([self._step] if self._step else []), *self._left]
        if not left:
            return Status.OK
        self._deadline = time.monotonic() + check_timeout(left[0])
        text = self._build(left, checked=checked)
        return session.run_detached(self._phase, text, handle, self._overdue)

    def _expect_next_step(self) -> None:
        """Start the deadline for the next step. A script that does not reach it counts as a check that hangs."""
        self._deadline = time.monotonic() + (check_timeout(self._left[0]) if self._left else CHECK_TIMEOUT_S)

    def _overdue(self) -> bool:
        return time.monotonic() > self._deadline

    def _handle(self, item: Item, post: Post) -> None:
        self._items += 1
        if self._items > MAX_LINES:
            raise self._protocol_error(f"sent more than {MAX_LINES} lines for one script")
        if isinstance(item, script.Output):
            self._output(item.line, post)
            return
        if item.word not in _REPORT_WORDS:
            raise self._protocol_error(f"sent an unknown report: {item.word[:MAX_TEXT]!r}")
        getattr(self, f"_on_{item.word}")(item.args, post)

    def _protocol_error(self, text: str) -> StepError:
        """The error for a host that violates the protocol. Nothing is read from the host after this."""
        hint = (
            "Run `ssh HOST true`: it must print nothing. Check the login shell and its rc files on that host. "
            "[login-shell]"
        )
        return StepError(Failure(f"{self._host} {text}", hint=hint))

    def _output(self, line: str, post: Post) -> None:
        if self._step is None:
            return
        line = self._keys.hide(line)
        kept = self._lines.setdefault(self._stage, [])
        kept.append(line)
        del kept[:-MAX_KEPT_LINES]
        before, self._room = self._room, self._room - min(len(line), MAX_TEXT) - 100
        if self._room >= 0:
            post(StepOutput(time.time(), self._host, self._phase, self._step.id, line))
        elif before >= 0:
            text = f"{self._phase}.{self._step.id} prints more than {MAX_SHOWN >> 20} MiB: the rest is not shown"
            post(Notice(time.time(), "warning", text, self._host))

    def _on_begin(self, args: tuple[str, ...], post: Post) -> None:
        step = self._steps.get(args[0]) if args else None
        if step and step is self._step and self._stage == "check":
            # The detached script starts with the step at which the inline checks ended.
            return
        if step is None or step not in self._left or self._step is not None:
            raise self._protocol_error("reports a step that was not asked for")
        self._left.remove(step)
        self._step, self._stage, self._began = step, "check", time.time()
        self._deadline = time.monotonic() + check_timeout(step)
        self._lines, self._command, self._hint, self._retries = {}, "", "", 0
        self._failed_requirements = []
        self._keys = PrivateKeys()
        post(StepStarted(self._began, self._host, self._phase, step.id, step.title))

    def _move(self, before: str, stage: str) -> Step:
        """Move the running step to its next stage. Each stage comes once, in order, and has its own deadline."""
        if self._step is None or self._stage != before:
            raise self._protocol_error(f"reports {stage!r} out of order")
        self._stage = stage
        return self._step

    def _on_apply(self, args: tuple[str, ...], post: Post) -> None:
        self._deadline = time.monotonic() + self._move("check", "apply").timeout

    def _on_verify(self, args: tuple[str, ...], post: Post) -> None:
        self._deadline = time.monotonic() + check_timeout(self._move("apply", "verify"))

    def _on_retry(self, args: tuple[str, ...], post: Post) -> None:
        step = self._move("apply", "apply")
        self._retries += 1
        if self._retries > step.retries:
            raise self._protocol_error(f"retries {step.id} more than {step.retries} times")
        self._deadline = time.monotonic() + step.timeout
        text = f"{self._phase}.{step.id} failed, retrying in {' '.join(args[1:])} s"
        post(Notice(time.time(), "warning", text, self._host))

    def _on_command(self, args: tuple[str, ...], post: Post) -> None:
        self._command = " ".join(args)

    def _on_hint(self, args: tuple[str, ...], post: Post) -> None:
        self._hint = " ".join(args)

    def _on_warning(self, args: tuple[str, ...], post: Post) -> None:
        """A check runs again after a change. What it has said already is not said twice."""
        text = " ".join(args)
        self._warnings += 1
        if self._warnings > MAX_WARNINGS:
            raise self._protocol_error(f"sent more than {MAX_WARNINGS} warnings")
        if text in self._said:
            return
        self._said.add(text)
        post(Notice(time.time(), "warning", text, self._host))

    def _on_requirement_failed(self, args: tuple[str, ...], post: Post) -> None:
        self._failed_requirements = [*self._failed_requirements, " ".join(args)][:MAX_KEPT_LINES]

    def _on_value(self, args: tuple[str, ...], post: Post) -> None:
        """Accept an output only from a step that declares it, so that a worker cannot send the control plane's."""
        if len(args) != 2 or self._step is None or args[0] not in self._step.outputs:
            raise self._protocol_error("sent a value that was not asked for")
        name = args[0]
        try:
            accepted = self._accept(name, script.decode_value(args[1]))
        except ValueError as error:
            raise self._protocol_error(f"sent a bad value {name!r}: {error}") from None
        post(lambda: self._keep(accepted))

    def _on_end(self, args: tuple[str, ...], post: Post) -> None:
        if self._step is None or len(args) < 2 or args[0] != self._step.id:
            raise self._protocol_error("ends a step that is not running")
        word = args[1]
        failed = tuple(self._failed_requirements)
        if failed:
            self._end("failed", Failure("; ".join(failed), output=failed, hint=self._hint), post)
        elif word in _STATES[self._mode]:
            self._end(_STATES[self._mode][word], None, post)
        elif word in ("failed", "unverified") and len(args) == 3 and _EXIT_STATUS.match(args[2]):
            self._end("failed", self._failure(word, int(args[2])), post)
        else:
            raise self._protocol_error(f"ends a step with an unknown state: {word[:MAX_TEXT]!r}")

    def _failure(self, word: str, status: int) -> Failure:
        output = self._lines.get("apply", [])
        message = output[-1] if output and status == Status.FAILED_WITH_MESSAGE else f"exit status {status}"
        if word == "unverified":
            output = output + self._lines.get("verify", [])
            message = "applied, but the check still fails: " + "; ".join(self._lines.get("verify", [])[-3:])
        return Failure(message, self._command, status, tuple(output), self._hint)

    def _end(self, state: State, failure: Failure | None, post: Post) -> None:
        step = self._step
        if step is None:
            return
        diff = tuple(self._lines.get("check", []))
        now = time.time()
        post(StepEnded(now, self._host, self._phase, step.id, step.title, state, now - self._began, diff, failure))
        self._failed = self._failed or state == "failed"
        self._step = None
        self._expect_next_step()

    def _fail_current(self, failure: Failure, post: Post) -> None:
        """Report a broken script or connection as a failure of the running step, or of the next step."""
        if self._step is None and self._left:
            self._step, self._began, self._lines = self._left.pop(0), time.time(), {}
        self._failed = True
        self._end("failed", failure, post)

    def _close(self, status: int, post: Post) -> None:
        """Handle the end of the script. An exit status that is not a normal end is a failure."""
        if status == Status.TIMED_OUT and self._step is not None:
            seconds = self._step.timeout if self._stage == "apply" else check_timeout(self._step)
            output = tuple(self._lines.get(self._stage, []))
            message = f"timed out after {seconds} s"
            self._fail_current(Failure(message, self._command, status, output, self._hint), post)
        elif self._step is not None or status not in (Status.OK, Status.STEP_FAILED, Status.STOPPED):
            message = f"the script ended early with exit status {status}"
            self._fail_current(Failure(message, exit_status=int(status)), post)
        if status != Status.OK:
            self._failed = True

    def _skip_rest(self, post: Post) -> None:
        for step in self._left:
            post(StepEnded(time.time(), self._host, self._phase, step.id, step.title, "skipped", 0.0))
