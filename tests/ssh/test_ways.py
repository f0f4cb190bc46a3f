"""Ways to the host: ssh_config, bastions, ProxyCommand, and what is no SSH server at all."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import paramiko
import pytest
from ssh.conftest import MakePair
from ssh.servers import Server, Sshd, connections, hop, inventory_host, known_line, make_key
from ssh.talk import eventually, fingerprint, refusal, say, session

from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.ssh.known_hosts import KnownHosts
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import NoDelaySocket


def configured(folder: Path, server: Server, config: str, **ssh: Any) -> Host:
    """An inventory host named ``short`` of which only ssh_config knows more."""
    path = folder / "ssh_config"
    path.write_text(config)
    nothing = {"user": None, "port": None, "key": None}
    return inventory_host(folder, server, **{"address": "short", "config": str(path), **nothing, **ssh})


def entry(name: str, server: Server, *more: str) -> str:
    lines = [f"HostName {server.address}", f"Port {server.port}", f"User {server.user}", f"IdentityFile {server.key}"]
    return "\n  ".join([f"Host {name}", *lines, *more]) + "\n"


# --- ssh_config ------------------------------------------------------------------------------------------------------


def test_ssh_config_is_honoured(server: Server, tmp_path: Path) -> None:
    assert say(configured(tmp_path, server, entry("short", server)), "echo in") == ["in"]
    assert say(configured(tmp_path, server, entry("*", server, "ProxyJump none")), "echo in") == ["in"]


def test_the_inventory_counts_more_than_ssh_config(server: Server, tmp_path: Path) -> None:
    config = f"Host short\n  HostName {server.address}\n  Port 1\n  User nobody\n  IdentityFile {tmp_path / 'none'}\n"
    own = {"user": server.user, "port": server.port, "key": str(server.key)}
    assert say(configured(tmp_path, server, config, **own), "echo in") == ["in"]


def test_identity_files_that_do_not_open_are_passed_over(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "locked", "-N", "open sesame")
    others = f"Host *\n  IdentityFile {tmp_path / 'missing'}\n  IdentityFile {tmp_path / 'locked'}\n"
    assert say(configured(tmp_path, server, others + entry("short", server)), "echo in") == ["in"]


def test_a_host_key_alias(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known"
    known.write_text("the-alias " + server.known_hosts.read_text().split(" ", 1)[1])
    config = entry("short", server, "HostKeyAlias the-alias")
    assert say(configured(tmp_path, server, config, known_hosts=str(known)), "echo in") == ["in"]
    assert "not in" in refusal(inventory_host(tmp_path, server, known_hosts=str(known))).message


@pytest.mark.parametrize("config", [b"no words at all: \xff\n", b"Host *\n  Port many\n"])
def test_an_ssh_config_that_makes_no_sense(server: Server, tmp_path: Path, config: bytes) -> None:
    path = tmp_path / "broken"
    path.write_bytes(config)
    refused = refusal(inventory_host(tmp_path, server, config=str(path), port=None))
    assert str(path) in refused.message
    assert "ssh.config" in refused.hint


RELAY = """
import os, socket, sys, threading
wire = socket.create_connection((sys.argv[1], int(sys.argv[2])))
def back():
    while data := wire.recv(65536):
        os.write(1, data)
    os._exit(0)
threading.Thread(target=back).start()
while data := os.read(0, 65536):
    wire.sendall(data)
