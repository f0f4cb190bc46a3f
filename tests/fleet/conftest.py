"""Labs of simulated hosts: ``lab(control_planes, workers, distribution)`` makes one, gone when the test is over."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.labs import MakeLab, maker

from kbootstrap_lab import simulated


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    with maker(simulated, tmp_path) as make:
        yield make
