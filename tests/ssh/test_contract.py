"""What kbootstrap's SSH side does with a server, the same for OpenSSH's sshd and the simulated fleet's."""

from __future__ import annotations

import base64
import hashlib
import re
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from labs import MakeLab
from sshservers import Server, Simulated, inventory_host, make_key

from kbootstrap.inventory import Host
from kbootstrap.model import ConnectError, Mode, Secret
from kbootstrap.script import Output
from kbootstrap.session import Item, Session, SudoError
from kbootstrap.transport import SshShared, SshTransport


@contextmanager
def session(host: Host, mode: Mode = "plan") -> Iterator[Session]:
    """An open session, closed at the end."""
    run_id = "20260101T000000-" + hashlib.sha256(str(time.monotonic_ns()).encode()).hexdigest()[:6]
    made = Session(
        host.name,
        SshTransport(host, SshShared()),
        mode=mode,
        run_id=run_id,
        owner="a test",
        sudo=host.ssh.sudo,
        sudo_password=host.ssh.sudo_password,
    )
    made.open()
    try:
        yield made
    finally:
        made.close()


def say(host: Host, script: str) -> list[str]:
    """The lines a script prints on the host."""
    items: list[Item] = []
    with session(host) as opened:
        assert opened.look(script, items.append, timeout=30) == 0
    return [item.line for item in items if isinstance(item, Output)]


def refusal(host: Host) -> ConnectError:
    with pytest.raises(ConnectError) as refused, session(host):
        pass
    assert refused.value.exit_code == 4
    assert "cp1" in refused.value.message
    return refused.value


def refused_message(host: Host) -> str:
    with pytest.raises(ConnectError) as refused, session(host):
        pass
    return refused.value.message


def fingerprint(known_hosts: Path) -> str:
    """SHA256:... of the key in a known_hosts file with one line, as ssh-keygen -l prints it."""
    digest = hashlib.sha256(base64.b64decode(known_hosts.read_text().split()[2])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


# --- logging in ------------------------------------------------------------------------------------------------------


def test_a_key_opens_and_the_session_is_root(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server), "id -u") == ["0"]


def test_a_key_with_a_passphrase(server: Server, tmp_path: Path) -> None:
    key = tmp_path / "locked"
    key.write_bytes(server.key.read_bytes())
    key.chmod(0o600)
    subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", "open sesame", "-f", str(key)], check=True)
    assert say(inventory_host(tmp_path, server, key=str(key), passphrase="open sesame"), "echo in") == ["in"]
    assert "protected by a passphrase" in refused_message(inventory_host(tmp_path, server, key=str(key)))
    assert "cannot be read" in refused_message(inventory_host(tmp_path, server, key=str(key), passphrase="wrong"))


