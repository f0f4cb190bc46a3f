"""What a session does with a connection that works, breaks, freezes or goes away for a while."""

from __future__ import annotations

import contextlib
import functools
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import paramiko
import pytest
from ssh.conftest import MakePair, MakeServer
from ssh.servers import PASSWORD, Server, Simulated, Sshd, connections, hop, inventory_host
from ssh.talk import Counting, eventually, lines, make_session, say, session
from support.labs import MakeLab

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.script import Output
from kbootstrap.remote.session import Item, LostError, Session, SudoError
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import NoDelaySocket, WatchedSocket
from kbootstrap.remote.ssh.transport import SshTransport
from kbootstrap.remote.timeouts import Timeouts
from kbootstrap.secret import Secret

# --- a connection that works -----------------------------------------------------------------------------------------


def test_much_output_arrives_whole_and_in_order(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server), "seq 1 400000") == [str(number) for number in range(1, 400001)]


def test_a_large_script_and_odd_bytes(server: Server, tmp_path: Path) -> None:
    filler = "\n".join(f": {'x' * 100} {number}" for number in range(10000))
    said = say(inventory_host(tmp_path, server), filler + "\nprintf 'caf\\303\\251 \\377 tab\\there\\n'")
    assert said == ["café \ufffd tab\there"]


@pytest.mark.parametrize("mode", ["plan", "apply"])
def test_exit_statuses_and_no_stdin(server: Server, tmp_path: Path, mode: Any) -> None:
    with session(inventory_host(tmp_path, server), mode) as opened:
        for status, script in ((0, ""), (1, "exit 1"), (75, "exit 75"), (255, "exit 255"), (137, "kill -9 $$")):
            if mode == "plan" and status == 137:
                continue  # in plan mode $$ is the launcher itself
            text = f"cat\n{script}\n"
            if mode == "plan":
                assert opened.run_inline("x", text, lambda _item: None, lambda: False) == status
            else:
                assert opened.run_detached(f"phase-{status}", text, lambda _item: None, lambda: False) == status


def test_a_script_that_takes_too_long_is_ended(server: Server, tmp_path: Path) -> None:
    items: list[Item] = []
    with session(inventory_host(tmp_path, server), "apply") as opened:
        began = time.monotonic()
        assert opened.run_detached("phase", "echo begun; sleep 600", items.append, lambda: bool(items)) == 124
        assert time.monotonic() - began < 10
    assert lines(items) == ["begun"]


def test_a_look_that_takes_too_long_is_ended_too(server: Server, tmp_path: Path) -> None:
    items: list[Item] = []
    with session(inventory_host(tmp_path, server)) as opened:
        assert opened.run_inline("phase", "echo begun; sleep 601; echo never", items.append, lambda: bool(items)) == 124
        assert opened.run_inline("phase", "echo in", items.append, lambda: False) == 0
    assert lines(items) == ["begun", "in"]
    eventually(lambda: server.root("ps -ef | grep '[s]leep 601' || true") == "")


def test_nothing_is_left_on_the_host(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server), "ls -d /run/kbootstrap/r-*; true", "apply")[0].startswith("/run/")
    eventually(lambda: "kbootstrap" not in server.root("ps -ef | grep '[k]bootstrap' || true"))
    assert server.root("ls -d /run/kbootstrap/r-* 2>/dev/null || true") == ""


