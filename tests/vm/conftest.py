"""Labs of virtual machines. A failed test prints the journals of its machines."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.driver import Fleet
from support.labs import MakeLab, maker

from kbootstrap_lab import vm

_FLEETS = pytest.StashKey[list[Fleet]]()


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    fleets = request.node.stash.setdefault(_FLEETS, [])
    with maker(vm, tmp_path) as make:

        def remember(
            control_planes: int = 1, workers: int = 0, distribution: str = vm.DISTRIBUTION, **options: Any
        ) -> Fleet:
            fleet = make(control_planes, workers, distribution, **options)
            fleets.append(fleet)
            return fleet

        yield remember


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.failed and report.when == "call":
        for fleet in item.stash.get(_FLEETS, []):
            for host in fleet.hosts:
                report.sections.append((f"{host} of lab {fleet.name}", fleet.backend.logs(fleet.name, host)))
    return report
