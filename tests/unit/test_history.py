"""`kbootstrap runs`: whole, torn, old and foreign journals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.journals import EVENTS, record

from kbootstrap.cli import cli
from kbootstrap.errors import InventoryError
from kbootstrap.run.history import all_runs, find_run
from kbootstrap.run.journal import Journal
from kbootstrap.ui.lines import LinesView


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    return tmp_path / "kbootstrap/runs"


def called(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["runs", *arguments])


def test_every_event_comes_back_as_it_was(runs: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    found = find_run("2026")
    assert found.events == EVENTS
    assert found.problems == ()
    assert (found.result, found.seconds) == ("failed", 5.0)


def test_the_list_has_the_newest_run_first(runs: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    record(runs, "20260102T000000-bbbbbb", EVENTS[:-1])
    head, newest, oldest = called().stdout.splitlines()
    assert head.split() == ["RUN", "BEGAN", "COMMAND", "CLUSTER", "HOSTS", "RESULT", "TIME"]
    assert newest.split()[0] == "20260102T000000-bbbbbb"
    assert newest.endswith("up       demo     cp1 w1  no end      >= 4.0 s")
    assert oldest.endswith("up       demo     cp1 w1  failed (1)  5.0 s")


def test_a_small_terminal_gets_no_torn_words(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    record(runs, "20260101T000000-aaaaaa")
    monkeypatch.setattr("kbootstrap.ui.columns", lambda _stream: 60)
    lines = called().stdout.splitlines()
    assert max(map(len, lines)) <= 60
    assert [line[:5] for line in lines] == ["RUN  ", "    C", "20260", "    d"]


def test_the_list_as_json(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa")
    (found,) = json.loads(called("-o", "json").stdout)["runs"]
    assert found == {
        "run": "20260101T000000-aaaaaa",
        "time": 1000.0,
        "command": "up",
        "mode": "apply",
        "cluster": "demo",
        "hosts": ["cp1", "w1"],
        "result": "failed",
        "exit_code": 1,
        "seconds": 5.0,
        "log": str(path),
        "problems": [],
    }


@pytest.mark.parametrize("verbose", [False, True])
def test_a_run_is_shown_as_the_lines_view_showed_it(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, verbose: bool
) -> None:
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    record(runs, "20260101T000000-aaaaaa")
    with (tmp_path / "shown").open("w") as stream, LinesView(stream, verbose=verbose) as view:
        for event in EVENTS:
            view.handle(event)
    shown = called("last", *(["-v"] if verbose else []))
    assert shown.stdout == (tmp_path / "shown").read_text()
    assert "join.join failed" in shown.stdout
    assert shown.stderr == ""


def test_a_run_as_json_has_the_lines_of_the_run(runs: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    lines = [json.loads(line) for line in called("last", "-o", "json").stdout.splitlines()]
    assert [line["type"] for line in lines] == ["run", "step-started", "step", "step", "network", "result"]


def test_a_torn_journal_is_shown_as_far_as_it_goes(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa")
    whole = path.read_bytes()
    # A killed run leaves any part of the last line; every cut is shown without an error.
    for cut in range(1, len(whole), 97):
        path.write_bytes(whole[:cut])
        shown = called("last")
        assert shown.exit_code == 0, cut
        assert "is not whole: " in shown.stderr, cut
        assert called().exit_code == 0, cut
    path.write_bytes(whole[:-10])
    shown = called("last")
    assert "cp1 init.init changed" in shown.stdout
    assert shown.stderr.splitlines() == [
        "The journal of 20260101T000000-aaaaaa is not whole: its last line is cut off",
        "The journal of 20260101T000000-aaaaaa is not whole: it has no end: the run was killed, or is still running",
    ]


def test_the_journal_of_another_version_is_shown_as_far_as_it_is_known(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa")
    lines = path.read_text().splitlines()
    started = {**json.loads(lines[0]), "new": 1}
    old = {key: value for key, value in started.items() if key not in ("addresses", "software")}
    strange = [{"event": "Teleported", "time": 1}, {"event": "StepEnded", "host": "w1"}, [1], {"event": {}}, "x"]
    strange += [{**started, "time": 1e300}, {**started, "time": float("nan")}]
    path.write_text("\n".join([json.dumps(old), *map(json.dumps, strange), "{", "\xff", *lines[1:]]) + "\n")
    found = find_run()
    assert found.events[1:] == EVENTS[1:]
    assert found.started is not None
    assert found.started.addresses == ()
    assert found.problems == (
        "8 lines cannot be read (the first: line 3)",
        "it has events that this version of kbootstrap does not know: Teleported",
    )


def test_a_journal_without_its_first_line(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa", EVENTS[1:])
    assert called("last").exit_code == 0
    assert find_run().problems == ("its first line is missing",)
    assert "(its first line is missing)" in called().stdout
    path.unlink()
    assert find_run("20260101").problems[0] == "the journal cannot be read: No such file or directory"


def test_escapes_and_keys_in_a_journal_are_not_shown(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa", EVENTS[:1])
    notice = {
        "event": "Notice",
        "time": 1,
        "level": "warning",
        "text": "\x1b[2Jtoken: abcdef.0123456789abcdef",
        "host": "",
    }
    path.write_text(path.read_text() + json.dumps(notice) + "\n")
    shown = called("last").stdout
    assert "token: ***" in shown
    assert "\x1b" not in shown


def test_a_run_that_never_began_leaves_no_journal(runs: Path) -> None:
    with Journal("20260101T000000-aaaaaa", runs):
        pass
    assert list(runs.iterdir()) == []


def test_an_empty_journal_is_counted_and_is_not_the_last_run(runs: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    (runs / "20260102T000000-bbbbbb").mkdir()
    (runs / "20260102T000000-bbbbbb/events.jsonl").touch()
    shown = called()
    assert "bbbbbb" not in shown.stdout
    assert shown.stderr == "1 run that ended before the first step: not listed.\n"
    assert find_run().run_id == "20260101T000000-aaaaaa"
    assert [run.result for run in all_runs()] == ["not-begun", "failed"]


@pytest.mark.parametrize("name", ["2027", "../..", "/etc", "2026"])
def test_a_name_that_is_no_run_or_two_is_refused(runs: Path, name: str) -> None:
    record(runs, "20260101T000000-aaaaaa")
    record(runs, "20260102T000000-bbbbbb")
    with pytest.raises(InventoryError, match=r"begins with|runs begin with") as error:
        find_run(name)
    assert error.value.exit_code == 2
    assert error.value.hint.endswith("[run-history]")


def test_without_any_run(runs: Path) -> None:
    assert called().stderr == "No run has a journal yet.\n"
    assert json.loads(called("-o", "json").stdout) == {"runs": []}
    with pytest.raises(InventoryError, match="no run has a journal in"):
        find_run()
    runs.parent.mkdir(parents=True)
    runs.touch()
    with pytest.raises(InventoryError, match="cannot be read: Not a directory"):
        find_run()


def test_the_shell_completes_runs(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from kbootstrap.cli import completion

    record(runs, "20260101T000000-aaaaaa")
    assert completion.runs(None, None, "") == ["last", "20260101T000000-aaaaaa"]  # type: ignore[arg-type]
    assert completion.runs(None, None, "2026") == ["20260101T000000-aaaaaa"]  # type: ignore[arg-type]
    monkeypatch.setenv("XDG_STATE_HOME", "/nowhere")
    assert completion.runs(None, None, "") == []  # type: ignore[arg-type]
