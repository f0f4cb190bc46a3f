"""Every test that asks for a server or a pair of them runs twice: against OpenSSH's sshd and the simulated fleet's.

``server`` and ``pair`` serve all tests of a module, so they leave them as they found them; ``make_server`` and
``make_pair`` make some to be broken.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from ssh.servers import Server, Simulated, Sshd
from support.labs import MakeLab, maker

from kbootstrap_lab import simulated

MakeServer = Callable[[], Server]
MakePair = Callable[[], tuple[Server, Server]]


@pytest.fixture(scope="module", params=["sshd", "simulated"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@contextmanager
def started(kind: str, folder: Path) -> Iterator[Server]:
    with ExitStack() as stack:
        if kind == "sshd":
            made: Server = Sshd(folder / "sshd")
        else:
            made = Simulated.start(stack.enter_context(maker(simulated, folder)))
        stack.callback(made.stop)
        yield made


@pytest.fixture(scope="module")
def server(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with started(kind, tmp_path_factory.mktemp("server")) as made:
        yield made


@pytest.fixture
def make_server(kind: str, tmp_path: Path) -> Iterator[MakeServer]:
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def make() -> Server:
            folder = tmp_path / f"server-{next(numbers)}"
            folder.mkdir()
            return stack.enter_context(started(kind, folder))

        yield make


@contextmanager
def started_pair(kind: str, folder: Path) -> Iterator[tuple[Server, Server]]:
    """Two servers, the first of which forwards to the second."""
    with ExitStack() as stack:
        if kind == "sshd":
            yield (
                stack.enter_context(started(kind, folder / "first")),
                stack.enter_context(started(kind, folder / "second")),
            )
        else:
            lab = stack.enter_context(maker(simulated, folder))(1, 1).lab
            yield Simulated(lab, 0), Simulated(lab, 1)


@pytest.fixture(scope="module")
def pair(kind: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    with started_pair(kind, tmp_path_factory.mktemp("pair")) as made:
        yield made


@pytest.fixture
def make_pair(kind: str, tmp_path: Path) -> Iterator[MakePair]:
    with ExitStack() as stack:
        yield lambda: stack.enter_context(started_pair(kind, tmp_path / "pair"))


@pytest.fixture
def make_sshd(tmp_path: Path) -> Iterator[Callable[..., Sshd]]:
    """An sshd with options of its own, for what only OpenSSH can be told to do."""
    numbers = itertools.count(1)
    with ExitStack() as stack:

        def make(*options: str) -> Sshd:
            made = Sshd(tmp_path / f"sshd-{next(numbers)}", options)
            stack.callback(made.stop)
            return made

        yield make


@pytest.fixture
def make_simulated(tmp_path: Path) -> Iterator[MakeLab]:
    """A lab with options of its own, for what only the simulated fleet can do."""
    with maker(simulated, tmp_path) as make:
        yield make
