"""The end of a run as text: what changed, what failed and why, and what to do next."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace

from kbootstrap.errors import Failure
from kbootstrap.events import HostSummary, RunEnded, RunStarted
from kbootstrap.text import counted
from kbootstrap.topics import topic_of, topics
from kbootstrap.ui import Style

SHOWN_SECONDS = 0.1
"""Shorter segments of the critical path are not shown, in seconds."""
NAMED_HOSTS = 10
"""With more failed hosts than this, the advice at the end gives their number. The failures above name them all."""
SHOWN_LINES = 15
"""Lines shown of a failed step's output; the journal has all of them."""
LABEL = 13
"""Columns before the command, output and hint of a failure."""


@dataclass(frozen=True)
class Failed:
    """The same failure of some hosts. Of several, ``<host>`` and ``<address>`` stand for their names and addresses."""

    hosts: tuple[str, ...]
    phase: str
    step: str
    failure: Failure


def grouped(failures: Mapping[str, HostSummary], addresses: Mapping[str, str]) -> list[Failed]:
    """The failures, with those together that differ only in the name and the address of their host."""
    found: dict[tuple[str, str, Failure], list[str]] = {}
    for host, summary in failures.items():
        if summary.failure is not None:
            like = without_name(summary.failure, host, addresses.get(host, ""))
            found.setdefault((summary.failed_phase, summary.failed_step, like), []).append(host)
    groups = []
    for (phase, step, like), hosts in found.items():
        own = failures[hosts[0]].failure
        groups.append(Failed(tuple(hosts), phase, step, own if len(hosts) == 1 and own else like))
    return groups


def without_name(failure: Failure, host: str, address: str) -> Failure:
    """The failure, as any host would have it."""

    def anyone(text: str) -> str:
        text = text.removeprefix(f"{host}: ")
        for word, what in ((address, "<address>"), (host, "<host>")):
            if word:
                text = re.sub(rf"(?<![\w.-]){re.escape(word)}(?![\w-])", what, text)
        return text

    texts = (failure.message, failure.command, failure.hint)
    message, command, hint = map(anyone, texts)
    return replace(
        failure, message=message, command=command, hint=hint, output=tuple(anyone(line) for line in failure.output)
    )


def what_of(started: RunStarted) -> str:
    """How many hosts a run has, and the software."""
    return ", ".join(filter(None, (counted(len(started.hosts), "host"), started.software)))


def failure_lines(style: Style, failed: Failed) -> Iterator[str]:
    """All hosts by name, phase, step, command, exit status, the last lines of output, and a hint."""
    where = f"✗ {' '.join(failed.hosts)}: {failed.phase}.{failed.step} failed: "
    head, *more = style.hanging("", where + failed.failure.message, indent=4)
    yield style.red(head[: len(where)]) + head[len(where) :]
    yield from more
    yield from detail_lines(style, failed.failure)


def detail_lines(style: Style, failure: Failure, margin: str = "") -> Iterator[str]:
    """What is known of a failure beyond its message."""

    def labelled(label: str, text: str, paint: Callable[[str], str] = str) -> Iterator[str]:
        return style.hanging(f"{margin}    {label}".ljust(len(margin) + LABEL), text, paint)

    if failure.command:
        status = f"  (exit status {failure.exit_status})" if failure.exit_status is not None else ""
        yield from labelled("command", failure.command + status)
    kept = [line for line in failure.output if line.strip()][-SHOWN_LINES:]
    if kept and "; ".join(kept) != failure.message:
        left_out = sum(bool(line.strip()) for line in failure.output) - len(kept)
        label = "output" if failure.exit_status is not None else "found"
        yield from labelled(label, f"... {left_out} lines before these" if left_out > 0 else kept.pop(0))
        for line in kept:
            yield from labelled("", line)
    if failure.hint:
        yield from labelled("hint", failure.hint, style.yellow)


