"""Large files: through the system's ssh where it can log in as we have, over our own connection elsewhere."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from benchmark import bulk
from ssh.servers import PASSWORD, Server, hop, inventory_host

from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.transport import SshTransport

CONTENT = os.urandom(3 * bulk.BLOCK + 7)


@contextmanager
def connected(host: Host) -> Iterator[SshTransport]:
    shared = SshShared()
    transport = SshTransport(host, shared)
    transport.connect()
    try:
        yield transport
    finally:
        transport.close()
        shared.close()


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a %h file"
    path.write_bytes(CONTENT)
    return path


@contextmanager
def made_folder(server: Server) -> Iterator[str]:
    path = server.root("mktemp -d /tmp/kb-bulk-XXXXXX").strip()
    server.root(f"chmod 777 {path}")
    try:
        yield path
    finally:
        server.root(f"rm -rf {path}")


@pytest.fixture
def folder(server: Server) -> Iterator[str]:
    with made_folder(server) as path:
        yield path


def ssh_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Another program is found as the system's ssh."""
    program = tmp_path / "bin" / "ssh"
    program.parent.mkdir()
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")


@pytest.mark.parametrize(("settings", "way"), [({}, "openssh"), ({"key": None, "password": PASSWORD}, "connection")])
def test_a_file_arrives_whole_and_is_not_sent_twice(
    server: Server, folder: str, tmp_path: Path, source: Path, settings: dict[str, Any], way: str
) -> None:
    target = f"{folder}/it's here"
    with connected(inventory_host(tmp_path, server, **settings)) as transport:
        assert bulk.put(transport, source, target) == way
        assert bulk.put(transport, source, target) == "unchanged"
        before = server.root(f'cat "{target}" | wc -c; stat -c %a "{target}"; ls {folder} | wc -l').split()
        assert before == [str(len(CONTENT)), "600", "1"]
        # The same size, and another content.
        source.write_bytes(CONTENT[::-1])
        assert bulk.put(transport, source, target) == way
        assert bulk.put(transport, source, target) == "unchanged"


def test_behind_a_bastion_it_goes_over_our_own_connection(
    pair: tuple[Server, Server], tmp_path: Path, source: Path
) -> None:
    first, second = pair
    known = tmp_path / "known_hosts"
    known.write_text(first.known_hosts.read_text() + second.known_hosts.read_text())
    host = inventory_host(tmp_path, second, bastions=[hop(first)], known_hosts=str(known))
    with connected(host) as transport, made_folder(second) as folder:
        assert bulk.put(transport, source, f"{folder}/file") == "connection"
        assert bulk.put(transport, source, f"{folder}/file") == "unchanged"


def test_a_transfer_that_breaks_off_changes_nothing(
    server: Server, folder: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = f"{folder}/file"
    server.root(f"echo old >{target}")
    ssh_is(tmp_path, monkeypatch, 'head -c 100000 | PATH=${PATH#*:} exec ssh "$@"')
    with connected(inventory_host(tmp_path, server)) as transport, pytest.raises(KbootstrapError) as failed:
        bulk.put(transport, source, target)
    assert failed.value.message.startswith(f"cp1: {source} could not be put to {target}: ")
    assert server.root(f"cat {target}; ls {folder}").split() == ["old", "file"]


@pytest.mark.parametrize("settings", [{}, {"key": None, "password": PASSWORD}], ids=["openssh", "connection"])
def test_what_the_host_says_is_the_error(
    server: Server, tmp_path: Path, source: Path, settings: dict[str, Any]
) -> None:
    with connected(inventory_host(tmp_path, server, **settings)) as transport:
        with pytest.raises(KbootstrapError, match=r"/nowhere/file: .*(nonexistent|[Nn]o such)"):
            bulk.put(transport, source, "/nowhere/file")
        with pytest.raises(KbootstrapError, match="No such file"):
            bulk.put(transport, tmp_path / "missing", "/tmp/kb-never")


def test_ssh_that_cannot_log_in_is_done_without(
    server: Server, folder: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ssh_is(tmp_path, monkeypatch, "exit 255")
    with connected(inventory_host(tmp_path, server)) as transport:
        assert bulk.put(transport, source, f"{folder}/file") == "connection"


@pytest.mark.parametrize(
    ("script", "why"), [("exec sleep 60", "did not finish"), ("exec yes", "talks on")], ids=["hangs", "talks-on"]
)
def test_a_host_that_does_not_end_it_is_given_up(
    server: Server, folder: str, tmp_path: Path, source: Path, monkeypatch: pytest.MonkeyPatch, script: str, why: str
) -> None:
    ssh_is(tmp_path, monkeypatch, script)
    monkeypatch.setattr(bulk, "ANSWER_S", 1)
    monkeypatch.setattr(bulk, "SLOWEST", 10 * len(CONTENT))
    with connected(inventory_host(tmp_path, server)) as transport, pytest.raises(KbootstrapError, match=why):
        bulk.put(transport, source, f"{folder}/file")
