"""Faulty hosts: the error message is right, and the next run converges when the fault is gone."""

from __future__ import annotations

from support.labs import MakeLab


def test_a_wrong_clock_and_a_full_disk(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    fleet.fault("w2", "clock-skew")
    said = fleet.kbootstrap("check", str(fleet.inventory), code=1)
    assert "w2" in said
    assert "s ahead of the other hosts" in said
    fleet.fault("w2", "heal")

    fleet.fault("w1", "disk-full")
    broken = fleet.up("--only", "prepare", code=1)
    assert broken.result["hosts"]["w1"]["failure"]["phase"] == "prepare"
    assert {host for host, _, _ in broken.those("failed")} == {"w1"}
    fleet.fault("w1", "heal")
    assert fleet.up("--only", "prepare").result["failed"] == 0
    assert fleet.up("--only", "prepare").result["changed"] == 0


def test_a_host_that_hangs_or_is_gone_stops_no_other_host(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    fleet.fault("w1", "stop")
    fleet.fault("w2", "kill")
    done = fleet.up("--only", "prepare", code=4)
    assert {host for host, _, _ in done.those("failed")} == {"w1", "w2"}
    assert done.states["cp1", "prepare", "swap"] == "changed"
    for host in ("w1", "w2"):
        fleet.fault(host, "heal")
    assert fleet.up("--only", "prepare").result["failed"] == 0