wire.shutdown(socket.SHUT_WR)
"""


def test_a_proxy_command(server: Server, tmp_path: Path) -> None:
    (tmp_path / "relay.py").write_text(RELAY)
    command = shlex.join([sys.executable, str(tmp_path / "relay.py"), "%h", "%p"])
    host = configured(tmp_path, server, entry("short", server, f"ProxyCommand {command}"))
    assert say(host, "echo in", shared=SshShared(trusted=True)) == ["in"]
    eventually(lambda: connections(server) == 0)


def test_a_proxy_command_gets_the_tokens_of_the_connection(server: Server, tmp_path: Path) -> None:
    """A shell runs it, and the port and user of the inventory are in its tokens."""
    (tmp_path / "relay.py").write_text(RELAY)
    relay = f"{sys.executable} {tmp_path / 'relay.py'} %h %p"
    command = f"sh -c 'echo %n %h %p %r %%p $0 >{tmp_path / 'told'}; exec {relay}' && true"
    config = f"Host short\n  HostName {server.address}\n  Port 1\n  User bob\n  ProxyCommand {command}\n"
    host = configured(tmp_path, server, config, user=server.user, port=server.port, key=str(server.key))
    assert say(host, "echo in", shared=SshShared(trusted=True)) == ["in"]
    told = f"short {server.address} {server.port} {server.user} %p sh\n"
    assert (tmp_path / "told").read_text() == told


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("/no/such/program", "not found"),
        ("true", "SSH failed"),
        ("echo no ssh", "SSH failed"),
        ("'half a word", "ssh_config cannot be read"),
        ("sh -c 'echo connecting >&2; echo no route to %h >&2'", "the ProxyCommand said: no route to "),
    ],
)
def test_a_proxy_command_that_does_not_work(server: Server, tmp_path: Path, command: str, words: str) -> None:
    host = configured(tmp_path, server, entry("short", server, f"ProxyCommand {command}"))
    assert words in refusal(host, SshShared(trusted=True)).message


def test_includes_match_and_comments(server: Server, tmp_path: Path) -> None:
    (tmp_path / "hosts.conf").write_text(f"Host short  # the one\n  HostName {server.address} # here\n")
    rest = (
        f"Match originalhost=short\n  Port {server.port}\nHost *\n  User {server.user}\n  IdentityFile {server.key}\n"
    )
    config = f"Match localuser nobody-here\n  Port 1\nHost *\n  Include {tmp_path}/*.conf\n{rest}"
    assert say(configured(tmp_path, server, config), "echo in") == ["in"]


def test_known_hosts_files_of_ssh_config(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home/.ssh").mkdir(parents=True)
    make_key(tmp_path / "other")
    wrong = tmp_path / "wrong"
    wrong.write_text(known_line(server, tmp_path / "other.pub"))
    new = tmp_path / "new_known_hosts"

    def host(*lines: str, **ssh: Any) -> Host:
        return configured(tmp_path, server, entry("short", server, *lines), **{"known_hosts": None, **ssh})

    assert f"not in {tmp_path}/home/.ssh/known_hosts" in refusal(host()).message
    assert say(host(f"UserKnownHostsFile {new} {server.known_hosts}"), "echo in") == ["in"]
    assert say(host(f"GlobalKnownHostsFile {server.known_hosts}"), "echo in") == ["in"]
    assert say(host(f"UserKnownHostsFile {wrong} {server.known_hosts}"), "echo in") == ["in"]
    refused = refusal(host(f"UserKnownHostsFile {new} {wrong}", host_key_policy="accept-new"))
    assert f"{wrong} has SHA256:" in refused.message
    # The inventory's file counts alone.
    assert "changed" in refusal(host(f"GlobalKnownHostsFile {server.known_hosts}", known_hosts=str(wrong))).message
    assert not new.exists()
    assert say(host(f"UserKnownHostsFile {new} {tmp_path}/no", host_key_policy="accept-new"), "echo in") == ["in"]
    assert new.read_text() == lines_of(server)
    assert say(host("UserKnownHostsFile none", host_key_policy="accept-new"), "echo in") == ["in"]
    assert not (tmp_path / "home/.ssh/known_hosts").exists()


def test_a_proxy_jump_that_leads_in_a_circle(server: Server, tmp_path: Path) -> None:
    config = (
        entry("short", server, "ProxyJump a") + "Host a\n  ProxyJump b\nHost b\n  ProxyJump c\nHost c\n  ProxyJump a\n"
    )
    refused = refusal(configured(tmp_path, server, config))
    assert "in a circle: a -> c -> b -> a -> short" in refused.message
    assert "ProxyJump" in refused.hint


@pytest.mark.parametrize(
    "lines",
    [
        "Host *\n  ProxyCommand touch {here}/run\n",
        'Host *\n  "proxycommand" touch {here}/run\n',
        "host *\n\tPROXYCOMMAND=touch {here}/run\n",
        'Match exec "touch {here}/run"\n  Port 22\n',
        'Match host short exec="touch {here}/run"\n  Port 22\n',
        "Match all\nHost other\n  ProxyCommand touch {here}/run\n",
    ],
)
def test_an_ssh_config_of_the_inventory_runs_no_program(server: Server, tmp_path: Path, lines: str) -> None:
    config = lines.format(here=tmp_path) + entry("short", server)
    with contextlib.suppress(KbootstrapError):
        say(configured(tmp_path, server, config), "echo in")
    assert not (tmp_path / "run").exists()


def test_your_own_ssh_config_may_run_programs(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "relay.py").write_text(RELAY)
    command = shlex.join([sys.executable, str(tmp_path / "relay.py"), "%h", "%p"])
    (tmp_path / ".ssh").mkdir()
    host = configured(tmp_path, server, entry("short", server, f"ProxyCommand {command}"))
    assert host.ssh.config is not None
    own = host.ssh.config.rename(tmp_path / ".ssh/config")
    host = host.model_copy(update={"ssh": host.ssh.model_copy(update={"config": own})})
    assert say(host, "echo in") == ["in"]


def test_a_proxy_jump(pair: tuple[Server, Server], tmp_path: Path) -> None:
    bastion, server = pair
    config = entry("jump", bastion) + entry("short", server, "ProxyJump jump")
    known = {"known_hosts": str(both_known(tmp_path, bastion, server))}
    shared = SshShared()
    assert say(configured(tmp_path, server, config, **known), "echo in", shared=shared) == ["in"]
    assert connections(bastion) == 1
    shared.close()
    eventually(lambda: connections(bastion) == 0)
    spelled = f"ProxyJump {bastion.user}@{bastion.address}:{bastion.port}\n"
    key = f"Host *\n  IdentityFile {bastion.key}\n"
    with closing(SshShared()) as shared:
        config = entry("short", server, spelled) + key
        assert say(configured(tmp_path, server, config, **known), "echo in", shared=shared) == ["in"]


def test_the_proxy_jump_of_a_bastion(pair: tuple[Server, Server], tmp_path: Path) -> None:
    """Only the first jump host is reached from here, through the ProxyJump that ssh_config has for it."""
    bastion, server = pair
    config = (
        entry("first", bastion)
        + entry("second", server, "ProxyJump first")
        + entry("short", server, "ProxyJump second")
    )
    known = {"known_hosts": str(both_known(tmp_path, bastion, server))}
    with closing(SshShared()) as shared:
        assert say(configured(tmp_path, server, config, **known), "echo in", shared=shared) == ["in"]
        assert connections(bastion) == 1


def test_the_host_key_of_a_proxy_jump_is_verified(pair: tuple[Server, Server], tmp_path: Path) -> None:
    bastion, server = pair
    config = entry("jump", bastion) + entry("short", server, "ProxyJump jump")
    refused = refusal(configured(tmp_path, server, config, known_hosts=str(only_known(tmp_path, server))))
    assert "bastion jump" in refused.message
    assert "SHA256:" in refused.message


# --- bastions --------------------------------------------------------------------------------------------------------


@contextmanager
def closing(shared: SshShared) -> Iterator[SshShared]:
    try:
        yield shared
    finally:
        shared.close()


def lines_of(server: Server) -> str:
    """The lines of known_hosts that are about this server."""
    name = f"[{server.address}]:{server.port} "
    return "".join(line for line in server.known_hosts.read_text().splitlines(True) if line.startswith(name))


def both_known(folder: Path, bastion: Server, server: Server) -> Path:
    path = folder / "both_known"
    path.write_text(lines_of(bastion) + lines_of(server))
    return path


def only_known(folder: Path, server: Server) -> Path:
    path = folder / "only_known"
    path.write_text(lines_of(server))
    return path


@pytest.fixture
def behind(pair: tuple[Server, Server], tmp_path: Path) -> Callable[..., Host]:
    """The host behind the bastion; keywords go into its ``ssh`` section, those of ``jump`` into the bastion's."""
    bastion, server = pair

    known = both_known(tmp_path, bastion, server)

    def make(jump: dict[str, Any] | None = None, **ssh: Any) -> Host:
        way = {"bastions": [hop(bastion, **(jump or {}))], "known_hosts": str(known)}
        return inventory_host(tmp_path, server, **(way | ssh))

    return make


