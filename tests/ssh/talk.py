"""What the contract's cases say to a server, through kbootstrap's own session and transport."""

from __future__ import annotations

import base64
import hashlib
import itertools
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.script import Output
from kbootstrap.remote.session import Item, Session
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.transport import SshPipe, SshTransport
from kbootstrap.remote.timeouts import DEFAULTS, Timeouts
from kbootstrap.steps import Mode

_runs = itertools.count(1)


class Counting(SshTransport):
    """An SshTransport that knows how often it was asked to run a command."""

    executed = 0

    def execute(self, command: str) -> SshPipe:
        self.executed += 1
        return super().execute(command)


def make_session(
    host: Host,
    mode: Mode = "plan",
    shared: SshShared | None = None,
    transport: SshTransport | None = None,
    notice: Callable[[str], None] = lambda _text: None,
    timeouts: Timeouts = DEFAULTS,
) -> Session:
    """A session that is not open yet; the caller closes it."""
    return Session(
        host.name,
        transport or SshTransport(host, shared or SshShared()),
        mode=mode,
        run_id=f"20260101T000000-{next(_runs):06x}",
        owner="a test",
        sudo=host.ssh.sudo,
        sudo_password=host.ssh.sudo_password,
        notice=notice,
        timeouts=timeouts,
    )


@contextmanager
def session(
    host: Host,
    mode: Mode = "plan",
    shared: SshShared | None = None,
    transport: SshTransport | None = None,
    notice: Callable[[str], None] = lambda _text: None,
) -> Iterator[Session]:
    """An open session, closed at the end."""
    made = make_session(host, mode, shared, transport, notice)
    made.open()
    try:
        yield made
    finally:
        made.close()


def say(host: Host, script: str, mode: Mode = "plan", shared: SshShared | None = None) -> list[str]:
    """The lines a script prints on the host."""
    items: list[Item] = []
    with session(host, mode, shared) as opened:
        status = (
            opened.run_inline("x", script, items.append, lambda: False)
            if mode == "plan"
            else opened.run_detached("phase", script, items.append, lambda: False)
        )
    assert status == 0, lines(items)[-5:]
    return lines(items)


def lines(items: list[Item]) -> list[str]:
    return [item.line for item in items if isinstance(item, Output)]


def refusal(host: Host, shared: SshShared | None = None) -> ConnectError:
    """The error that keeps this host's session from opening: one that names the host and says what to do."""
    with pytest.raises(ConnectError) as refused:
        make_session(host, shared=shared).open()
    assert refused.value.exit_code == 4
    assert "cp1" in refused.value.message
    assert refused.value.hint
    return refused.value


def fingerprint(key: Path) -> str:
    """SHA256:... of a public key file or a known_hosts file with one line, as ssh-keygen -l prints it."""
    encoded = re.search(r"AAAA\S+", key.read_text())
    assert encoded
    digest = hashlib.sha256(base64.b64decode(encoded[0])).digest()
    return "SHA256:" + base64.b64encode(digest).decode().rstrip("=")


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Fail unless it holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)
