"""``known``: the undisturbed run everything is compared with, once per process, with a host of every distribution.

``lab(control_planes, workers, distribution)`` makes a lab of simulated hosts, gone when the test is over.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support import fault_matrix
from support.labs import MakeLab, maker

from kbootstrap_lab import simulated


@pytest.fixture(scope="session")
def known(tmp_path_factory: pytest.TempPathFactory) -> Iterator[fault_matrix.Reference]:
    with maker(simulated, tmp_path_factory.mktemp("matrix")) as lab:
        yield fault_matrix.reference(lab, ("centos9", "debian12", "centos7"))


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    with maker(simulated, tmp_path) as make:
        yield make