def test_a_bastion_and_two(pair: tuple[Server, Server], behind: Callable[..., Host]) -> None:
    bastion, server = pair
    with closing(SshShared()) as shared:
        assert say(behind(), "echo through one", shared=shared) == ["through one"]
        two = [hop(bastion), hop(server)]
        assert say(behind(bastions=two), "echo through two", shared=shared) == ["through two"]
        # The second way begins with the first one's connection.
        assert connections(bastion) == 1


def test_a_bastion_and_much_output(behind: Callable[..., Host]) -> None:
    with closing(SshShared()) as shared:
        assert say(behind(), "seq 1 200000", shared=shared) == [str(number) for number in range(1, 200001)]


def test_the_host_key_of_a_bastion_is_verified(
    pair: tuple[Server, Server], behind: Callable[..., Host], tmp_path: Path
) -> None:
    bastion, server = pair
    pin = "SHA256:" + "B" * 43
    refused = refusal(behind({"fingerprint": pin}))
    assert f"bastion {bastion.address}" in refused.message
    assert pin in refused.message
    refused = refusal(behind(known_hosts=str(only_known(tmp_path, server))))
    assert f"bastion {bastion.address}" in refused.message
    assert "not in" in refused.message
    eventually(lambda: connections(bastion) == 0)
    make_key(tmp_path / "other")
    known = tmp_path / "known"
    known.write_text(known_line(bastion, tmp_path / "other.pub") + lines_of(server))
    refused = refusal(behind(known_hosts=str(known), host_key_policy="accept-new"))
    assert "changed" in refused.message
    known.write_text(lines_of(bastion) + known_line(server, tmp_path / "other.pub"))
    with closing(SshShared()) as shared:
        refused = refusal(behind(known_hosts=str(known)), shared=shared)
    assert "changed" in refused.message
    assert f"bastion {bastion.address}" not in refused.message


