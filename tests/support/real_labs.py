"""What the tests of container hosts and of virtual machines share. A failed test prints the logs of its hosts."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.driver import Fleet
from support.labs import MakeLab, maker

_FLEETS = pytest.StashKey[list[Fleet]]()


@contextmanager
def remembered_labs(backend: Any, distribution: str, folder: Path, request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    """Make labs of this backend for one test, and remember them for the report."""
    fleets = request.node.stash.setdefault(_FLEETS, [])
    with maker(backend, folder) as make:

        def remember(
            control_planes: int = 1, workers: int = 0, distribution: str = distribution, **options: Any
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
