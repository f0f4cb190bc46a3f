"""`kbootstrap report`: what the page has, hostile text in it, the file, and the page in a browser."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, cast

import pytest
from click.testing import CliRunner, Result
from support.journals import EVENTS, record

from kbootstrap.cli import cli
from kbootstrap.events import Event, HostWaits, PhaseStarted, RunEnded, RunStarted, StepEnded, StepStarted
from kbootstrap.run.history import find_run
from kbootstrap.ui.report import report_html
from kbootstrap.ui.timeline import RUNNING, timeline

RUN = "20260101T000000-aaaaaa"
TAGS = set(
    "html head meta link title style body h1 h2 h3 p b i a ul li div span pre code details summary table thead tbody"
    " tr th td".split()
)
EVIL = "<script>console.error('owned')</script>\"'><img src=x onerror=\"console.error('owned')\">&lt;${body}"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page(HTMLParser):
    """The elements and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "kbootstrap/runs"


def report(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["report", *arguments])


def page_of(root: Path, events: tuple[Event, ...]) -> str:
    record(root, RUN, events)
    return report_html(find_run(RUN, root))


def test_the_page_has_everything_of_the_run(tmp_path: Path) -> None:
    text = Page(page_of(tmp_path, EVENTS)).text
    for wanted in (
        "up of demo: failed",
        "w1: join.join",
        "it failed",
        "kubeadm join",
        "one\ntwo",
        "Hint: Look there. [join-failed]",
        "kbootstrap explain join-failed",
        "the clock is late",
        "w1 join waits for init of cp1",
        "2.0 s of 5.0 s",
        "+ new",
        "Start the control plane",
        "Join the cluster",
        "Connections of the pod network",
    ):
        assert wanted in text
    assert "is not whole" not in text


def test_the_page_needs_nothing_from_elsewhere_and_no_script(tmp_path: Path) -> None:
    page = page_of(tmp_path, EVENTS)
    assert Page(page).tags <= TAGS
    assert not {"src", "onclick", "onload", "action"} & Page(page).attributes
    assert re.findall(r'href="(?!data:,")|url\(|@import|https?:', page) == []


def evil_events() -> tuple[Event, ...]:
    """The run with hostile text in every place that holds text."""
    started, *others = EVENTS
    assert isinstance(started, RunStarted)
    hosts = (f"cp1{EVIL}", f"w1{EVIL}")
    strange: list[Event] = [replace(started, hosts=hosts, cluster=EVIL, software=EVIL, inventory=EVIL, addresses=hosts)]
    for event in others:
        changes = {
            name: EVIL for name in ("phase", "step", "title", "text", "for_phase", "line") if hasattr(event, name)
        }
        if hasattr(event, "host"):
            changes["host"] = event.host + EVIL
        if isinstance(event, StepEnded):
            failure = event.failure and replace(event.failure, message=EVIL, command=EVIL, output=(EVIL,), hint=EVIL)
            event = replace(event, diff=(EVIL,), failure=failure)
        if isinstance(event, PhaseStarted):
            event = replace(event, steps=((EVIL, EVIL),))
        strange.append(replace(cast(Any, event), **changes))
    return tuple(strange)


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    page = page_of(tmp_path, evil_events())
    found = Page(page)
    assert found.tags <= TAGS
    assert "onerror" not in found.attributes
    assert found.text.count(EVIL) > 15


@pytest.mark.parametrize("cut", range(1, len(EVENTS)))
def test_a_run_without_its_end_has_a_report(tmp_path: Path, cut: int) -> None:
    text = Page(page_of(tmp_path, EVENTS[:cut])).text
    assert "it has no end: the run was killed, or is still running" in text
    assert "at least" in text


def test_a_step_that_was_running_when_the_run_was_killed(tmp_path: Path) -> None:
    text = Page(page_of(tmp_path, EVENTS[:5])).text
    assert "no end" in text
    (step,) = timeline(EVENTS[:5]).steps
    assert (step.state, step.began, step.seconds) == (RUNNING, 1.0, 1.0)


def test_waits_end_with_the_phase_that_waited() -> None:
    events: list[Event] = [
        EVENTS[0],
        HostWaits(1001.0, "w1", "join", "cp1", "images"),
        HostWaits(1003.0, "w1", "join", "cp1", "init"),
        HostWaits(1003.5, "w1", "join", "cp1", "init"),
        StepStarted(1004.0, "w1", "verify", "x", "x"),
        PhaseStarted(1006.0, "w1", "join", ()),
        HostWaits(1007.0, "cp1", "labels", "w1", "join"),
        replace(EVENTS[-1], time=1009.0),
    ]
    found = [(wait.host, wait.for_phase, wait.began, wait.seconds) for wait in timeline(events).waits]
    assert found == [("w1", "images", 1.0, 2.0), ("w1", "init", 3.0, 3.0), ("cp1", "join", 7.0, 2.0)]