def test_a_new_bastion_is_learnt(pair: tuple[Server, Server], behind: Callable[..., Host], tmp_path: Path) -> None:
    bastion, server = pair
    learnt = tmp_path / "learnt_known_hosts"
    with closing(SshShared()) as shared:
        host = behind(known_hosts=str(learnt), host_key_policy="accept-new")
        assert say(host, "echo in", shared=shared) == ["in"]
    assert learnt.read_text() == lines_of(bastion) + lines_of(server)


def test_a_bastion_that_refuses_the_login(behind: Callable[..., Host], tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    refused = refusal(behind({"key": str(tmp_path / "other")}))
    assert re.search("bastion .*login refused", refused.message)


def test_a_bastion_that_is_not_there(behind: Callable[..., Host]) -> None:
    refused = refusal(behind({"port": unused_port()}))
    assert re.search("bastion .*connection refused", refused.message)


def test_a_host_that_the_bastion_does_not_reach(behind: Callable[..., Host]) -> None:
    with closing(SshShared()) as shared:
        refused = refusal(behind(port=unused_port()), shared=shared)
    assert "from the bastion" in refused.message
    assert "bastion" in refused.message


def test_a_bastion_that_forwards_nothing(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = make_sshd("AllowTcpForwarding no")
    with closing(SshShared()) as shared:
        refused = refusal(inventory_host(tmp_path, sshd, bastions=[hop(sshd)]), shared=shared)
    assert "from the bastion" in refused.message
    assert "AllowTcpForwarding" in refused.hint


def test_hosts_behind_a_bastion_share_its_connection(pair: tuple[Server, Server], behind: Callable[..., Host]) -> None:
    bastion, server = pair
    host, together = behind(), threading.Barrier(5)
    counts: list[tuple[int, int]] = []

    def visit(shared: SshShared) -> None:
        with session(host, shared=shared):
            together.wait(20)
            counts.append((connections(bastion), connections(server)))
            together.wait(20)

    with closing(SshShared()) as shared:
        visitors = [threading.Thread(target=visit, args=(shared,)) for _ in range(5)]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(30)
    # The fleet's bastion and OpenSSH's are on this machine, so their connections to the host are seen as well.
    assert counts == [(1, 5)] * 5


def test_hosts_with_other_rules_do_not_share_it(pair: tuple[Server, Server], behind: Callable[..., Host]) -> None:
    """Else a host of the strict policy would go through a bastion that another one just took for new."""
    bastion, _server = pair
    with closing(SshShared()) as shared, ExitStack() as stack:
        stack.enter_context(session(behind(), shared=shared))
        stack.enter_context(session(behind(host_key_policy="accept-new"), shared=shared))
        assert connections(bastion) == 2


def test_a_bastion_whose_connection_broke_is_connected_to_again(make_pair: MakePair, tmp_path: Path) -> None:
    bastion, server = make_pair()
    known = both_known(tmp_path, bastion, server)
    host = inventory_host(tmp_path, server, bastions=[hop(bastion)], known_hosts=str(known))
    with closing(SshShared()) as shared:
        for noticed in (True, False, True, False, False):
            assert say(host, "echo in", shared=shared) == ["in"]
            bastion.drop()
            if noticed:
                eventually(lambda: connections(bastion) == 0)
        bastion.cut()
        assert "bastion" in refusal(host, shared=shared).message
        bastion.thaw()
        assert say(host, "echo in", shared=shared) == ["in"]


def test_a_bastion_that_is_down_costs_one_timeout(server: Server, tmp_path: Path) -> None:
    """Not one after the other for each of the hosts behind it."""
    began = time.monotonic()
    messages: list[str] = []
    with listening(None) as (port, accepted):
        dead = hop(server, address="127.0.0.1", port=port)
        host = inventory_host(tmp_path, server, bastions=[dead], connect_timeout=2)
        shared = SshShared()
        visitors = [
            threading.Thread(target=lambda: messages.append(refusal(host, shared=shared).message)) for _ in range(6)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join(30)
        assert len(accepted) == 1
    assert time.monotonic() - began < 6
    assert len(messages) == 6
    assert all("bastion 127.0.0.1" in message for message in messages)


def test_every_connection_is_lean_and_files_are_read_once(
    pair: tuple[Server, Server], behind: Callable[..., Host], monkeypatch: pytest.MonkeyPatch
) -> None:
    bastion, server = pair
    sockets: list[NoDelaySocket] = []
    read: list[Path] = []
    opened, loaded, parsed = NoDelaySocket.open, paramiko.PKey.from_path, KnownHosts.__init__

    def remember(*arguments: Any) -> NoDelaySocket:
        sockets.append(opened(*arguments))
        return sockets[-1]

    def load(path: Path, *arguments: Any) -> paramiko.PKey:
        read.append(path)
        return loaded(path, *arguments)

    def parse(known: KnownHosts, path: Path) -> None:
        read.append(path)
        parsed(known, path)

    monkeypatch.setattr(NoDelaySocket, "open", remember)
    monkeypatch.setattr(paramiko.PKey, "from_path", load)
    monkeypatch.setattr(KnownHosts, "__init__", parse)
    with closing(SshShared()) as shared, ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(session(behind(), shared=shared))
        assert connections(bastion) == len(sockets) == 1
        assert all(wire.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) for wire in sockets)
    assert sorted(read) == sorted({behind().ssh.known_hosts, bastion.key, server.key})


# --- what is no SSH server -------------------------------------------------------------------------------------------


EAR = b"SSH-2.0-ear\r\n"


def kexinit(said: bytes) -> bytes:
    """The client's KEXINIT, the first packet after its banner (RFC 4253, 6 and 7.1), once it is there whole."""
    packet = said.partition(b"\n")[2]
    whole = len(packet) > 4 and len(packet) >= 4 + struct.unpack(">I", packet[:4])[0]
    return packet[5:] if whole else b""


def unused_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


@contextmanager
def listening(greeting: bytes | None) -> Iterator[tuple[int, list[bytes]]]:
    """A port, and what its callers said. None says nothing and stays; what looks like SSH stays, too; others hang up.

    EAR hangs up when it has heard the first packet.
    """
    said: list[bytes] = []

    def answer(wire: socket.socket, number: int) -> None:
        with wire:
            wire.settimeout(20)
            try:
                if greeting is not None:
                    wire.sendall(greeting)
                    if not greeting.startswith(b"SSH-"):
                        return
                while data := wire.recv(65536):
                    said[number] += data
                    if greeting == EAR and kexinit(said[number]):
                        return
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except OSError:
                return
            said.append(b"")
            threads.append(threading.Thread(target=answer, args=(wire, len(said) - 1)))
            threads[-1].start()

    threads = [threading.Thread(target=accept)]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads[0].start()
        yield listener.getsockname()[1], said
        listener.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(10)


def test_nothing_listens(server: Server, tmp_path: Path) -> None:
    refused = refusal(inventory_host(tmp_path, server, address="127.0.0.1", port=unused_port()))
    assert "connection refused" in refused.message
    assert "sshd" in refused.hint


def test_a_name_that_does_not_resolve(server: Server, tmp_path: Path) -> None:
    assert "does not resolve" in refusal(inventory_host(tmp_path, server, address="no-such-host.invalid")).message


@pytest.mark.parametrize(
    "greeting",
    [
        None,
        b"",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\x00" * 70000,
        b"SSH-1.5-old\r\n",
        b"SSH-2.0-silent\r\n",
        b"SSH-2.0-odd\r\n" + b"\xff" * 5000,
    ],
    ids=["silent", "closes", "http", "zeros", "ssh-1", "silent after its banner", "odd packets"],
)
def test_what_is_no_ssh_server_is_an_error_in_time(server: Server, tmp_path: Path, greeting: bytes | None) -> None:
    began = time.monotonic()
    with listening(greeting) as (port, _said):
        refused = refusal(inventory_host(tmp_path, server, address="127.0.0.1", port=port, connect_timeout=2))
    assert f"127.0.0.1:{port}" in refused.message
    assert time.monotonic() - began < 8
    if greeting in (None, b"SSH-2.0-silent\r\n"):
        assert "no answer within 2 s" in refused.message


def test_nothing_of_paramiko_reaches_the_terminal(server: Server, tmp_path: Path) -> None:
    """It logs a traceback for every server that is none."""
    with listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as (port, _said):
        inventory_host(tmp_path, server, address="127.0.0.1", port=port)
        command = [sys.executable, "-m", "kbootstrap", "check", str(tmp_path / "inventory.yaml")]
        environment = {**os.environ, "XDG_STATE_HOME": str(tmp_path)}
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment)
    assert ended.returncode == 4
    assert "SSH failed" in ended.stdout + ended.stderr
    assert "Traceback" not in ended.stdout + ended.stderr


# --- the second try --------------------------------------------------------------------------------------------------


@contextmanager
def closing_first(server: Server, times: int) -> Iterator[tuple[int, list[int]]]:
    """A port that hangs up ``times`` times, as an sshd does that has no room, and then leads to the server."""
    callers: list[int] = []
    wires: list[socket.socket] = []

    def pass_on(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)

    def accept() -> None:
        while True:
            try:
                wire, _ = listener.accept()
            except OSError:
                return
            callers.append(1)
            if len(callers) <= times:
                wire.close()
                continue
            onward = socket.create_connection((server.address, server.port))
            wires.extend((wire, onward))
            for pair in ((wire, onward), (onward, wire)):
                threads.append(threading.Thread(target=pass_on, args=pair))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        threads = [threading.Thread(target=accept)]
        threads[0].start()
        try:
            yield listener.getsockname()[1], callers
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for wire in wires:
                with contextlib.suppress(OSError):
                    wire.shutdown(socket.SHUT_RDWR)
            for thread in threads:
                thread.join(10)
            for wire in wires:
                wire.close()


def test_the_first_connection_is_tried_twice(server: Server, tmp_path: Path) -> None:
    for times, gets_in in ((1, True), (2, False)):
        with closing_first(server, times) as (port, callers):
            pin = fingerprint(server.known_hosts) if isinstance(server, Sshd) else None
            host = inventory_host(
                tmp_path,
                server,
                address="127.0.0.1",
                port=port,
                fingerprint=pin,
                known_hosts=str(tmp_path / "known_hosts"),
                host_key_policy="accept-new",
            )
            if gets_in:
                assert say(host, "echo in") == ["in"]
            else:
                assert "SSH failed" in refusal(host).message
            assert len(callers) == 2


def test_a_refusal_is_never_tried_again(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    for wrong in ({"key": str(tmp_path / "other")}, {"fingerprint": "SHA256:" + "B" * 43}):
        with closing_first(server, 0) as (port, callers):
            learnt = {"known_hosts": str(tmp_path / f"{port}_known_hosts"), "host_key_policy": "accept-new"}
            refused = refusal(inventory_host(tmp_path, server, address="127.0.0.1", port=port, **learnt, **wrong))
            assert re.search("login refused|the inventory pins", refused.message)
            assert len(callers) == 1


# --- algorithms ------------------------------------------------------------------------------------------------------

OLD = re.compile(r"sha1|-cbc|md5|arcfour|^ssh-rsa|^ssh-dss|group1-|sha1-96")


def offered(folder: Path, server: Server, **ssh: Any) -> set[str]:
    """Every algorithm the client names."""
    with listening(EAR) as (port, said):
        if "bastions" in ssh:
            ssh["bastions"] = [hop(server, address="127.0.0.1", port=port, **bastion) for bastion in ssh["bastions"]]
        else:
            ssh |= {"address": "127.0.0.1", "port": port}
        refusal(inventory_host(folder, server, **ssh))
    packet = kexinit(said[0])
    assert packet[0] == 20
    place, names = 17, set()
    for _ in range(10):
        (size,) = struct.unpack(">I", packet[place : place + 4])
        names |= set(packet[place + 4 : place + 4 + size].decode().split(","))
        place += 4 + size
    return names


def test_only_modern_algorithms_are_offered(server: Server, tmp_path: Path) -> None:
    modern: tuple[dict[str, Any], ...] = ({}, {"bastions": [{}]}, {"legacy_algorithms": True, "bastions": [{}]})
    for way in modern:
        names = offered(tmp_path, server, **way)
        assert "curve25519-sha256@libssh.org" in names
        assert not [name for name in names if OLD.search(name)]
    legacy: tuple[dict[str, Any], ...] = ({"legacy_algorithms": True}, {"bastions": [{"legacy_algorithms": True}]})
    for way in legacy:
        assert {"aes256-cbc", "hmac-sha1"} <= offered(tmp_path, server, **way)


@pytest.mark.parametrize("option", ["Ciphers aes256-cbc", "MACs hmac-sha1"])
def test_a_server_with_old_algorithms_only(make_sshd: Callable[..., Sshd], tmp_path: Path, option: str) -> None:
    sshd = make_sshd(option, *(["Ciphers aes256-ctr"] if option.startswith("MACs") else []))
    refused = refusal(inventory_host(tmp_path, sshd))
    assert "no algorithm in common" in refused.message
    assert "legacy_algorithms" in refused.hint
    assert say(inventory_host(tmp_path, sshd, legacy_algorithms=True), "echo in") == ["in"]


@pytest.mark.parametrize(
    ("options", "what", "setting"),
    [
        (("Ciphers chacha20-poly1305@openssh.com",), "the ciphers chacha20-poly1305@openssh.com", "Ciphers"),
        (("Ciphers aes256-ctr", "MACs umac-128-etm@openssh.com"), "the MACs umac-128-etm@openssh.com", "MACs"),
        (("KexAlgorithms sntrup761x25519-sha512@openssh.com",), "the key exchanges sntrup761x25519", "KexAlgorithms"),
    ],
)
def test_a_server_with_new_algorithms_only(
    make_sshd: Callable[..., Sshd], tmp_path: Path, options: tuple[str, ...], what: str, setting: str
) -> None:
    for legacy in (False, True):
        refused = refusal(inventory_host(tmp_path, make_sshd(*options), legacy_algorithms=legacy))
        assert f"no algorithm in common: the server offers only {what}" in refused.message
        assert f"to {setting} in the host's sshd_config" in refused.hint
        assert "legacy" not in refused.hint
