"""Labs of container hosts with real kubeadm."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.labs import MakeLab
from support.real_labs import pytest_runtest_makereport, remembered_labs

from kbootstrap_lab import containers

__all__ = ["lab", "pytest_runtest_makereport"]


@pytest.fixture
def lab(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[MakeLab]:
    with remembered_labs(containers, "centos9", tmp_path, request) as make:
        yield make
