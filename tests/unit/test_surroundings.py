"""The run's outcome never depends on what shows it: a matrix of streams, encodings, terminals and state homes.

Every case runs `kbootstrap` as a process of its own, on an inventory whose hosts refuse connections: that is exit
code 4, and a report that must reach whatever still works.
"""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from pathlib import Path

import click
import pytest
from support.examples import document, written

from kbootstrap.cli import runs
from kbootstrap.cli.options import chosen
from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Notice, RunEnded
from kbootstrap.run import hosts
from kbootstrap.state_home import state_home

KBOOTSTRAP = [sys.executable, "-m", "kbootstrap"]
STREAMS = {
    "as usual": "",
    "no stdin": "<&-",
    "no stdout": ">&-",
    "no stderr": "2>&-",
    "nothing at all": "<&- >&- 2>&-",
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "all full": ">/dev/full 2>/dev/full",
    "a pipe that is closed early": "| head -n 1",
    "stderr in a pipe that is closed early": "2>&1 >/dev/null | true",
}
ENCODINGS = {
    "utf-8": {"LC_ALL": "C.UTF-8"},
    "gbk": {"PYTHONIOENCODING": "gbk"},
    "ascii": {"PYTHONIOENCODING": "ascii"},
    "posix": {"LC_ALL": "POSIX", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
}
BUGS = ("Traceback", "has a bug", "Exception ignored")


@pytest.fixture
def refusing(tmp_path: Path) -> Path:
    data = document()
    data["cluster"]["name"] = "test"
    for host in data["hosts"]:
        host["internal_address"], host["address"] = host["address"], "127.0.0.1"
        host["ssh"] = {"port": 1 if host["role"] == "control-plane" else 2, "user": "nobody", "config": "/dev/null"}
    return written(tmp_path, data)


def run(
    command: list[str], streams: str, environment: dict[str, str], state: Path
) -> subprocess.CompletedProcess[bytes]:
    words = " ".join(f"'{word}'" for word in command)
    script = f"set -o pipefail; {words} {streams}"
    base = {"PATH": os.environ["PATH"], "HOME": str(state), "XDG_STATE_HOME": str(state / "state")}
    return subprocess.run(
        ["bash", "-c", script], env={**base, **environment}, capture_output=True, timeout=60, check=False
    )


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("streams", STREAMS)
def test_a_run_ends_as_it_would_have(refusing: Path, tmp_path: Path, streams: str, encoding: str) -> None:
    outputs = ["lines", "json", "live"]
    number = list(STREAMS).index(streams) + list(ENCODINGS).index(encoding)
    for output in outputs if streams == "as usual" else [outputs[number % 3]]:
        options = ["--output", output, str(refusing)]
        done = run([*KBOOTSTRAP, "check", *options], STREAMS[streams], ENCODINGS[encoding], tmp_path)
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        assert done.returncode == 4, (options, said)
        assert not [bug for bug in BUGS if bug in said], said
        if streams in ("as usual", "no stdin", "no stderr", "stderr full"):
            assert "connection refused" in said
        journals = list((tmp_path / "state").glob("kbootstrap/runs/*/events.jsonl"))
        last = json.loads(max(journals).read_text().splitlines()[-1])
        assert (last["event"], last["exit_code"]) == ("RunEnded", 4)


@pytest.mark.parametrize("streams", ["stdout full", "no stdout", "all full"])
def test_what_was_not_shown_is_not_a_success(tmp_path: Path, streams: str) -> None:
    done = run([*KBOOTSTRAP, "phases"], STREAMS[streams], {}, tmp_path)
    assert done.returncode == 1
    if streams != "all full":
        assert done.stderr.decode().count("standard output cannot be written") == 1


@pytest.mark.parametrize("streams", STREAMS)
@pytest.mark.parametrize("command", [["plan", "missing.yaml"], ["explain", "swap"]])
def test_other_commands_have_no_traceback(tmp_path: Path, streams: str, command: list[str]) -> None:
    done = run([*KBOOTSTRAP, *command], STREAMS[streams], ENCODINGS["gbk"], tmp_path)
    assert done.returncode in (0, 1, 2)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert not [bug for bug in BUGS if bug in said], said


@pytest.mark.parametrize("terminal", ["dumb", "", "xterm", "nonsense"])
@pytest.mark.parametrize("columns", [20, 80])
def test_terminals(refusing: Path, tmp_path: Path, terminal: str, columns: int) -> None:
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "COLUMNS": str(columns)}
    environment |= {"TERM": terminal} if terminal else {}
    process = subprocess.Popen(
        [*KBOOTSTRAP, "check", str(refusing)], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    said = b""
    while True:
        try:
            part = os.read(master, 65536)
        except OSError:
            break
        if not part:
            break
        said += part
    os.close(master)
    assert process.wait(timeout=60) == 4
    assert b"refused" in said
    assert b"Traceback" not in said
    if terminal == "dumb":
        assert b"\033" not in said


def test_a_terminal_that_goes_away(refusing: Path, tmp_path: Path) -> None:
    """The window is closed: writes fail with EIO, and there may be a SIGHUP."""
    master, slave = pty.openpty()
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / "state")}
    process = subprocess.Popen(
        [*KBOOTSTRAP, "check", str(refusing)], stdin=slave, stdout=slave, stderr=slave, env=environment
    )
    os.close(slave)
    os.close(master)
    assert process.wait(timeout=60) == 4
    assert len(list((tmp_path / "state").glob("kbootstrap/runs/*/events.jsonl"))) == 1


