"""Labs of simulated hosts: ``lab(control_planes, workers, distribution)`` makes one, gone when the test is over.

``finished`` takes the same arguments. On its hosts `up` has ended well, once for all tests that ask for such hosts.
``shared`` is one lab of fresh hosts for all tests of a module that only look at it.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from support.driver import Fleet
from support.labs import MakeLab, Snapshots, maker, shared_folder

from kbootstrap_lab import simulated


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    with maker(simulated, tmp_path) as make:
        yield make


@pytest.fixture(scope="session")
def snapshots(tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    return Snapshots(shared_folder(tmp_path_factory) / "snapshots")


@pytest.fixture
def finished(lab: MakeLab, snapshots: Snapshots) -> MakeLab:
    return partial(snapshots.copy, lab, "finished", Fleet.up)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A control plane host and a worker."""
    with maker(simulated, tmp_path_factory.mktemp("shared")) as make:
        yield make(1, 1)
