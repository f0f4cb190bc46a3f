"""The HTML report of a run: one page without scripts and without anything from elsewhere."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from string import Template
from typing import TYPE_CHECKING

from kbootstrap.errors import InventoryError
from kbootstrap.ui.history import RESULTS, began_text
from kbootstrap.ui.report import sections
from kbootstrap.ui.report.charts import timeline_chart
from kbootstrap.ui.report.markup import Html, joined, tag, text
from kbootstrap.ui.summary import duration
from kbootstrap.ui.timeline import Timeline, timeline

if TYPE_CHECKING:
    from kbootstrap.run.history import Recorded

_PAGE = Path(__file__).with_name("page.html")
_OURS = b"<!DOCTYPE html>\n<!-- kbootstrap report -->\n"
"""How every report begins. A file that begins otherwise is not ours."""


def report_html(run: Recorded) -> str:
    """The page."""
    spans = timeline(run.events)
    page = Template(_PAGE.read_text(encoding="utf-8"))
    return page.substitute(title=text(_title(run)), body=joined(*_body(run, spans)))


def _title(run: Recorded) -> str:
    what = f"{run.started.command} of {run.started.cluster}" if run.started else f"run {run.run_id}"
    return f"{what}: {RESULTS[run.result]}"


def _body(run: Recorded, spans: Timeline) -> Iterator[Html]:
    critical = [(part.phase, part.host) for part in run.ended.critical_path] if run.ended else []
    yield tag("h1", _title(run))
    yield from _facts(run, spans)
    for problem in run.problems:
        yield tag("p", f"The journal of this run is not whole: {problem}.", class_="box warn")
    yield from sections.failures(run, spans)
    yield from sections.warnings(run.events)
    yield from timeline_chart(spans, frozenset(critical))
    yield from sections.critical_path(run.ended)
    yield from sections.waits(spans)
    yield from sections.differences(run, spans)
    yield from sections.connections(run.events)
    yield from sections.hosts(run, spans)


def _facts(run: Recorded, spans: Timeline) -> Iterator[Html]:
    started, ended = run.started, run.ended
    facts = {"run": run.run_id, "took": duration(run.seconds) if ended else f"at least {duration(run.seconds)}"}
    if started:
        facts |= {"began": began_text(started.time), "mode": started.mode, "software": started.software}
        facts |= {"inventory": started.inventory}
    facts |= {"hosts": str(len(spans.hosts)), "exit code": str(ended.exit_code) if ended else ""}
    items = (tag("li", tag("b", name), value) for name, value in facts.items() if value)
    yield tag("ul", *items, class_="facts")


def save_report(page: str, path: Path) -> None:
    """Write the page to a new file, or over an earlier report. Raises InventoryError."""
    try:
        _save(page, path)
    except OSError as error:
        raise InventoryError(
            f"{path} cannot be written: {error.strerror}", "Name a new file in a folder of yours. [run-history]"
        ) from None


def _save(page: str, path: Path) -> None:
    if path.is_symlink() or path.exists():
        _require_ours(path)
    fd, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="replace") as file:
            file.write(page)
        if path.exists():
            Path(new).replace(path)
        else:
            # Unlike a rename, this fails when somebody else has made the file meanwhile.
            os.link(new, path)
    finally:
        Path(new).unlink(missing_ok=True)


def _require_ours(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as file:
        plain = stat.S_ISREG(os.fstat(fd).st_mode)
        if plain and file.read(len(_OURS)) == _OURS:
            return
    raise InventoryError(
        f"{path} exists and is not a report of kbootstrap: it is not overwritten",
        "Name a new file, or remove this one first. [run-history]",
    )
