"""Every simulated distribution with every Kubernetes minor that preflight accepts on it, up to Ready."""

from __future__ import annotations

import pytest
from support.labs import MakeLab
from supported import by_outcome

from kbootstrap.versions import NEWEST, OLDEST
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS

MINORS = range(OLDEST[1], NEWEST[1] + 1)


@pytest.mark.parametrize("minor", MINORS)
def test_every_accepted_distribution_becomes_ready(lab: MakeLab, minor: int) -> None:
    names = tuple(name for name, found in DISTRIBUTIONS.items() if minor in by_outcome(found)[0])
    assert len(names) >= 15
    fleet = lab(1, len(names) - 1, distributions=names, kubernetes=f"1.{minor}")
    mirror = "  package_repository: https://mirror.example\n  package_key"
    fleet.change_inventory(lambda text: text.replace("  package_key", mirror, 1))
    ended = fleet.up().result
    assert ended["status"] == "ok"
    assert fleet.kbootstrap("status", str(fleet.inventory)).count(" Ready ") == len(names)
    assert fleet.plan().result["change"] == 0
    print(f"{len(names)} distributions with Kubernetes 1.{minor}: all Ready")