def summary_lines(style: Style, started: RunStarted | None, ended: RunEnded, *, verbose: bool = False) -> Iterator[str]:
    """The last lines of a run; with ``verbose`` also its critical path."""
    addresses = dict(zip(started.hosts, started.addresses, strict=False)) if started else {}
    failed = {name: host for name, host in ended.hosts.items() if host.failure is not None}
    for group in grouped(failed, addresses):
        yield ""
        yield from failure_lines(style, group)
    yield ""
    if verbose:
        yield from _critical_path(style, ended)
    yield from _headline(style, ended, len(failed))
    yield from _what_next(style, started, ended, failed)
    if any(_has_topic(host.failure) for host in failed.values() if host.failure is not None):
        yield from style.hanging("", "More about a hint: kbootstrap explain ID, with the ID in brackets at its end.")


def _has_topic(failure: Failure) -> bool:
    """Whether a hint of the failure has a topic. Several requirements have their hints in the output."""
    return any(topic_of(text) in topics() for text in (failure.hint, *failure.output))


def _critical_path(style: Style, ended: RunEnded) -> Iterator[str]:
    parts = [part for part in ended.critical_path if part.seconds >= SHOWN_SECONDS]
    if parts:
        total = sum(part.seconds for part in ended.critical_path)
        yield style.dim(f"Critical path, {duration(total)} of {duration(ended.seconds)}:")
        yield from (style.dim(f"    {duration(part.seconds):>12}  {part.host} {part.phase}") for part in parts)


def _headline(style: Style, ended: RunEnded, failed: int) -> Iterator[str]:
    counts = ended.counts
    numbers = [f"{counts[state]} {state}" for state in ("changed", "ok", "failed", "skipped") if counts.get(state)]
    hosts = counted(len(ended.hosts), "host")
    word, paint = f"{failed} of {hosts} failed", style.red
    if ended.status == "interrupted":
        word, paint = "Stopped", style.yellow
    elif ended.status == "ok" and ended.nodes_ready is not None:
        word, paint = "Done", style.green
        numbers = [
            f"{ended.nodes_ready} of {counted(ended.nodes, 'node')} Ready",
            f"{counts.get('changed', 0)} changed",
        ]
    elif ended.status == "ok":
        word, paint = "Done", style.green
        numbers = [hosts, *numbers]
    first, *more = style.hanging("", f"{word} in {duration(ended.seconds)}: {', '.join(numbers)}.", indent=4)
    yield first.replace(word, paint(word), 1)
    yield from more


def _what_next(
    style: Style, started: RunStarted | None, ended: RunEnded, failed: dict[str, HostSummary]
) -> Iterator[str]:
    command = started.command if started else "up"
    if ended.status == "interrupted":
        yield from style.hanging("", f"Run the same `kbootstrap {command}` again: it continues where this run stopped.")
    elif ended.status == "failed" and command in ("up", "reset"):
        # A requirement compares the host with the inventory, so either can be wrong.
        requirement_failed = any(host.failed_phase == "preflight" for host in failed.values())
        which = ", ".join(failed) if len(failed) <= NAMED_HOSTS else f"these {len(failed)} hosts"
        what = which + (", or the inventory," if requirement_failed else "")
        text = f"Fix {what} and run the same command again: what is done is not done twice."
        yield from style.hanging("", text)
    elif ended.nodes_ready is not None and command == "up" and started is not None and started.inventory:
        inventory = shlex.quote(started.inventory)
        yield "Next:"
        if ended.kubectl_works:
            yield f"  kbootstrap kubeconfig {inventory} --merge"
        yield f"  kbootstrap status {inventory}"
    if started is not None and started.log and ended.status != "ok":
        yield from style.hanging("", f"The full log of this run: {started.log}", style.dim)


def duration(seconds: float) -> str:
    """12.3 s, or 2 min 05 s."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds) // 60} min {int(seconds) % 60:02d} s"