def test_a_wrong_key_is_refused(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    refused = refusal(inventory_host(tmp_path, server, key=str(tmp_path / "other")))
    assert "login refused" in refused.message
    assert "authorized_keys" in refused.hint


def test_a_key_that_is_not_there(server: Server, tmp_path: Path) -> None:
    refused = refused_message(inventory_host(tmp_path, server, key=str(tmp_path / "missing")))
    assert "does not exist" in refused


@pytest.mark.parametrize("method", ["password", "keyboard-interactive"])
def test_a_password(make_simulated: MakeLab, tmp_path: Path, method: str) -> None:
    """Only on the simulated server: sshd would need a user of this machine whose password we know."""
    fleet_server = Simulated.start(make_simulated, password=Secret("pass wörd"), methods=(method,))
    host = inventory_host(tmp_path, fleet_server, key=None, password="pass wörd")
    assert say(host, "echo in") == ["in"]
    wrong = refusal(inventory_host(tmp_path, fleet_server, key=None, password="guess"))
    assert "login refused" in wrong.message
    assert "guess" not in wrong.message + wrong.hint


def test_sudo_with_a_password(make_simulated: MakeLab, tmp_path: Path) -> None:
    fleet_server = Simulated.start(make_simulated, sudo_password=Secret("let me"))
    assert say(inventory_host(tmp_path, fleet_server, sudo="password", sudo_password="let me"), "id -u; cat") == ["0"]
    with (
        pytest.raises(SudoError, match="cannot become root") as refused,
        session(inventory_host(tmp_path, fleet_server, sudo="password", sudo_password="guess")),
    ):
        pass
    assert refused.value.exit_code == 4
    assert "guess" not in str(refused.value)


# --- host keys -------------------------------------------------------------------------------------------------------


def test_an_unknown_host_is_refused_with_its_fingerprint(server: Server, tmp_path: Path) -> None:
    refused = refusal(inventory_host(tmp_path, server, known_hosts=str(tmp_path / "empty")))
    assert fingerprint(server.known_hosts) in refused.message
    assert "accept-new" in refused.hint
    assert not (tmp_path / "empty").exists()


def test_accept_new_learns_once_and_refuses_a_change(server: Server, tmp_path: Path) -> None:
    learnt = tmp_path / "learnt"
    host = inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy="accept-new")
    assert say(host, "echo in") == ["in"]
    assert stat.S_IMODE(learnt.stat().st_mode) == 0o600
    text = learnt.read_text()
    assert say(inventory_host(tmp_path, server, known_hosts=str(learnt)), "echo in") == ["in"]
    server.new_host_key()
    refused = refusal(host)
    assert "changed" in refused.message
    assert len(set(re.findall(r"SHA256:[\w+/]+", refused.message))) == 2
    assert "ssh-keygen" in refused.hint
    assert learnt.read_text() == text


def test_a_changed_key_is_refused_whatever_the_policy(server: Server, tmp_path: Path) -> None:
    server.new_host_key()
    for policy in ("strict", "accept-new"):
        assert "changed" in refusal(inventory_host(tmp_path, server, host_key_policy=policy)).message


def test_a_pinned_fingerprint(server: Server, tmp_path: Path) -> None:
    pin, empty = fingerprint(server.known_hosts), str(tmp_path / "empty")
    assert say(inventory_host(tmp_path, server, known_hosts=empty, fingerprint=pin), "echo in") == ["in"]
    other = "SHA256:" + "A" * 43
    assert other in refusal(inventory_host(tmp_path, server, fingerprint=other)).message
    server.new_host_key()
    assert pin in refusal(inventory_host(tmp_path, server, known_hosts=empty, fingerprint=pin)).message