def test_a_run_without_duration_and_without_steps(tmp_path: Path) -> None:
    ended = RunEnded(1000.0, "ok", 0, 0.0, {}, {})
    assert "up of demo: done" in Page(page_of(tmp_path, (EVENTS[0], ended))).text


def test_the_same_difference_of_two_hosts_is_shown_once(tmp_path: Path) -> None:
    step = StepEnded(1002.0, "cp1", "prepare", "swap", "Turn swap off", "changed", 1.0, ("- /swapfile",))
    text = Page(page_of(tmp_path, (EVENTS[0], step, replace(step, host="w1")))).text
    assert text.count("- /swapfile") == 1
    assert "prepare.swap on cp1, w1" in text


def test_the_file_is_private_and_an_earlier_report_is_replaced(runs: Path, tmp_path: Path) -> None:
    record(runs, RUN)
    path = tmp_path / "report.html"
    before = os.umask(0)
    try:
        assert report("--html", str(path)).exit_code == 0
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text(path.read_text()[:200])
    assert report("last", "--html", str(path)).stderr == f"wrote {path}\n"
    assert path.read_text().endswith("</html>\n")
    assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".")] == []
    assert report("--html", "-").stdout == path.read_text()


@pytest.mark.parametrize("kind", ["other", "empty", "link", "broken link", "device", "pipe"])
def test_what_is_not_a_report_is_never_overwritten(runs: Path, tmp_path: Path, kind: str) -> None:
    record(runs, RUN)
    path, other = tmp_path / "report.html", tmp_path / "other"
    if kind in ("other", "empty"):
        path.write_text("<!DOCTYPE html>\n<html>" if kind == "other" else "")
    elif kind in ("link", "broken link"):
        assert report("--html", str(other)).exit_code == 0
        path.symlink_to(other if kind == "link" else tmp_path / "nowhere")
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path = Path("/dev/null")
    before = path.lstat()
    done = report("--html", str(path))
    assert done.exception is not None
    assert done.exception.exit_code == 2  # type: ignore[attr-defined]
    assert re.search("is not overwritten|cannot be written", str(done.exception))
    assert (path.lstat().st_ino, path.lstat().st_size) == (before.st_ino, before.st_size)
    assert not (tmp_path / "nowhere").exists()


def test_a_folder_that_is_not_there(runs: Path, tmp_path: Path) -> None:
    record(runs, RUN)
    done = report("--html", str(tmp_path / "no/report.html"))
    assert "cannot be written: No such file or directory" in str(done.exception)


def in_browser(page: Path, *options: str) -> tuple[str, str]:
    """What Chromium makes of the page, and what its console says. It asks nobody else."""
    assert BROWSER is not None
    quiet = "--headless --disable-gpu --no-first-run --disable-background-networking --disable-component-update"
    command = [BROWSER, *quiet.split(), "--disable-sync", "--host-resolver-rules=MAP * ~NOTFOUND", *options]
    command += ["--no-sandbox"] if os.geteuid() == 0 else []
    command += [f"--user-data-dir={page.parent / 'browser'}", "--enable-logging=stderr", page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if ":CONSOLE" in line)


needs_browser = pytest.mark.skipif(BROWSER is None, reason="Chromium is missing: scripts/setup --system installs it")


@needs_browser
@pytest.mark.parametrize("events", [EVENTS, evil_events()], ids=["plain", "hostile"])
def test_a_browser_shows_every_host_and_step_without_an_error(tmp_path: Path, events: tuple[Event, ...]) -> None:
    page = tmp_path / "report.html"
    page.write_text(page_of(tmp_path, events))
    dom, console = in_browser(page, "--dump-dom", "--window-size=400,900")
    assert console == ""
    shown = Page(dom)
    assert shown.tags <= TAGS
    for event in events:
        if isinstance(event, StepEnded):
            assert event.host in shown.text
            assert f"{event.title} {event.phase}.{event.step}" in shown.text


@needs_browser
def test_the_watch_sees_an_error_of_a_page(tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<!DOCTYPE html><title>x</title><script>console.error('owned')</script>")
    assert "owned" in in_browser(page, "--dump-dom")[1]