@pytest.mark.parametrize("kind", ["a file", "below a file", "full"])
def test_a_state_home_that_cannot_be_written_is_named(refusing: Path, tmp_path: Path, kind: str) -> None:
    state = {"a file": "/dev/null", "below a file": "/dev/null/below", "full": "/dev/full"}[kind]
    done = run([*KBOOTSTRAP, "check", str(refusing)], "", {"XDG_STATE_HOME": state}, tmp_path)
    assert done.returncode == 1
    assert f"{state}/kbootstrap/runs/" in done.stderr.decode()
    assert "set XDG_STATE_HOME to use another folder" in done.stderr.decode()


def test_a_home_that_is_missing(refusing: Path, tmp_path: Path) -> None:
    done = run([*KBOOTSTRAP, "check", str(refusing)], "", {"HOME": "/nonexistent/home"}, tmp_path)
    assert done.returncode == 4


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_signals_end_a_command_alike(tmp_path: Path, number: signal.Signals) -> None:
    """While it waits for a host: 127.0.0.1 accepts the connection and never says a word."""
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(8)
        silent.settimeout(30)
        data = document(workers=0)
        data["hosts"][0].update(
            internal_address="192.168.1.10",
            address="127.0.0.1",
            ssh={"port": silent.getsockname()[1], "user": "nobody", "config": "/dev/null"},
        )
        process = subprocess.Popen(
            [*KBOOTSTRAP, "check", "-o", "lines", str(written(tmp_path, data))],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "XDG_STATE_HOME": str(tmp_path)},
        )
        with silent.accept()[0]:
            process.send_signal(number)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 130, out + err
    assert "interrupted" in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_asks_and_the_second_ends(number: signal.Signals) -> None:
    """But not a second SIGHUP: a terminal that is closed sends it twice."""
    stop = threading.Event()
    before = signal.getsignal(number)
    with runs._interruptible(stop):
        os.kill(os.getpid(), number)
        assert stop.is_set()
        if number == signal.SIGHUP:
            os.kill(os.getpid(), number)
        else:
            with pytest.raises(KeyboardInterrupt):
                os.kill(os.getpid(), number)
    assert signal.getsignal(number) == before


def test_nohup_stays_nohup() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with runs._interruptible(threading.Event()):
            assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_closed_standard_error_is_no_failure_while_there_is_nothing_to_say(tmp_path: Path) -> None:
    assert run([*KBOOTSTRAP, "phases"], "2>&-", {}, tmp_path).returncode == 0
    assert run([*KBOOTSTRAP, "phases"], "<&-", {}, tmp_path).returncode == 0


@pytest.mark.parametrize("umask", ["000", "022", "077", "277"])
def test_what_the_operator_gets_is_private(refusing: Path, tmp_path: Path, umask: str) -> None:
    script = f"umask {umask}; exec {' '.join(KBOOTSTRAP)} check {refusing}"
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    subprocess.run(["bash", "-c", script], env=environment, capture_output=True, timeout=60, check=False)
    made = sorted((tmp_path / "home").rglob("*"))
    assert [path.name for path in made][-1] == "events.jsonl"
    assert {path.stat().st_mode & 0o077 for path in made} == {0}


class Broken:
    """A journal whose disk is full after the first event."""

    path = Path("/full/events.jsonl")

    def __init__(self) -> None:
        self.taken = 0

    def handle(self, _event: object) -> None:
        self.taken += 1
        if self.taken == 2:
            raise OSError(28, "No space left on device")


class Seen:
    def __init__(self) -> None:
        self.events: list[object] = []

    def handle(self, event: object) -> None:
        self.events.append(event)


def test_a_log_that_can_no_longer_be_written_is_said_once_and_is_no_success() -> None:
    journal, view = Broken(), Seen()
    watched = runs._Watched(journal, view)  # type: ignore[arg-type]
    events = [Notice(float(n), "info", f"event {n}") for n in range(4)]
    for event in events:
        watched.handle(event)
    assert [event for event in view.events if event in events] == events
    (said,) = (event for event in view.events if event not in events)
    assert isinstance(said, Notice)
    assert said.level == "warning"
    assert "the log of this run cannot be written: No space left on device (/full/events.jsonl)" in said.text
    assert watched.exit_code == 1
    for own, shown in ((0, 1), (4, 4)):
        watched.handle(RunEnded(5.0, "ok" if own == 0 else "failed", own, 1.0, {}, {}))
        ended = view.events[-1]
        assert isinstance(ended, RunEnded)
        assert ended.exit_code == shown, "JSON says what the process says"


def test_a_missing_home_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nobody)
    with pytest.raises(KbootstrapError, match="no home folder") as refused:
        state_home()
    assert "Set HOME" in refused.value.hint


def test_an_operator_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown() -> str:
        raise KeyError("getpwuid(): uid not found: 54321")

    monkeypatch.setattr("getpass.getuser", unknown)
    monkeypatch.setattr("socket.gethostname", lambda: "ann's laptop!")
    assert hosts._operator() == f"{os.getuid()}@ann?s?laptop?"


def test_a_typed_password_that_is_not_utf8(monkeypatch: pytest.MonkeyPatch) -> None:
    asks = {"parallelism": None, "ask_password": True, "ask_sudo_password": False}
    monkeypatch.setattr("click.prompt", lambda *_words, **_options: "p\udce4ss")
    with pytest.raises(click.UsageError, match="SSH password: this is not UTF-8 text"):
        chosen(asks)
