"""The timeline of a report: one lane per host, with its phases, its waits and its steps. Boxes placed by CSS."""

from __future__ import annotations

from collections.abc import Iterator

from kbootstrap.ui.report.markup import Html, joined, tag
from kbootstrap.ui.summary import duration
from kbootstrap.ui.timeline import Span, StepSpan, Timeline, Wait, by_host

STATES = {
    "ok": "was right",
    "changed": "changed",
    "change": "would change",
    "unknown": "not known yet",
    "failed": "failed",
    "skipped": "skipped",
    "running": "no end",
}
"""The states of a step, and their words for people."""
_TICKS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600)
_MOST_TICKS = 6


def state_word(state: str) -> Html:
    return tag("span", STATES.get(state, state), class_=f"word {state if state in STATES else ''}")


def bar(span: Span, whole: float, state: str = "") -> Html:
    """A bar in a table: where in the run the span was."""
    left, width = _place(span, whole)
    return tag("span", class_=f"bar {state}", style=f"margin-left:{left:.2f}%;width:{width:.2f}%")


def timeline_chart(spans: Timeline, critical: frozenset[tuple[str, str]]) -> Iterator[Html]:
    """The chart with its legend and axis."""
    if not spans.steps:
        return
    yield tag("h2", "Timeline")
    yield tag(
        "p",
        "The upper row of a host has its phases, and hatched its waits for other hosts. The lower row has its steps."
        " Underlined phases are the critical path: they decided how long the run took.",
        class_="dim",
    )
    present = {step.state for step in spans.steps}
    yield tag("div", *(joined(state_word(state), " ") for state in STATES if state in present), class_="legend")
    yield tag("div", tag("div", class_="wide"), tag("div", *_ticks(spans.seconds), class_="track"), class_="lane axis")
    phases, waits, steps = by_host(spans.phases), by_host(spans.waits), by_host(spans.steps)
    for host in spans.hosts:
        parts = [_phase(span, spans.seconds, (span.phase, host) in critical) for span in phases.get(host, ())]
        parts += [_wait(wait, spans.seconds) for wait in waits.get(host, ())]
        parts += [_step(step, spans.seconds) for step in steps.get(host, ()) if step.state != "skipped"]
        yield tag("div", tag("div", host), tag("div", *parts, class_="track"), class_="lane")


def _place(span: Span, whole: float) -> tuple[float, float]:
    """Left edge and width in percent."""
    whole = whole or 1.0
    left = min(100.0, 100 * span.began / whole)
    return left, max(0.0, min(100 - left, 100 * span.seconds / whole))


def _box(span: Span, whole: float, kind: str, label: str, tip: str) -> Html:
    left, width = _place(span, whole)
    return tag("i", label, class_=kind, title=tip, style=f"left:{left:.2f}%;width:{width:.2f}%")


def _phase(span: Span, whole: float, critical: bool) -> Html:
    kind = "phase critical" if critical else "phase"
    return _box(span, whole, kind, span.phase, f"{span.host} {span.phase}: {duration(span.seconds)}")


def _wait(wait: Wait, whole: float) -> Html:
    return _box(wait, whole, "wait", f"waits for {wait.for_host}", f"{wait_text(wait)}: {duration(wait.seconds)}")


def wait_text(wait: Wait) -> str:
    return f"{wait.host} {wait.phase} waits for {wait.for_phase} of {wait.for_host}"


def _step(step: StepSpan, whole: float) -> Html:
    tip = f"{step.phase}.{step.step} {STATES.get(step.state, step.state)}, {duration(step.seconds)}: {step.title}"
    return _box(step, whole, f"step {step.state}", "", tip)


def _ticks(whole: float) -> Iterator[Html]:
    every = next((tick for tick in _TICKS if whole / tick <= _MOST_TICKS), whole / _MOST_TICKS)
    for number in range(int(whole / every) + 1 if every else 0):
        at = number * every
        # A label at the very end would be cut off.
        if at <= 0.95 * whole:
            yield tag("span", _tick_text(at), style=f"left:{100 * at / whole:.2f}%")


def _tick_text(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:g} s"
    return f"{int(seconds) // 60} min" + (f" {int(seconds) % 60} s" if seconds % 60 else "")
