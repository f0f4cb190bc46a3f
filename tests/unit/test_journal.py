"""The journal after errors, and with events of every kind."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from support.examples import document, written
from support.journals import read

from kbootstrap.errors import Failure, KbootstrapError
from kbootstrap.events import (
    Event,
    HostSummary,
    Notice,
    PhaseEnded,
    PhaseStarted,
    RunEnded,
    RunStarted,
    StepEnded,
    StepOutput,
    StepStarted,
)
from kbootstrap.redact import Redactor
from kbootstrap.run.journal import Journal
from kbootstrap.run.redaction import clean_event, clean_failure
from kbootstrap.secret import Secret

FAILURE = Failure("no hunter22", "login hunter22", 1, ("saying hunter22",), "not hunter22")
EVENTS: list[Event] = [
    RunStarted(1.0, "run", "up", "apply", "demo", ("cp1",), "/x"),
    PhaseStarted(1.0, "cp1", "prepare", (("swap", "Turn swap off"),)),
    StepStarted(1.0, "cp1", "prepare", "swap", "Turn swap off"),
    StepOutput(1.0, "cp1", "prepare", "swap", "hunter22"),
    StepEnded(1.0, "cp1", "prepare", "swap", "Turn swap off", "failed", 1.0, ("- hunter22",), FAILURE),
    PhaseEnded(1.0, "cp1", "prepare", False, 1.0),
    Notice(1.0, "warning", "hunter22", "cp1"),
    RunEnded(1.0, "failed", 1, 1.0, {"failed": 1}, {"cp1": HostSummary({"failed": 1}, "prepare", "swap", FAILURE)}),
]


def test_every_kind_of_event_is_written_masked_and_in_order(tmp_path: Path) -> None:
    redactor = Redactor([Secret("hunter22")])
    failure = clean_failure(redactor, FAILURE)
    summary = HostSummary({"failed": 1}, "prepare", "swap", failure)
    ended = RunEnded(1.0, "failed", 1, 1.0, {"failed": 1}, {"cp1": summary})
    with Journal("run", tmp_path) as journal:
        for event in [*EVENTS[:-1], ended]:
            journal.handle(clean_event(redactor, event))
    assert [line["event"] for line in read(journal.path)] == [type(event).__name__ for event in EVENTS]
    text = journal.path.read_text()
    assert "hunter22" not in text
    assert text.count("***") == 11
    assert text.count("\n") == len(EVENTS)


def test_an_event_is_on_disk_before_the_next_one_comes(tmp_path: Path) -> None:
    with Journal("run", tmp_path) as journal:
        for count, event in enumerate(EVENTS, start=1):
            journal.handle(event)
            assert len(list(read(journal.path))) == count


def test_the_journal_of_another_run_is_never_written_to(tmp_path: Path) -> None:
    with Journal("run", tmp_path) as journal:
        journal.handle(EVENTS[0])
    with pytest.raises(KbootstrapError, match="cannot be written: File exists"), Journal("run", tmp_path):
        pass
    assert len(list(read(journal.path))) == 1


@pytest.mark.parametrize("verb", ["plan", "check"])
def test_a_state_directory_that_cannot_be_written_is_reported_without_a_traceback(tmp_path: Path, verb: str) -> None:
    data = document()
    for host in data["hosts"]:
        host["internal_address"], host["address"] = host["address"], "127.0.0.1"
        host["ssh"] = {"port": 1 if host["role"] == "control-plane" else 2, "config": None}
    (tmp_path / "file").touch()
    done = subprocess.run(
        [sys.executable, "-m", "kbootstrap", verb, str(written(tmp_path, data))],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "XDG_STATE_HOME": str(tmp_path / "file")},
    )
    assert "Traceback" not in done.stderr
    assert "has a bug" not in done.stderr
    assert str(tmp_path / "file") in done.stderr


def test_only_the_owner_can_read_journals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    before = os.umask(0)
    try:
        with Journal("run") as journal:
            journal.handle(EVENTS[0])
    finally:
        os.umask(before)
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    folders = [folder for folder in journal.path.parents if folder.is_relative_to(tmp_path / "state" / "kbootstrap")]
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in folders] == [0o700] * 3
