"""`reset` on simulated hosts: what was there before `up` is there again after it."""

from __future__ import annotations

import pytest
from labs import MakeLab


@pytest.mark.parametrize("flavour", ["centos9", "centos7", "debian12"])
def test_what_was_there_is_there_again(lab: MakeLab, flavour: str) -> None:
    fleet = lab(1, 1, flavour, state="dirty")
    before = fleet.snapshot("/run")
    fleet.up()
    print(fleet.kbootstrap("reset", str(fleet.inventory), "--dry-run", "-v"))
    planned = fleet.events("reset", "--dry-run")
    done = fleet.events("reset", "--yes")
    assert planned.those("change") == done.those("changed"), planned.those("change") ^ done.those("changed")
    for x in sorted(fleet.snapshot("/run") ^ before):
        print(x)
    assert fleet.events("reset", "--yes").result["changed"] == 0
