"""Labs for tests: ``maker(backend)`` gives a function that starts labs, all of them gone when the tests are over.

A test that needs a cluster and not its making begins with a copy of one: ``Snapshots`` has each made once per test run,
by a real `up`, and every test gets hosts of its own that go on from there.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import pytest

from kbootstrap_lab import names, simulated
from support.driver import Events, Fleet

DISTRIBUTIONS = ("centos9", "centos7", "debian12")
"""Simulated hosts with dnf, with yum, and with apt. What depends on the package manager is tried on each."""
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


class Snapshots:
    """Simulated labs in a state that takes long to reach. All workers of one test run share ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)

    def copy(self, lab: MakeLab, key: str, reach: Callable[[Fleet], Events | None], *hosts: Any, **more: Any) -> Fleet:
        """A lab whose hosts are as ``reach`` left those of the first lab of this key.

        ``hosts`` are the arguments of ``lab``. The inventory, the journals and the fetched kubeconfigs are copied too.
        """
        words = [key, *map(str, hosts), *(f"{name}={value}" for name, value in sorted(more.items()))]
        saved = self._folder / "-".join(words).replace("/", "_")
        with (self._folder / f"{saved.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (saved / "done").exists():
                self._make(saved, reach, *hosts, **more)
        return self._copy(lab, saved, *hosts, **more)

    @staticmethod
    def _make(saved: Path, reach: Callable[[Fleet], Events | None], *hosts: Any, **more: Any) -> None:
        shutil.rmtree(saved, ignore_errors=True)
        saved.mkdir()
        with maker(simulated, saved) as make:
            fleet = make(*hosts, **more)
            done = reach(fleet)
            simulated.save(fleet.name, saved / "hosts")
        fleet.inventory.unlink()
        (saved / "done").write_text(json.dumps({"cluster": fleet.name, "lines": done.lines if done else []}))

    @staticmethod
    def _copy(lab: MakeLab, saved: Path, *hosts: Any, **more: Any) -> Fleet:
        fleet = lab(*hosts, **more, snapshot=saved / "hosts")
        known = json.loads((saved / "done").read_text())
        if (saved / "state").is_dir():
            shutil.copytree(saved / "state", fleet.inventory.parent / "state", dirs_exist_ok=True)
        fleet.change_inventory(lambda text: text.replace(f"  name: {fleet.name}\n", f"  name: {known['cluster']}\n", 1))
        return replace(fleet, cluster=known["cluster"], made_by=Events(known["lines"]))


def shared_folder(factory: pytest.TempPathFactory) -> Path:
    """A folder that all workers of this test run have in common."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
