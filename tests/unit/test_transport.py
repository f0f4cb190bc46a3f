"""The settings that the connections of a run share."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabric
import pytest

from kbootstrap.inventory.models import Ssh
from kbootstrap.remote.ssh.client_config import Query, SshProgram
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import WatchedSocket


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Makes Python switch threads a thousand times as often as usual."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("busy_threads")
def test_many_hosts_at_once_do_not_disturb_each_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """fabric's Connection writes to its configuration, and reads it while others write; so does paramiko's reader."""
    monkeypatch.setattr(SshProgram, "probe", lambda *_: None)
    ssh_config = tmp_path / "config"
    ssh_config.write_text("Host h*\n  User ann\n")
    shared = SshShared()

    def user(number: int) -> str:
        settings = shared.client_config(ssh_config, Query(f"h{number}"))
        name: str = fabric.Connection(
            settings.host, user=settings.user, config=shared.fabric_config(), gateway=False
        ).user
        return name

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(user, range(400))) == {"ann"}


def test_only_the_inventory_says_how_long_a_handshake_may_take() -> None:
    """paramiko's own limit, 15 s, would need a waiting thread for each connection."""
    before = threading.enumerate()
    ours, theirs = socket.socketpair()
    with ours, theirs:
        made = SshProtocol.make(WatchedSocket(ours), [], Ssh(user="ann"))
        made.packetizer.start_handshake(60)
        assert threading.enumerate() == before
