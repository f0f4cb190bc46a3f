"""Every backend of the lab is a ``Backend``: mypy compares the functions, this file the names."""

from __future__ import annotations

import inspect

import pytest

from kbootstrap_lab import LabError, containers, simulated, vm
from kbootstrap_lab.backend import BACKENDS, Backend, load

EVERY: dict[str, Backend] = {"simulated": simulated, "containers": containers, "vm": vm}


def test_every_backend_is_checked_here() -> None:
    assert list(EVERY) == list(BACKENDS)


@pytest.mark.parametrize("name", BACKENDS)
def test_a_backend_has_every_function(name: str) -> None:
    assert load(name) is EVERY[name]
    for function in (name for name in vars(Backend) if not name.startswith("_")):
        wanted = list(inspect.signature(getattr(Backend, function)).parameters)[1:]
        assert set(wanted) <= set(inspect.signature(getattr(EVERY[name], function)).parameters)


def test_a_backend_refuses_an_option_that_it_does_not_have() -> None:
    with pytest.raises(LabError, match="the backend simulated has no --image"):
        simulated.up("refused", image="debian:12")
    with pytest.raises(LabError, match="the backend containers has no --latency-ms"):
        containers.up("refused", latency_ms=5)
    with pytest.raises(LabError, match="the backend vm has no --image"):
        vm.up("refused", image="debian:12")
    with pytest.raises(LabError, match="virtual machines are debian12 only"):
        vm.up("refused", distributions=("debian12", "centos9"))
