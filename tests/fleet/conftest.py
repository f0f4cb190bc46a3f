"""Labs of simulated hosts for tests: ``lab(masters, workers, flavour)`` makes one, gone when the test is over."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fleet import Fleet, MakeLab

from kbootstrap.lab import names, simulated

_numbers = itertools.count(1)


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[MakeLab]:
    """A factory of labs; all of them are removed at the end, also when the test fails."""
    made: list[str] = []

    def make(masters: int = 1, workers: int = 0, flavour: str = "centos9", **options: Any) -> Fleet:
        name = f"test-{os.getpid()}-{next(_numbers)}"
        inventory = tmp_path / f"{name}.yaml"
        made.append(name)
        started = simulated.up(name, masters, workers, flavour, inventory=inventory, **options)
        return Fleet(started, inventory)

    try:
        yield make
    finally:
        for name in made:
            if name in names():
                simulated.down(name)
