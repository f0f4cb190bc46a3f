"""Labs for tests: ``maker(backend)`` gives a function that starts labs, all of them gone when the tests are over."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

from kbootstrap_lab import names
from support.driver import Fleet

_numbers = itertools.count(1)


class MakeLab(Protocol):
    def __call__(
        self, control_planes: int = 1, workers: int = 0, distribution: str = "centos9", **options: Any
    ) -> Fleet: ...


@contextlib.contextmanager
def maker(backend: ModuleType, directory: Path) -> Iterator[MakeLab]:
    """Inventories go to ``directory``; the labs are removed also when a test fails."""
    made: list[str] = []

    def make(control_planes: int = 1, workers: int = 0, distribution: str = "centos9", **options: Any) -> Fleet:
        name = f"test-{os.getpid()}-{next(_numbers)}"
        inventory = directory / f"{name}.yaml"
        made.append(name)
        started = backend.up(name, control_planes, workers, distribution, inventory=inventory, **options)
        return Fleet(backend, started, inventory)

    try:
        yield make
    finally:
        for name in made:
            if name in names():
                backend.down(name)
