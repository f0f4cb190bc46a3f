"""The launcher's protocol over a local shell, with a private /run, so that this machine's /run does not change."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from support.local_transport import LocalTransport

from kbootstrap.errors import StepError
from kbootstrap.remote.protocol import Status
from kbootstrap.remote.script import Output, Report
from kbootstrap.remote.session import MAX_BREAKS, BrokenError, Item, LockedError, LostError, Session
from kbootstrap.remote.timeouts import Timeouts
from kbootstrap.remote.transport import Pipe
from kbootstrap.secret import Secret
from kbootstrap.steps import Mode


class PrivateRun(LocalTransport):
    """A shell with ``run`` as its /run. The last pipe can be cut like a broken connection."""

    def __init__(self, run: Path, env: Mapping[str, str] | None = None) -> None:
        super().__init__(("unshare", "-rm", "sh", "-c", f'mount --bind {run} /run && exec sh -c "$1"', "sh"), env)
        self.run = run
        self.pipes: list[Pipe] = []

    def execute(self, command: str) -> Pipe:
        pipe = super().execute(command)
        self.pipes.append(pipe)
        return pipe


QUICK = Timeouts(tick=0.05)


def make(
    run: Path,
    mode: Mode = "apply",
    run_id: str = "1",
    notices: list[str] | None = None,
    timeouts: Timeouts = QUICK,
    transport: PrivateRun | None = None,
) -> Session:
    notice: Callable[[str], None] = (lambda _text: None) if notices is None else notices.append
    return Session(
        "h1",
        transport or PrivateRun(run),
        mode=mode,
        run_id=run_id,
        owner="ann@desk since 02:00",
        sudo="none",
        notice=notice,
        timeouts=timeouts,
    )


def wait_for(condition: Callable[[], bool], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    for pid in tmp_path.glob("kbootstrap/*/*.pid"):
        subprocess.run(["kill", "-9", "--", f"-{pid.read_text().strip()}"], check=False, capture_output=True)


def lines(items: list[Item]) -> list[str]:
    return [item.line for item in items if isinstance(item, Output)]


def test_plan_runs_from_memory_and_writes_nothing(run_dir: Path) -> None:
    items: list[Item] = []
    session = make(run_dir, "plan")
    session.open()
    status = session.run_inline(
        "x", 'echo "hello $KB_MODE"; printf "%s value x\\n" "$KB_MARKER"; exit 3', items.append, lambda: False
    )
    session.close()
    assert status == 3
    assert lines(items) == ["hello plan"]
    assert Report("value", ("x",)) in items
    assert list(run_dir.iterdir()) == []


def test_run_follows_a_detached_script(run_dir: Path) -> None:
    items: list[Item] = []
    session = make(run_dir)
    session.open()
    status = session.run_detached("prepare", "echo one; echo two; exit 7", items.append, lambda: False)
    again = session.run_detached("runtime", "echo three", items.append, lambda: False)
    session.close()
    assert (status, again) == (7, 0)
    assert lines(items) == ["one", "two", "three"]
    assert list((run_dir / "kbootstrap").glob("r-*")) == []


def test_below_systemd_a_script_knows_the_scope_to_go_to(run_dir: Path) -> None:
    """logind may end the processes of a closed SSH session. The runner moves to a scope before its first change."""
    items: list[Item] = []
    for folder in ("unused", "systemd/system"):
        (run_dir / folder).mkdir(parents=True)
        session = make(run_dir)
        session.open()
        assert session.run_detached("init", 'echo "<${KB_SCOPE:-}>"', items.append, lambda: False) == 0
        session.close()
    assert lines(items) == ["<>", "<kbootstrap-r-1-init.scope>"]


def test_scripts_are_private(run_dir: Path) -> None:
    items: list[Item] = []
    session = make(run_dir)
    session.open()
    session.run_detached(
        "x", 'stat -c %a /run/kbootstrap "$KB_DIR" "$KB_DIR/x.sh" "$KB_DIR/x.log"', items.append, lambda: False
    )
    session.close()
    assert lines(items) == ["700", "700", "600", "600"]


def test_a_cut_connection_is_reopened_and_nothing_is_lost_or_run_twice(run_dir: Path) -> None:
    notices: list[str] = []
    transport = PrivateRun(run_dir)
    session = make(run_dir, notices=notices, transport=transport)
    session.open()
    items: list[Item] = []
    go = run_dir / "go"
    script = "for i in 1 2 3 4 5; do echo line $i; done; until [ -e /run/go ]; do sleep 0.05; done; echo last"

    def keep(item: Item) -> None:
        items.append(item)
        if isinstance(item, Output) and item.line == "line 3" and len(transport.pipes) == 1:
            transport.pipes[0].close()
            go.touch()

    assert session.run_detached("x", script, keep, lambda: False) == 0
    session.close()
    assert lines(items) == ["line 1", "line 2", "line 3", "line 4", "line 5", "last"]
    assert len(transport.pipes) == 2
    assert notices[-1] == "reconnected"


def test_closing_while_a_script_runs_lets_it_continue(run_dir: Path) -> None:
    """The session ends at once without reconnecting, and the script keeps its files."""
    notices: list[str] = []
    session = make(run_dir, notices=notices)
    session.open()
    script = 'echo begun; until [ -e /run/go ]; do sleep 0.05; done; cp "$KB_DIR/x.sh" /run/done'
    with pytest.raises(LostError, match="the connection was closed while a script ran"):
        session.run_detached("x", script, lambda _item: session.close(), lambda: False)
    assert session.detached
    assert notices == []
    (run_dir / "go").touch()
    wait_for((run_dir / "done").exists)
    after = make(run_dir, run_id="2")
    after.open()
    after.close()
    assert list((run_dir / "kbootstrap").glob("r-*")) == []


class BreaksWhileSending(PrivateRun):
    """The connection breaks after the first bytes of a script, or after the script and before the answer."""

    def __init__(self, run: Path, arrives: bool, lost: int) -> None:
        super().__init__(run)
        self._arrives = arrives
        self._lost = lost
        self._broken = False

    def execute(self, command: str) -> Pipe:
        pipe = super().execute(command)
        whole = pipe.send

        def send(data: bytes) -> None:
            if self._broken or not data.startswith(b"detached "):
                return whole(data)
            self._broken = True
            whole(data if self._arrives else data[: -self._lost])
            if self._arrives:
                log = self.run / "kbootstrap/r-1/x.log"
                wait_for(lambda: log.exists() and b"line" in log.read_bytes())
            pipe.close()
            raise ConnectionResetError("reset")

        pipe.send = send  # type: ignore[method-assign]
        return pipe


@pytest.mark.parametrize(("arrives", "lost"), [(False, 1000), (False, 7), (False, 1), (True, 0)])
def test_a_break_while_a_script_is_sent(run_dir: Path, arrives: bool, lost: int) -> None:
    """An incomplete script does not run, and a complete one runs once."""
    transport = BreaksWhileSending(run_dir, arrives, lost)
    session = Session("h1", transport, mode="apply", run_id="1", owner="ann")
    session.open()
    items: list[Item] = []
    script = "echo run >>/run/runs; echo line\n" + "# filler\n" * 20000 + "echo end\n"
    assert session.run_detached("x", script, items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["line", "end"]
    assert (run_dir / "runs").read_text() == "run\n"
    assert len(transport.pipes) == 2


def test_a_second_run_is_told_who_holds_the_host(run_dir: Path) -> None:
    first, second = make(run_dir, run_id="1"), make(run_dir, run_id="2")
    first.open()
    with pytest.raises(LockedError, match="ann@desk since 02:00"):
        second.open()
    second.close()
    first.close()
    third = make(run_dir, run_id="3")
    third.open()
    third.close()


@pytest.mark.parametrize("reconnects", [False, True])
def test_the_script_of_a_vanished_operator_is_waited_for(run_dir: Path, reconnects: bool) -> None:
    first = make(run_dir, run_id="1")
    first.open()
    if reconnects:
        assert first.run_detached("before", "true", lambda _item: None, lambda: False) == 0
        first.reconnect("it broke")
    script = b"until [ -e /run/go ]; do sleep 0.05; done; touch /run/finished"
    script = b'echo "$KB_MARKER begin init"; ' + script
    first._channel.send(f"detached init {len(script)}\n".encode() + script + b"whole\n")
    log = run_dir / "kbootstrap/r-1/init.log"
    wait_for(lambda: log.exists() and b"begin init" in log.read_bytes())
    first._channel.drop()
    notices: list[str] = []
    # The wait for the lock may be longer than the timeout for opening a session.
    second = make(run_dir, run_id="2", notices=notices, timeouts=Timeouts(opening=0.5))
    opener = threading.Thread(target=second.open, daemon=True)
    opener.start()
    wait_for(lambda: bool(notices))
    assert "interrupted run" in notices[0]
    assert "init.init ann@desk since 02:00" in notices[0]
    time.sleep(0.7)
    assert not (run_dir / "finished").exists()
    (run_dir / "go").touch()
    opener.join(timeout=10)
    assert not opener.is_alive()
    assert (run_dir / "finished").exists()
    second.close()


def test_a_daemon_that_a_script_leaves_behind_holds_no_lock(run_dir: Path) -> None:
    first = make(run_dir, run_id="1")
    first.open()
    daemon = 'setsid sh -c "echo \\$\\$ >/run/daemon; exec sleep 60" >/dev/null 2>&1 &'
    leaves = f"{daemon} until [ -s /run/daemon ]; do :; done"
    assert first.run_detached("x", leaves, lambda _item: None, lambda: False) == 0
    first.close()
    notices: list[str] = []
    second = make(run_dir, run_id="2", notices=notices, timeouts=Timeouts(opening=5))
    second.open()
    second.close()
    assert notices == []
    subprocess.run(["kill", (run_dir / "daemon").read_text().strip()], check=True)


def test_an_overdue_script_is_ended(run_dir: Path) -> None:
    session = make(run_dir)
    session.open()
    began = time.monotonic()
    status = session.run_detached("x", "sleep 60", lambda _item: None, lambda: time.monotonic() - began > 0.2)
    session.close()
    assert status == Status.TIMED_OUT
    assert time.monotonic() - began < 10


def test_an_inline_check_of_up_knows_the_mode_and_writes_nothing(run_dir: Path) -> None:
    items: list[Item] = []
    session = make(run_dir)
    session.open()
    assert session.run_inline("init", 'echo "$KB_MODE"; exit 76', items.append, lambda: False) == Status.TO_DO
    assert session.run_detached("init", 'echo "$KB_MODE"', items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["check", "apply"]


def test_a_run_with_only_checks_leaves_nothing_but_its_locks(run_dir: Path) -> None:
    session = make(run_dir)
    session.open()
    assert session.run_inline("init", "true", lambda _item: None, lambda: False) == 0
    assert sorted(path.name for path in (run_dir / "kbootstrap").iterdir()) == ["owner", "script", "session"]
    session.close()


@pytest.mark.parametrize("mode", ["plan", "apply"])
def test_an_inline_check_that_hangs_is_ended_with_its_children(run_dir: Path, mode: Mode) -> None:
    hangs = "(sleep 61; :) & sleep 62 & echo $! >/run/sleeper; wait"
    session = make(run_dir, mode)
    session.open()
    began = time.monotonic()
    assert session.run_inline("x", hangs, lambda _item: None, (run_dir / "sleeper").exists) == Status.TIMED_OUT
    assert time.monotonic() - began < 10
    wait_for(lambda: not Path("/proc", (run_dir / "sleeper").read_text().strip()).exists())
    items: list[Item] = []
    assert session.run_inline("x", "echo in", items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["in"]


def test_closing_during_an_inline_check_ends_it_and_frees_the_lock(run_dir: Path) -> None:
    session = make(run_dir)
    session.open()
    with pytest.raises(LostError, match="the connection was closed while a script ran"):
        session.run_inline("x", "echo $$; exec sleep 63", lambda _item: session.close(), lambda: False)
    assert not session.detached
    after = make(run_dir, run_id="2")
    after.open()
    after.close()
    assert list((run_dir / "kbootstrap").glob("r-*")) == []


def test_an_inline_check_that_breaks_is_followed_by_the_script(run_dir: Path) -> None:
    """The old connection does not hold the host's lock, although its check still hangs on the host."""
    notices: list[str] = []
    transport = PrivateRun(run_dir)
    session = make(run_dir, notices=notices, transport=transport)
    session.open()

    def cut(item: Item) -> None:
        transport.pipes[0].close()

    with pytest.raises(BrokenError) as broken:
        session.run_inline("x", "echo in; sleep 64", cut, lambda: False)
    session.reconnect(broken.value.why)
    items: list[Item] = []
    assert session.run_detached("x", "echo in again", items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["in again"]
    assert notices[-1] == "reconnected"


def test_an_inline_check_on_a_silent_host_counts_as_broken() -> None:
    with pytest.raises(BrokenError, match=r"no data for 0\.1 s"):
        scripted(Scripted(), Timeouts(dead=0.1)).run_inline("x", "true", lambda _item: None, lambda: False)


def test_stop_is_seen_by_the_script(run_dir: Path) -> None:
    items: list[Item] = []
    session = make(run_dir)
    session.open()

    def keep(item: Item) -> None:
        items.append(item)
        session.stop()

    text = 'echo started; until [ -e "$KB_DIR/stop" ]; do sleep 0.05; done; echo stopped'
    assert session.run_detached("x", text, keep, lambda: False) == 0
    session.close()
    assert lines(items) == ["started", "stopped"]


WIPE_OUT = 'until [ -s "$KB_DIR/x.pid" ]; do sleep 0.05; done; kill -s KILL -- "-$(cat "$KB_DIR/x.pid")"'


def test_a_script_that_vanishes_is_a_clear_error(run_dir: Path) -> None:
    session = make(run_dir, timeouts=Timeouts(quiet=0.2, gone=0.5, tick=0.05))
    session.open()
    with pytest.raises(LostError, match="sent no exit status"):
        session.run_detached("x", WIPE_OUT, lambda _item: None, lambda: False)
    session.close()


def test_a_script_whose_last_output_is_late_has_not_vanished(run_dir: Path, tmp_path: Path) -> None:
    """On a busy host `tail` reports the end of a script late."""
    late = tmp_path / "bin" / "tail"
    late.parent.mkdir()
    late.write_text('#!/bin/sh\ncase " $* " in *" -f "*) sleep 1.5 ;; esac\nexec /usr/bin/tail "$@"\n')
    late.chmod(0o755)
    transport = PrivateRun(run_dir, {"PATH": f"{late.parent}:/usr/bin:/bin"})
    session = make(run_dir, transport=transport, timeouts=Timeouts(quiet=0.1, gone=0.2, tick=0.05))
    session.open()
    items: list[Item] = []
    assert session.run_detached("x", "echo in", items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["in"]


class Scripted:
    """A host that greets like the launcher and then sends any bytes. It is its own transport and pipe."""

    def __init__(self, *answers: bytes, endless: bytes = b"", breaks: bool = False) -> None:
        self._answers = answers
        self._endless = endless
        self._breaks = breaks
        self.connections = 0
        self.sent = b""

    def connect(self) -> None:
        self.connections += 1
        self._left = [b"@kbootstrap hello\n", *self._answers]
        self._mark = b""

    def execute(self, command: str) -> Pipe:
        return self

    def send(self, data: bytes) -> None:
        self.sent += data
        if data.startswith(b"@kb-"):
            self._mark = data.split()[0]
            self._left.insert(0, b"MARK ready\n")

    def recv(self, timeout: float) -> bytes:
        if self._left:
            return self._left.pop(0).replace(b"MARK", self._mark)
        if self._breaks:
            raise ConnectionResetError("reset")
        if self._endless:
            return self._endless.replace(b"MARK", self._mark)
        time.sleep(min(timeout, 0.02))
        raise TimeoutError

    def close(self) -> None:
        """Nothing to close."""


def scripted(host: Scripted, timeouts: Timeouts = QUICK) -> Session:
    session = Session("h1", host, mode="apply", run_id="1", owner="ann", timeouts=timeouts)
    session.open()
    return session


class Pausing(Scripted):
    """A host that is silent for 0.2 s for every empty answer."""

    def recv(self, timeout: float) -> bytes:
        if self._left[:1] == [b""]:
            self._left.pop(0)
            time.sleep(0.2)
            raise TimeoutError
        return super().recv(timeout)


def test_a_late_answer_about_an_inline_check_is_not_about_the_script() -> None:
    """A busy host is asked during the check and answers after it, when the script already runs."""
    opened = scripted(
        Pausing(b"MARK done 76\n", b"MARK gone 1\n", b"", b"MARK killed 1\n", b"", b"MARK done 0\n"), Timeouts(gone=0.1)
    )
    assert opened.run_inline("x", "false", lambda _item: None, lambda: False) == Status.TO_DO
    assert opened.run_detached("x", "true", lambda _item: None, lambda: False) == 0


def test_a_script_with_output_is_not_gone() -> None:
    opened = scripted(Pausing(b"MARK gone 1\n", b"a line\n", b"", b"MARK done 0\n"), Timeouts(gone=0.1))
    assert opened.run_detached("x", "true", lambda _item: None, lambda: False) == 0
    silent = scripted(Pausing(b"MARK gone 1\n", b"", b"", b"MARK done 0\n"), Timeouts(gone=0.1))
    with pytest.raises(LostError, match="sent no exit status"):
        silent.run_detached("x", "true", lambda _item: None, lambda: False)


class AllAtOnce(Scripted):
    """A host that sends the launcher's greeting and the answer to the first script in one piece."""

    def send(self, data: bytes) -> None:
        super().send(data)
        if data.startswith(b"@kb-"):
            self._left = [b"@kbootstrap hello\nMARK ready\none\n", b"two\nMARK done 3\n"]

    def recv(self, timeout: float) -> bytes:
        self.waits += 1
        return super().recv(timeout)

    waits = 0


def test_the_first_inline_check_is_sent_ahead_and_its_answer_is_complete() -> None:
    host, items = AllAtOnce(), list[Item]()
    session = Session("h1", host, mode="apply", run_id="1", owner="ann")
    session.open(ahead=("x", "echo one; echo two; exit 3"))
    sent = host.sent
    assert b"echo two" in sent
    assert host.waits == 1
    assert session.run_inline("x", "echo one; echo two; exit 3", items.append, lambda: False) == 3
    assert host.sent == sent
    assert lines(items) == ["one", "two"]
    host._breaks = True
    with pytest.raises(BrokenError):
        session.run_inline("x", "echo one; echo two; exit 3", items.append, lambda: False)
    assert host.sent.count(b"echo two") == 2


def test_a_connection_that_breaks_again_and_again_is_given_up() -> None:
    host = Scripted(b"a line\n", breaks=True)
    with pytest.raises(LostError, match="broke more than"):
        scripted(host).run_detached("x", "true", lambda _item: None, lambda: False)
    assert host.connections == MAX_BREAKS + 1


@pytest.mark.parametrize("answer", [b"MARK alive\n", b"MARK waiting a b\n"])
def test_a_flood_of_answers_is_a_clear_error(answer: bytes) -> None:
    host = Scripted(endless=answer * 500)
    with pytest.raises(LostError, match="more than"):
        scripted(host).run_detached("x", "true", lambda _item: None, lambda: False)
    assert host.sent.endswith(b"kill KILL 1\n")


def test_a_host_that_does_not_end_its_script_is_given_up() -> None:
    host = Scripted()
    with pytest.raises(LostError, match="cannot kill") as lost:
        scripted(host, Timeouts(kill=0.2)).run_detached("x", "true", lambda _item: None, lambda: True)
    assert "/run/kbootstrap/r-1/x.log" in lost.value.hint
    assert b"kill TERM 1\n" in host.sent


def test_a_host_that_never_answers_is_not_asked_for_ever() -> None:
    """Every reconnect restarts the timeout for silence, but not the step's own time limit."""
    deadline = time.monotonic() + 0.5
    impatient = scripted(Scripted(), Timeouts(dead=0.1, stable=0))
    with pytest.raises(LostError, match="does not answer"):
        impatient.run_detached("x", "true", lambda _item: None, lambda: time.monotonic() > deadline)


def test_closing_ends_although_the_host_talks_on() -> None:
    session = scripted(Scripted(endless=b"x" * 65536), Timeouts(close=0.2))
    began = time.monotonic()
    session.close()
    assert time.monotonic() - began < 1


def test_a_flood_instead_of_a_greeting_is_a_clear_error() -> None:
    class Flood(Scripted):
        def send(self, data: bytes) -> None:
            self._left.clear()

    with pytest.raises(LostError, match="more than"):
        scripted(Flood(endless=b"x\n" * 5000))


TAKES_OPTIONS = """
while [ "$1" != -- ]; do
    [ "$1" = -p ] && prompt=$2
    shift
done
shift
"""


class FakeSudo(LocalTransport):
    """A sudo that asks for a password like the real one: prompt on stderr, password on stdin, three tries."""

    def __init__(self, folder: Path, body: str) -> None:
        sudo = folder / "sudo"
        sudo.write_text(f"#!/bin/sh\n{TAKES_OPTIONS}\n{body}\n")
        sudo.chmod(0o755)
        super().__init__(env={"PATH": f"{folder}:/usr/bin:/bin"})


ASKS = """
for try in 1 2 3; do
    printf '%s' "$prompt" >&2
    IFS= read -r password
    [ "$password" = 'right horse' ] && exec "$@"
    echo 'Sorry, try again.' >&2
done
exit 1
"""


@pytest.mark.parametrize("body", [ASKS, 'exec "$@"'], ids=["asks", "asks-not"])
def test_sudo_gets_the_password_only_when_it_asks(tmp_path: Path, body: str) -> None:
    session = Session(
        "h1",
        FakeSudo(tmp_path, body),
        mode="plan",
        run_id="1",
        owner="ann",
        sudo="password",
        sudo_password=Secret("right horse"),
    )
    session.open()
    items: list[Item] = []
    assert session.run_inline("x", "echo in", items.append, lambda: False) == 0
    session.close()
    assert lines(items) == ["in"]


def test_a_wrong_sudo_password_is_refused_at_once_and_not_shown(tmp_path: Path) -> None:
    session = Session(
        "h1",
        FakeSudo(tmp_path, ASKS),
        mode="plan",
        run_id="1",
        owner="ann",
        sudo="password",
        sudo_password=Secret("wrong horse"),
    )
    with pytest.raises(StepError, match="cannot become root") as caught:
        session.open()
    session.close()
    assert "horse" not in str(caught.value.failure)


def test_sudo_that_wants_a_password_where_none_was_given(tmp_path: Path) -> None:
    session = Session("h1", FakeSudo(tmp_path, ASKS), mode="plan", run_id="1", owner="ann", sudo="password")
    with pytest.raises(StepError, match="but none is set"):
        session.open()
    session.close()


# --- a host that cannot take part ------------------------------------------------------------------------------------


class OddRun(PrivateRun):
    """A private /run after these commands, which run as root in the mount namespace."""

    def __init__(self, run: Path, commands: str) -> None:
        super().__init__(run)
        self._shell = ("unshare", "-rm", "sh", "-c", f'mount --bind {run} /run && {commands} && exec sh -c "$1"', "sh")


def refused(transport: PrivateRun, run: Path, script: str = "echo no") -> str:
    items: list[Item] = []
    session = make(run, transport=transport)

    def attempt() -> None:
        session.open()
        session.run_detached("phase", script, items.append, lambda: False)

    with pytest.raises(LostError) as caught:
        attempt()
    session.close()
    assert "no" not in lines(items)
    assert caught.value.hint
    return caught.value.message


def test_half_a_script_is_never_run(run_dir: Path) -> None:
    """/run is full. The script would do something else than all of it."""
    full = OddRun(run_dir, "mount -t tmpfs -o size=16k,mode=755 tmpfs /run")
    script = "echo no\n" + "# a long script\n" * 10_000
    assert "the script does not fit into /run/kbootstrap/" in (said := refused(full, run_dir, script))
    assert "tmpfs" in said


def test_a_read_only_run_is_named(run_dir: Path) -> None:
    said = refused(OddRun(run_dir, "mount -o remount,bind,ro /run"), run_dir)
    assert "/run/kbootstrap" in said
    assert "Read-only file system" in said
    (run_dir / "kbootstrap").mkdir()
    said = refused(OddRun(run_dir, "mount -o remount,bind,ro /run"), run_dir)
    assert "/run/kbootstrap/session: Read-only file system" in said


def test_a_missing_flock_is_no_other_run(run_dir: Path) -> None:
    some = "for name in sh mkdir cat dd; do ln -s $(command -v $name) /run/bin; done"
    without = f"mkdir /run/bin && {some} && export PATH=/run/bin"
    assert "the command flock is missing (package util-linux)" in refused(OddRun(run_dir, without), run_dir)