def test_hashed_known_hosts(server: Server, tmp_path: Path) -> None:
    hashed = tmp_path / "hashed"
    hashed.write_text(server.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    assert server.address not in hashed.read_text()
    assert say(inventory_host(tmp_path, server, known_hosts=str(hashed)), "echo in") == ["in"]


# --- ways to the host ------------------------------------------------------------------------------------------------


def test_ssh_config_is_honoured(server: Server, tmp_path: Path) -> None:
    config = tmp_path / "ssh_config"
    config.write_text(
        f"Host shortname\n  HostName {server.address}\n  Port {server.port}\n  User {server.user}\n"
        f"  IdentityFile {server.key}\n"
    )
    host = inventory_host(tmp_path, server, address="shortname", config=str(config), user=None, port=None, key=None)
    assert say(host, "echo in") == ["in"]


def test_bastions_are_used_and_their_keys_verified(server: Server, tmp_path: Path) -> None:
    hop = {"address": server.address, "port": server.port, "user": server.user, "key": str(server.key)}
    assert say(inventory_host(tmp_path, server, bastions=[hop]), "echo through one") == ["through one"]
    assert say(inventory_host(tmp_path, server, bastions=[hop, hop]), "echo through two") == ["through two"]
    wrong = {**hop, "fingerprint": "SHA256:" + "B" * 43}
    assert "bastion" in refused_message(inventory_host(tmp_path, server, bastions=[wrong]))
    assert "not in" in refused_message(
        inventory_host(tmp_path, server, bastions=[hop], known_hosts=str(tmp_path / "empty"))
    )


def test_nothing_listens(server: Server, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    assert "connection refused" in refusal(inventory_host(tmp_path, server, address="127.0.0.1", port=port)).message


@pytest.mark.parametrize("greeting", [None, b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x00" * 70000])
def test_what_is_no_ssh_server_is_an_error_in_time(server: Server, tmp_path: Path, greeting: bytes | None) -> None:
    """None says nothing and stays; the others say something else and hang up."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answering = threading.Thread(target=answer, args=(listener, greeting), daemon=True)
        answering.start()
        began = time.monotonic()
        refusal(
            inventory_host(tmp_path, server, address="127.0.0.1", port=listener.getsockname()[1], connect_timeout=2)
        )
        assert time.monotonic() - began < 10
    answering.join(10)


def answer(listener: socket.socket, greeting: bytes | None) -> None:
    wire, _ = listener.accept()
    with wire:
        wire.settimeout(20)
        try:
            if greeting is not None:
                wire.sendall(greeting)
                return
            while wire.recv(1024):
                pass
        except OSError:
            return


# --- a session -------------------------------------------------------------------------------------------------------


def test_much_output_arrives_whole_and_in_order(server: Server, tmp_path: Path) -> None:
    lines = say(inventory_host(tmp_path, server), "seq 1 400000")
    assert lines == [str(number) for number in range(1, 400001)]


def test_a_large_script_and_odd_bytes(server: Server, tmp_path: Path) -> None:
    filler = "\n".join(f": {'x' * 100} {number}" for number in range(10000))
    said = say(inventory_host(tmp_path, server), filler + "\nprintf 'caf\\303\\251 \\377 tab\\there\\n'")
    assert said == ["café \ufffd tab\there"]


def test_exit_statuses_and_no_stdin(server: Server, tmp_path: Path) -> None:
    with session(inventory_host(tmp_path, server)) as opened:
        for status in (0, 1, 75, 255):
            assert opened.look(f"cat; exit {status}", lambda _item: None, timeout=10) == status


def test_a_dropped_connection_is_reopened_and_nothing_runs_twice(server: Server, tmp_path: Path) -> None:
    """The script counts its runs in a file; while it waits, every connection is broken."""
    items: list[Item] = []
    seen = threading.Event()

    def handle(item: Item) -> None:
        items.append(item)
        if isinstance(item, Output) and item.line == "line 3":
            seen.set()

    script = (
        'echo run >>"$KB_DIR/runs"; for i in 1 2 3; do echo "line $i"; done; '
        'while [ ! -e "$KB_DIR/go" ]; do sleep 0.1; done; '
        'for i in 4 5 6; do echo "line $i"; done; wc -l <"$KB_DIR/runs"'
    )

    def interfere() -> None:
        assert seen.wait(20)
        server.drop()

    with session(inventory_host(tmp_path, server), "apply") as opened:
        interfering = threading.Thread(target=interfere)
        interfering.start()
        releasing = threading.Timer(
            2.0, lambda: say(inventory_host(tmp_path, server), "for d in /run/kbootstrap/r-*; do : >$d/go; done")
        )
        releasing.start()
        assert opened.run("phase", script, handle, lambda: False) == 0
        interfering.join()
        releasing.join()
    said = [item.line for item in items if isinstance(item, Output)]
    assert said == [f"line {number}" for number in range(1, 7)] + ["1"]


def test_nothing_secret_is_in_the_processes_of_the_host(make_simulated: MakeLab, tmp_path: Path) -> None:
    fleet_server = Simulated.start(make_simulated, password=Secret("pa55-word"), sudo_password=Secret("su-word"))
    host = inventory_host(
        tmp_path, fleet_server, key=None, password="pa55-word", sudo="password", sudo_password="su-word"
    )
    shown = "\n".join(
        say(host, "env; for p in /proc/[0-9]*; do tr '\\0' ' ' <$p/cmdline; cat $p/environ; done 2>/dev/null; true")
    )
    assert "kbootstrap" in shown
    assert "pa55-word" not in shown
    assert "su-word" not in shown


def test_the_agent_is_not_forwarded(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server), 'echo "agent: ${SSH_AUTH_SOCK:-none}"') == ["agent: none"]
