"""The sections of a report below its timeline and above it."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from kbootstrap.events import Event, NetworkTested, Notice, RunEnded
from kbootstrap.text import counted
from kbootstrap.topics import topic_of
from kbootstrap.ui import Style
from kbootstrap.ui.connections import connection_lines
from kbootstrap.ui.report.charts import STATES, bar, state_word, wait_text
from kbootstrap.ui.report.markup import Html, joined, tag
from kbootstrap.ui.summary import Failed, duration, grouped
from kbootstrap.ui.timeline import Span, StepSpan, Timeline, by_host

if TYPE_CHECKING:
    from kbootstrap.run.history import Recorded

OPEN_HOSTS = 12
"""With more hosts than this, their tables are folded on the screen."""
_DIFFERENT = {"apply": ("changed",), "plan": ("change", "unknown")}


def failures(run: Recorded, spans: Timeline) -> Iterator[Html]:
    """Every failure with its command, output and hint; those that differ only in the host together."""
    started = run.started
    addresses = dict(zip(started.hosts, started.addresses, strict=False)) if started else {}
    found = grouped(spans.failures(), addresses)
    if found:
        yield tag("h2", "Failures")
    for failed in found:
        yield tag("div", *_failure(failed), class_="box bad")


def _failure(failed: Failed) -> Iterator[Html]:
    failure = failed.failure
    yield tag("h3", f"{' '.join(failed.hosts)}: {failed.phase}.{failed.step}")
    yield tag("p", failure.message)
    if failure.command:
        status = f" (exit status {failure.exit_status})" if failure.exit_status is not None else ""
        yield tag("p", tag("code", failure.command), status)
    if any(line.strip() for line in failure.output):
        yield tag("pre", "\n".join(failure.output))
    if failure.hint:
        topic = topic_of(failure.hint)
        more = joined(" More: ", tag("code", f"kbootstrap explain {topic}")) if topic else Html()
        yield tag("p", tag("b", "Hint: "), failure.hint, more)


def warnings(events: Sequence[Event]) -> Iterator[Html]:
    """Warnings and errors of the run that belong to no step."""
    found = [event for event in events if isinstance(event, Notice) and event.level != "info"]
    if not found:
        return
    yield tag("h2", "Warnings")
    for event in found:
        where = joined(tag("b", event.host), " ") if event.host else Html()
        yield tag("p", where, event.text, class_="box warn" if event.level == "warning" else "box bad")


def critical_path(ended: RunEnded | None) -> Iterator[Html]:
    """The chain of phases that decided how long the run took."""
    if ended is None or not ended.critical_path:
        return
    total = sum(part.seconds for part in ended.critical_path)
    yield tag("h2", "Critical path")
    yield tag(
        "p", f"{duration(total)} of {duration(ended.seconds)}. Each phase waited for the one before it.", class_="dim"
    )
    rows = []
    at = 0.0
    for part in ended.critical_path:
        span = Span(part.host, part.phase, at, part.seconds)
        at += part.seconds
        rows.append((part.host, part.phase, duration(part.seconds), bar(span, total)))
    yield _table(("host", "phase", "time", ""), rows)


def waits(spans: Timeline) -> Iterator[Html]:
    """Who waited for whom, the longest wait first."""
    if spans.waits:
        yield tag("h2", "Who waited for whom")
        ordered = sorted(spans.waits, key=lambda wait: -wait.seconds)
        rows = [(wait_text(wait), duration(wait.seconds), bar(wait, spans.seconds)) for wait in ordered]
        yield _table(("wait", "time", ""), rows)


def differences(run: Recorded, spans: Timeline) -> Iterator[Html]:
    """What the steps changed, or in a plan would change; the same difference of several hosts once."""
    mode = run.started.mode if run.started else "apply"
    found: dict[tuple[str, str, str, str, tuple[str, ...]], list[str]] = {}
    for step in spans.steps:
        if step.diff and step.state in _DIFFERENT[mode]:
            found.setdefault((step.phase, step.step, step.title, step.state, step.diff), []).append(step.host)
    if not found:
        return
    yield tag("h2", "Differences applied" if mode == "apply" else "Differences found")
    for (phase, name, title, state, diff), hosts in found.items():
        head = tag("h3", title, " ", state_word(state))
        where = tag("p", f"{phase}.{name} on {', '.join(hosts)}", class_="dim")
        yield tag("div", head, where, tag("pre", "\n".join(diff)), class_="box")


def connections(events: Sequence[Event]) -> Iterator[Html]:
    """The result of `verify --deep`, as the screen shows it."""
    for event in events:
        if isinstance(event, NetworkTested):
            yield tag("h2", "Connections of the pod network")
            lines = "\n".join(connection_lines(Style(io.StringIO()), event)).strip("\n")
            yield tag("div", tag("pre", lines), class_="scroll")


def hosts(run: Recorded, spans: Timeline) -> Iterator[Html]:
    """Every step of every host."""
    if not spans.hosts:
        return
    addresses = dict(zip(run.started.hosts, run.started.addresses, strict=False)) if run.started else {}
    yield tag("h2", "Hosts and steps")
    yield tag("p", "Times are from the start of the run. The journal also has the output of every step: ", class_="dim")
    yield tag("p", tag("code", str(run.path)))
    every = by_host(spans.steps)
    for host in spans.hosts:
        steps = every.get(host, [])
        head = tag("summary", host, " ", tag("span", _about(addresses.get(host, ""), steps), class_="dim"))
        unfolded = {"open": "open"} if len(spans.hosts) <= OPEN_HOSTS else {}
        yield tag("details", head, _steps_table(steps, spans.seconds), **unfolded)


def _about(address: str, steps: list[StepSpan]) -> str:
    """The address, the system as facts say it, and the counts of states."""
    system = next((step.diff[0] for step in steps if step.phase == "facts" and step.diff), "")
    states = [step.state for step in steps]
    counts = ", ".join(f"{states.count(state)} {word}" for state, word in STATES.items() if state in states)
    return " · ".join(filter(None, (address, system, counts or counted(0, "step"))))


def _steps_table(steps: list[StepSpan], whole: float) -> Html:
    rows = (
        tag(
            "tr",
            tag("td", step.title, " ", tag("span", f"{step.phase}.{step.step}", class_="dim mono")),
            tag("td", state_word(step.state)),
            tag("td", f"{step.began:.1f} s", class_="num wide"),
            tag("td", duration(step.seconds), class_="num"),
            tag("td", bar(step, whole, step.state), class_="graph"),
        )
        for step in steps
    )
    head = tag(
        "tr",
        tag("th", "step"),
        tag("th", "result"),
        tag("th", "began", class_="num wide"),
        tag("th", "took", class_="num"),
        tag("th", ""),
    )
    return tag("div", tag("table", tag("thead", head), tag("tbody", *rows)), class_="scroll")


def _table(names: Sequence[str], rows: Sequence[tuple[str, ...]]) -> Html:
    """A table whose last two columns are a time and a bar."""
    kinds = [""] * (len(names) - 2) + ["num", "graph"]
    head = tag("tr", *(tag("th", name, class_=kind) for name, kind in zip(names, kinds, strict=True)))
    body = (tag("tr", *(tag("td", cell, class_=kind) for cell, kind in zip(row, kinds, strict=True))) for row in rows)
    return tag("div", tag("table", tag("thead", head), tag("tbody", *body)), class_="scroll")
