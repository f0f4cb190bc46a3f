"""Every test that asks for ``server`` runs twice: against OpenSSH's sshd and against the simulated fleet's."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from labs import MakeLab, maker
from sshservers import Server, Simulated, Sshd

from kbootstrap.lab import simulated


@pytest.fixture
def make_simulated(tmp_path: Path) -> Iterator[MakeLab]:
    with maker(simulated, tmp_path) as make:
        yield make


@pytest.fixture(params=["sshd", "simulated"])
def server(request: pytest.FixtureRequest, tmp_path: Path, make_simulated: MakeLab) -> Iterator[Server]:
    made: Server = Sshd.start(tmp_path / "sshd") if request.param == "sshd" else Simulated.start(make_simulated)
    yield made
    made.stop()
