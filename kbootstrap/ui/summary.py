"""The end of a run as text: what changed, what failed and why, and what to do next."""

from __future__ import annotations

from collections.abc import Iterator

from kbootstrap.errors import Failure
from kbootstrap.events import HostSummary, RunEnded, RunStarted
from kbootstrap.text import counted
from kbootstrap.ui import Style

SHOWN_SECONDS = 0.1
"""Shorter segments of the critical path are not shown, in seconds."""
NAMED_HOSTS = 10
"""With more failed hosts than this, the advice at the end gives their number. Each has its own report above."""
SHOWN_LINES = 15
"""Lines shown of a failed step's output; the journal has all of them."""


def failure_lines(style: Style, host: str, phase: str, step: str, failure: Failure, log: str) -> Iterator[str]:
    """Host, phase, step, command, exit status, the last lines of output, a hint, and the path of the journal."""
    yield style.red(f"✗ {host}: {phase}.{step} failed: ") + failure.message
    if failure.command:
        status = f"  (exit status {failure.exit_status})" if failure.exit_status is not None else ""
        yield f"    command  {failure.command}{status}"
    kept = [line for line in failure.output if line.strip()][-SHOWN_LINES:]
    if kept and "; ".join(kept) != failure.message:
        left_out = sum(bool(line.strip()) for line in failure.output) - len(kept)
        label = "    output   " if failure.exit_status is not None else "    found    "
        yield label + (f"... {left_out} lines before these" if left_out > 0 else kept.pop(0))
        yield from (f"             {line}" for line in kept)
    if failure.hint:
        yield "    hint     " + style.yellow(failure.hint)
    if log:
        yield style.dim(f"    log      {log}")


def summary_lines(style: Style, started: RunStarted | None, ended: RunEnded, *, verbose: bool = False) -> Iterator[str]:
    """The last lines of a run; with ``verbose`` also its critical path."""
    log = started.log if started else ""
    failed = {name: host for name, host in ended.hosts.items() if host.failure is not None}
    for name, host in failed.items():
        if host.failure is not None:
            yield ""
            yield from failure_lines(style, name, host.failed_phase, host.failed_step, host.failure, log)
    yield ""
    if verbose:
        yield from _critical_path(style, ended)
    yield _headline(style, ended, len(failed))
    yield from _what_next(style, started, ended, failed)


def _critical_path(style: Style, ended: RunEnded) -> Iterator[str]:
    parts = [part for part in ended.critical_path if part.seconds >= SHOWN_SECONDS]
    if parts:
        total = sum(part.seconds for part in ended.critical_path)
        yield style.dim(f"Critical path, {duration(total)} of {duration(ended.seconds)}:")
        yield from (style.dim(f"    {duration(part.seconds):>12}  {part.host} {part.phase}") for part in parts)


def _headline(style: Style, ended: RunEnded, failed: int) -> str:
    counts = ended.counts
    numbers = ", ".join(
        f"{counts[state]} {state}" for state in ("changed", "ok", "failed", "skipped") if counts.get(state)
    )
    hosts = counted(len(ended.hosts), "host")
    tail = f" in {duration(ended.seconds)}: {hosts}, {numbers}"
    if ended.status == "ok":
        return style.green("Done") + tail
    if ended.status == "interrupted":
        return style.yellow("Stopped") + tail
    return style.red(f"{failed} of {hosts} failed") + tail


def _what_next(
    style: Style, started: RunStarted | None, ended: RunEnded, failed: dict[str, HostSummary]
) -> Iterator[str]:
    command = started.command if started else "up"
    if ended.status == "interrupted":
        yield f"Run the same `kbootstrap {command}` again: it continues where this run stopped."
    elif ended.status == "failed" and command in ("up", "reset"):
        # A requirement compares the host with the inventory, so either can be wrong.
        requirement_failed = any(host.failed_phase == "preflight" for host in failed.values())
        names = ", ".join(failed) if len(failed) <= NAMED_HOSTS else f"these {len(failed)} hosts"
        what = names + (", or the inventory," if requirement_failed else "")
        yield f"Fix {what} and run the same command again: what is done is not done twice."
    if started is not None and started.log and ended.status != "ok":
        yield style.dim(f"The full log of this run: {started.log}")


def duration(seconds: float) -> str:
    """12.3 s, or 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