def test_many_sessions_at_once(make_server: MakeServer, tmp_path: Path) -> None:
    """As many hosts as a run opens at once, here behind one address."""
    host, shared = inventory_host(tmp_path, make_server(), connect_timeout=30), SshShared()
    said: list[list[str]] = []
    threads = [threading.Thread(target=lambda: said.append(say(host, "echo in", shared=shared))) for _ in range(30)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert said == [["in"]] * 30


# --- a connection that breaks ----------------------------------------------------------------------------------------


class Interrupted:
    """A script on the host that says three lines, waits to be let go, and says three more and how often it ran."""

    SCRIPT = (
        'echo run >>"$KB_DIR/runs"; for i in 1 2 3; do echo "line $i"; done; '
        'while [ ! -e "$KB_DIR/go" ]; do sleep 0.05; done; '
        'for i in 4 5 6; do echo "line $i"; done; wc -l <"$KB_DIR/runs"'
    )
    WHOLE: tuple[str, ...] = (*(f"line {number}" for number in range(1, 7)), "1")

    def __init__(self, server: Server, host: Host, shared: SshShared | None = None) -> None:
        self.server = server
        self.items: list[Item] = []
        self.notices: list[str] = []
        self.transport = Counting(host, shared or SshShared())
        self.session = make_session(host, "apply", transport=self.transport, notice=self.notices.append)
        self.session.open()

    def run(self, interfere: Callable[[], None]) -> list[str]:
        """What the script said; ``interfere`` is called by another thread after the third line."""
        waiting = threading.Event()
        failed: list[BaseException] = []

        def handle(item: Item) -> None:
            self.items.append(item)
            if isinstance(item, Output) and item.line == "line 3":
                waiting.set()

        def work() -> None:
            try:
                assert waiting.wait(20)
                interfere()
            except BaseException as error:
                failed.append(error)
                self.server.thaw()
                self.go()

        thread = threading.Thread(target=work)
        thread.start()
        try:
            assert self.session.run_detached("phase", self.SCRIPT, handle, lambda: False) == 0
        finally:
            thread.join(60)
            self.session.close()
        assert not failed, failed
        return lines(self.items)

    def go(self) -> None:
        self.server.root("for d in /run/kbootstrap/r-*; do [ ! -d $d ] || : >$d/go; done")

    def noticed(self, text: str, times: int = 1) -> bool:
        return sum(text in notice for notice in self.notices) >= times


@pytest.fixture
def interrupted(server: Server, tmp_path: Path) -> Iterator[Interrupted]:
    made = Interrupted(server, inventory_host(tmp_path, server), SshShared(IMPATIENT))
    yield made
    # Whatever became of the session, its script must not keep the host locked.
    server.thaw()
    made.go()


def test_a_dropped_connection_is_reopened_and_nothing_runs_twice(interrupted: Interrupted) -> None:
    def interfere() -> None:
        for times in (1, 2, 3):
            interrupted.server.drop()
            eventually(functools.partial(interrupted.noticed, "reconnected", times), 20)
        interrupted.go()

    assert tuple(interrupted.run(interfere)) == Interrupted.WHOLE
    assert interrupted.transport.executed == 4


def test_a_host_that_is_away_for_a_while(interrupted: Interrupted) -> None:
    """Its sshd is restarted, or the line is dead, while the script goes on."""

    def interfere() -> None:
        interrupted.server.cut()
        eventually(lambda: interrupted.noticed("reconnecting"))
        interrupted.go()
        interrupted.server.thaw()

    assert tuple(interrupted.run(interfere)) == Interrupted.WHOLE


def test_a_host_that_does_not_come_back(interrupted: Interrupted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupted.session, "_timeouts", Timeouts(reconnect=2))
    with pytest.raises(LostError, match=r"cp1: cannot reconnect for 2 s: .*connection refused") as lost:
        interrupted.run(interrupted.server.cut)
    assert lost.value.exit_code == 4
    assert lost.value.hint


def test_a_break_while_the_host_is_only_looked_at(server: Server, tmp_path: Path) -> None:
    def drop(item: Item) -> None:
        server.drop()

    with (
        session(inventory_host(tmp_path, server)) as opened,
        pytest.raises(LostError, match="cp1: the connection broke") as lost,
    ):
        opened.run_inline("x", "echo begun; sleep 20", drop, lambda: False)
    assert lost.value.exit_code == 4


def test_a_break_while_the_session_opens(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """It is the connection's fault, not sudo's: a reconnect tries again."""
    sshd = make_sshd("ForceCommand echo begun; sleep 20")
    opening = make_session(inventory_host(tmp_path, sshd))

    def drop() -> None:
        eventually(lambda: "sleep 20" in sshd.root("ps -ef"))
        sshd.drop()

    dropper = threading.Thread(target=drop)
    dropper.start()
    with pytest.raises(ConnectError, match="broke during the setup"):
        opening.open()
    dropper.join(20)


def test_a_host_that_never_greets(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """A login shell that hangs, or a sudo that asks a directory that is down."""
    sshd = make_sshd("ForceCommand sleep 600")
    for sudo in ({}, {"sudo": "password", "sudo_password": "any"}):
        began = time.monotonic()
        with pytest.raises(SudoError, match="does not run our command: no answer within 1 s"):
            make_session(inventory_host(tmp_path, sshd, **sudo), timeouts=Timeouts(opening=1)).open()
        assert time.monotonic() - began < 5
    eventually(lambda: connections(sshd) == 0)


def test_a_sudo_that_asks_for_a_password_we_do_not_have(make_simulated: MakeLab, tmp_path: Path) -> None:
    host = Simulated.start(make_simulated, sudo_password=Secret("let mé"))
    with pytest.raises(SudoError, match="but none is set"):
        make_session(inventory_host(tmp_path, host, sudo="password")).open()


# --- a connection that freezes ---------------------------------------------------------------------------------------


IMPATIENT = Timeouts(keepalive=0.5, answer=1.5, poll=1)
DETECTED_S = 6
"""Seconds after which a frozen connection is detected with these."""


def test_a_dead_connection_is_detected_within_30_seconds() -> None:
    usual = Timeouts()
    assert usual.keepalive + usual.answer + 2 * usual.poll < 30


def test_a_frozen_connection_is_reopened(interrupted: Interrupted) -> None:
    """A laptop that slept, a NAT that forgot, a host that hangs: nothing is closed, nothing comes."""

    def interfere() -> None:
        interrupted.server.freeze()
        began = time.monotonic()
        eventually(lambda: interrupted.noticed("no answer within 1.5 s"))
        assert time.monotonic() - began < DETECTED_S
        interrupted.server.thaw()
        eventually(lambda: interrupted.noticed("reconnected"), 30)
        interrupted.go()

    assert tuple(interrupted.run(interfere)) == Interrupted.WHOLE


def frozen(server: Server, opened: Session, script: str) -> float:
    """Freeze the server while a session checks at it; the seconds until that is an error."""
    began = time.monotonic()

    def freeze(_item: Item) -> None:
        nonlocal began
        server.freeze()
        began = time.monotonic()

    with pytest.raises(LostError, match="cp1: the connection broke"):
        opened.run_inline("x", script, freeze, lambda: False)
    return time.monotonic() - began


def test_a_freeze_while_a_script_runs_inline(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    opened = make_session(inventory_host(tmp_path, server), shared=SshShared(IMPATIENT))
    opened.open()
    assert frozen(server, opened, "echo begun; sleep 60") < DETECTED_S
    server.thaw()
    opened.close()


def test_a_freeze_of_the_bastion(make_pair: MakePair, tmp_path: Path) -> None:
    bastion, server = make_pair()
    known = tmp_path / "known"
    known.write_text("".join(sorted({bastion.known_hosts.read_text(), server.known_hosts.read_text()})))
    host, shared = (
        inventory_host(tmp_path, server, bastions=[hop(bastion)], known_hosts=str(known)),
        SshShared(IMPATIENT),
    )
    opened = make_session(host, shared=shared)
    opened.open()
    assert frozen(bastion, opened, "echo begun; sleep 60") < DETECTED_S
    opened.close()
    # The bastion's connection is given up as well: the next host gets a new one at once.
    eventually(lambda: connections(bastion) == 0)
    bastion.thaw()
    assert say(host, "echo in", shared=shared) == ["in"]
    shared.close()


def test_hanging_up_is_heard_at_once_although_a_thread_still_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        plain = NoDelaySocket.open("127.0.0.1", listener.getsockname()[1], timeout=20)

        def listen() -> None:
            with contextlib.suppress(OSError):
                plain.recv(1)

        def listens() -> bool:
            frame = sys._current_frames().get(listening.ident or 0)
            return frame is not None and frame.f_code is NoDelaySocket.recv.__code__

        listening = threading.Thread(target=listen)
        ear, _ = listener.accept()
        with ear:
            listening.start()
            eventually(listens)
            plain.close()
            ear.settimeout(2)
            assert ear.recv(1) == b""
            listening.join(2)
            assert not listening.is_alive()


def test_a_connection_that_waits_checks_its_deadlines_only_now_and_then(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hundreds of hosts wait for others most of the time."""
    checks = []
    check = WatchedSocket._check_deadlines

    def count(watched: WatchedSocket, error: TimeoutError | None = None) -> None:
        checks.append(error)
        check(watched, error)

    with session(inventory_host(tmp_path, server)) as opened:
        monkeypatch.setattr(WatchedSocket, "_check_deadlines", count)
        opened.run_inline("x", "sleep 4", lambda _item: None, lambda: False)
    assert 1 <= len(checks) <= 3


def test_a_connection_that_breaks_as_a_command_is_sent_is_an_error_and_no_wait_without_end(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = SshTransport(inventory_host(tmp_path, server), SshShared())
    opened.connect()
    pending = paramiko.Channel._event_pending  # type: ignore[attr-defined]

    def breaks(channel: Any) -> None:
        """Between paramiko's look at the connection and its request, as a busy machine has it."""
        channel.transport.close()
        eventually(lambda: not channel.transport.is_alive())
        pending(channel)

    monkeypatch.setattr(paramiko.Channel, "_event_pending", breaks)
    with pytest.raises(ConnectionError):
        opened.execute("true")


def test_a_channel_whose_bastion_is_gone_is_closed_in_silence() -> None:
    """paramiko closes the wire in a thread of its own, where an exception would go to the terminal."""

    class Gone:
        asked = False

        def close(self) -> None:
            self.asked = True
            raise EOFError

    gone = Gone()
    WatchedSocket(gone).close()
    assert gone.asked


def test_a_freeze_while_much_is_sent(make_server: MakeServer, tmp_path: Path) -> None:
    """More than all buffers on the way hold, so the sender is the one who waits."""
    server = make_server()
    opened = make_session(inventory_host(tmp_path, server), shared=SshShared(IMPATIENT))
    opened.open()
    server.freeze()
    began = time.monotonic()
    with pytest.raises(LostError, match="cp1: the connection broke"):
        opened.run_inline("x", "#" * (24 * 1024 * 1024), lambda _item: None, lambda: False)
    assert time.monotonic() - began < DETECTED_S * 2
    server.thaw()
    opened.close()


def test_a_quiet_connection_lives(server: Server, tmp_path: Path) -> None:
    """Longer than the patience: the keepalives are answered while the script says nothing."""
    assert say(inventory_host(tmp_path, server), "sleep 3; echo in") == ["in"]


# --- secrets ---------------------------------------------------------------------------------------------------------


def test_nothing_secret_is_in_the_processes_of_the_host(make_simulated: MakeLab, tmp_path: Path) -> None:
    """Only the fleet: sshd's session is root already, so no sudo is on the way."""
    fleet_server = Simulated.start(make_simulated, sudo_password=Secret("su-wörd"))
    secrets = {"key": None, "password": PASSWORD, "sudo": "password", "sudo_password": "su-wörd"}
    shown = "\n".join(
        say(
            inventory_host(tmp_path, fleet_server, **secrets),
            "env; for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; cat $p/environ; done 2>/dev/null; true",
        )
    )
    assert "kbootstrap" in shown
    assert PASSWORD not in shown
    assert "su-w" not in shown


def test_the_agent_is_not_forwarded(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    (tmp_path / "config").write_text("Host *\n  ForwardAgent yes\n")
    for host in (
        inventory_host(tmp_path, server, config=str(tmp_path / "config")),
        inventory_host(tmp_path, server, bastions=[hop(server)], config=str(tmp_path / "config")),
    ):
        shared = SshShared()
        assert say(host, 'echo "agent: ${SSH_AUTH_SOCK:-none}"', shared=shared) == ["agent: none"]
        shared.close()
