"""What the connections of a run share."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabric
import pytest

from kbootstrap.transport import SshShared


@pytest.fixture
def busy_threads() -> Iterator[None]:
    """Threads take turns a thousand times as often as they usually do."""
    usual = sys.getswitchinterval()
    sys.setswitchinterval(usual / 1000)
    yield
    sys.setswitchinterval(usual)


@pytest.mark.usefixtures("busy_threads")
def test_many_hosts_at_once_do_not_disturb_each_other(tmp_path: Path) -> None:
    """fabric's Connection writes to the configuration it is given, and reads it while others write."""
    ssh_config = tmp_path / "config"
    ssh_config.write_text("Host h*\n  User ann\n")
    shared = SshShared()

    def user(number: int) -> str:
        name: str = fabric.Connection(f"h{number}", config=shared.config(ssh_config), gateway=False).user
        return name

    with ThreadPoolExecutor(8) as threads:
        assert set(threads.map(user, range(400))) == {"ann"}
