"""`verify --deep` and the packet at the end of `up`: every connection is tried, and a failing one is named."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest
from support.driver import Events, Fleet
from support.kubectl import kubectl
from support.labs import maker

from kbootstrap_lab import simulated

RECORD = "/var/lib/kbootstrap/pod-network"


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """A cluster of three nodes, made by `up`."""
    with maker(simulated, tmp_path_factory.mktemp("connections")) as make:
        made = make(1, 2)
        assert made.up().states["cp1", "verify", "packet"] == "ok"
        yield made


def connections(events: Events) -> list[dict[str, Any]]:
    found = [line for line in events.lines if line["type"] == "network"]
    assert len(found) == 1
    assert found[0]["host"] == "cp1"
    assert found[0]["ok"] == all(each["state"] == "ok" for each in found[0]["connections"])
    listed: list[dict[str, Any]] = found[0]["connections"]
    return listed


def failing(events: Events) -> set[tuple[str, str, str]]:
    return {(each["kind"], each["from"], each["to"]) for each in connections(events) if each["state"] != "ok"}


def namespaces(fleet: Fleet) -> list[str]:
    return kubectl(fleet, "get namespaces -l kbootstrap/test=pod-network -o name").split()


def test_a_second_up_sends_no_packet_and_a_change_or_a_lost_record_does(fleet: Fleet) -> None:
    again = fleet.up()
    assert again.result["changed"] == 0
    assert namespaces(fleet) == []
    before = fleet.text("cp1", f"stat -c %y {RECORD}")
    fleet.text("w1", "systemctl stop chronyd")
    assert fleet.plan().states["cp1", "verify", "packet"] == "unknown"
    assert fleet.up().states["cp1", "verify", "packet"] == "ok"
    after = fleet.text("cp1", f"stat -c %y {RECORD}")
    assert after != before
    assert fleet.plan().counts.keys() == {"ok"}
    assert fleet.text("cp1", f"stat -c %y {RECORD}") == after


def test_every_connection_of_a_sound_cluster_works(fleet: Fleet) -> None:
    events = fleet.events("verify", "--deep")
    assert failing(events) == set()
    kinds = Counter(each["kind"] for each in connections(events))
    assert kinds == {"pod": 6, "service": 3, "dns": 3, "node-port": 3}
    said = fleet.kbootstrap("verify", "--deep", str(fleet.inventory))
    assert "FROM \\ TO  cp1  w1  w2  Service  DNS  NodePort" in said
    assert "6 of 6 pod to pod, 3 of 3 Service, 3 of 3 DNS, 3 of 3 NodePort" in said
    assert namespaces(fleet) == []


def test_a_dropped_tunnel_is_named_with_both_nodes_and_the_port(fleet: Fleet) -> None:
    fleet.fault("w2", "drop-udp", port=8472)
    try:
        events = fleet.events("verify", "--deep", code=1)
        blocked = {("pod", *pair) for pair in (("cp1", "w2"), ("w2", "cp1"), ("w1", "w2"), ("w2", "w1"))}
        assert failing(events) >= blocked
        assert not {each for each in failing(events) if each[0] == "pod"} - blocked
        pair = next(each for each in connections(events) if each["to"] == "w2")
        assert "UDP port 8472 (VXLAN) between cp1 and w2" in pair["cause"]
        failure = events.result["hosts"]["cp1"]["failure"]
        assert "connections failed, the first: cp1 -> w2, pod to pod: no answer" in failure["message"]
        assert "UDP port 8472" in failure["hint"]
        assert namespaces(fleet) == []
        up = fleet.up(code=0)
        assert up.states["cp1", "verify", "packet"] == "ok", "cp1 and w1 still reach each other"
    finally:
        fleet.fault("w2", "heal")
    assert failing(fleet.events("verify", "--deep")) == set()


def test_the_packet_of_up_fails_when_a_firewall_drops_the_tunnel(fleet: Fleet) -> None:
    fleet.text("cp1", f"rm {RECORD}")
    fleet.fault("cp1", "drop-udp", port=8472)
    try:
        events = fleet.up(code=1)
        failure = events.result["hosts"]["cp1"]["failure"]
        assert (failure["phase"], failure["step"]) == ("verify", "packet")
        assert failure["message"] == "cp1 -> w1, pod to pod: no answer within 5 s"
        said = "A firewall may drop UDP port 8472 (VXLAN) between cp1 and w1. Open it both ways. [pod-connections]"
        assert (failure["hint"], failure["topic"]) == (said, "pod-connections")
        assert fleet.run("cp1", f"[ -e {RECORD} ]").returncode == 1
    finally:
        fleet.fault("cp1", "heal")
    assert fleet.up().states["cp1", "verify", "packet"] == "ok"


def test_what_a_killed_test_left_is_removed_by_the_next_one(fleet: Fleet) -> None:
    """A namespace with the label is what `kill -9` leaves, and the record is gone since the test began."""
    left = (
        '{"apiVersion":"v1","kind":"Namespace","metadata":{"name":"left","labels":{"kbootstrap/test":"pod-network"}}}'
    )
    kubectl(fleet, "create -f -", stdin=left)
    fleet.text("cp1", f"rm -f {RECORD}")
    assert namespaces(fleet) == ["namespace/left"]
    assert fleet.up().result["changed"] == 0
    assert namespaces(fleet) == []
