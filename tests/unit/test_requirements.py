"""Facts parsed from a host's lines, and the requirements that are checked before any change."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.examples import DEBIAN12, EL9, inventory

from kbootstrap.distributions import OsRelease
from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases.preflight.requirements import findings
from kbootstrap.remote.facts import Facts, Route, parse

FACTS = """\
os_id=centos
os_version=9
os_name=CentOS Stream 9
os_like=rhel fedora
arch=x86_64
kernel=5.14.0-1.el9.x86_64
uid=0
cpus=4
memory_kib=4194304
disk_free_kib=40960000
hostname=node
machine_id=abc
product_uuid=DEF
systemd=1
cgroup2=1
address=eth0 192.168.1.10/24
address=eth1 10.0.0.5/16
mac=eth0: AA:BB:CC:00:11:22
route=default eth0
route=192.168.1.0/24 eth0
listening=0016
listening=192B
udp=2118
epoch=1000.5
complete=1
"""


def test_the_facts_are_parsed() -> None:
    facts = parse(FACTS.splitlines(), received_at=990.0)
    assert (facts.family, facts.cpus, facts.memory_mib, facts.cgroup) == ("el", 4, 4096, 2)
    assert facts.addresses == {"192.168.1.10": "eth0", "10.0.0.5": "eth1"}
    assert facts.listening == {22, 6443}
    assert facts.udp == {8472}
    assert facts.clock_offset == 10.5
    assert facts.cluster_state == "fresh"
    assert facts.product_uuid == "def"


@pytest.mark.parametrize(
    ("line", "other"),
    [("complete=1", ""), ("uid=0", "uid=root"), ("epoch=1000.5", "epoch=nan"), ("cpus=4", "cpus="),
     ("route=default eth0", "address=eth0 nonsense"), ("listening=0016", "listening=zz")],
)  # fmt: skip
def test_invalid_facts_are_refused(line: str, other: str) -> None:
    with pytest.raises(KbootstrapError, match="facts"):
        parse(FACTS.replace(line, other).splitlines())


@given(st.lists(st.text(max_size=40) | st.sampled_from(FACTS.splitlines()), max_size=60))
def test_false_facts_are_refused_or_harmless(lines: list[str]) -> None:
    try:
        facts = parse(lines)
    except KbootstrapError as error:
        assert "facts" in error.message  # noqa: PT017 - an error and no error are both right
    else:
        assert "\x1b" not in repr(facts)


def hosts(made: Inventory, **changes: Any) -> dict[str, Facts]:
    """Good facts for every host, changed by the keywords (a dict per host)."""
    good = {
        host.name: replace(
            EL9,
            addresses={host.node_ip: "eth0"},
            machine_id=f"id-{host.name}",
            product_uuid=f"uuid-{host.name}",
            macs={"eth0": f"52:54:00:00:00:{index:02x}"},
        )
        for index, host in enumerate(made.hosts)
    }
    return {name: replace(facts, **changes.get(name, {})) for name, facts in good.items()}


def test_good_hosts_have_no_findings(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=3)
    assert findings(made, hosts(made)) == []


MEMBER = {"kubelet_conf": True, "kubelet_server": "https://10.9.9.9:6443", "ca_sha256": "b" * 64}
CONTROL_PLANE = {"admin_conf": True, "manifests": True, "kubelet_conf": True, "etcd_data": True, "ca_sha256": "a" * 64,
          "apiserver_version": "1.34.1"}  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "host", "level", "text"),
    [
        ({"w1": {"uid": 1000}}, "w1", "error", "not as root"),
        ({"w1": {"os": OsRelease("plan9")}}, "w1", "error", "not supported"),
        ({"w1": {"arch": "i686"}}, "w1", "error", "i686 is not supported"),
        ({"w1": {"systemd": False}}, "w1", "error", "systemd is not running"),
        ({"w1": {"os": OsRelease("centos", "7"), "kernel": "3.10.0", "cgroup": 1}}, "w1", "error", "1.3"),
        ({"cp1": {"cpus": 1}}, "cp1", "error", "a control plane needs 2"),
        ({"w1": {"memory_cgroup": False}}, "w1", "error", "the kernel's memory cgroup is off"),
        ({"cp1": {"memory_mib": 900}}, "cp1", "error", "MiB of memory"),
        ({"w1": {"memory_mib": 300}}, "w1", "warning", "MiB of memory"),
        ({"w1": {"disk_free_mib": 100}}, "w1", "error", "MiB free"),
        ({"w1": {"addresses": {"10.0.0.9": "eth0"}}}, "w1", "error", "the address 192.168.1.11 is not on this host"),
        ({"w1": {"routes": (Route("10.244.0.0/16", "tun0"),)}}, "w1", "error", "overlaps pod_cidr"),
        ({"w1": {"routes": (Route("10.0.0.0/8", "tun0"),)}}, "w1", "warning", "overlaps service_cidr"),
        ({"w1": {"routes": (Route("10.96.0.0/12", "tun0"),)}}, "w1", "error", "overlaps service_cidr"),
        ({"cp1": {"listening": frozenset({6443})}}, "cp1", "error", "TCP ports already in use: 6443"),
        ({"w1": {"runtimes": ("dockerd",)}}, "w1", "warning", "Docker is installed"),
        ({"w1": {"machine_id": "id-cp1"}}, "w1", "error", "the same machine-id as cp1"),
        ({"w1": {"product_uuid": "uuid-cp1"}}, "w1", "warning", "the same product_uuid as cp1"),
        ({"w1": {"macs": {"eth0": "52:54:00:00:00:00"}}}, "w1", "error", "the same MAC address as cp1"),
        ({"w2": {"clock_offset": 45.0}}, "w2", "error", "45 s ahead of the other hosts"),
        ({"w2": {"clock_offset": -600.0}}, "w2", "error", "600 s behind"),
        ({"w1": MEMBER}, "w1", "error", "cp1 is not"),
        ({"cp1": CONTROL_PLANE, "w1": MEMBER}, "w1", "error", "member of another cluster"),
        ({"cp1": MEMBER}, "cp1", "error", "is a worker of a cluster (https://10.9.9.9:6443)"),
        (
            {"cp1": CONTROL_PLANE, "w1": CONTROL_PLANE},
            "w1",
            "error",
            "a control plane host of this cluster, but a worker",
        ),
        ({"cp1": {**CONTROL_PLANE, "apiserver_version": "1.33.5"}}, "cp1", "error", "runs Kubernetes 1.33.5"),
        ({"cp1": {**CONTROL_PLANE, "pod_cidr": "10.9.0.0/16"}}, "cp1", "error", "pod_cidr is 10.9.0.0/16, but"),
        ({"cp1": {**CONTROL_PLANE, "service_cidr": "10.8.0.0/16"}}, "cp1", "error", "service_cidr is 10.8.0.0/16"),
        ({"cp1": {"init_begun": True, "manifests": True}}, "cp1", "warning", "init did not finish"),
        ({"w1": {"join_begun": True, "bootstrap_conf": True}}, "w1", "warning", "join did not finish"),
    ],
)
def test_what_is_wrong_is_found(tmp_path: Path, changes: Any, host: str, level: str, text: str) -> None:
    made = inventory(tmp_path, workers=3)
    found = [finding for finding in findings(made, hosts(made, **changes)) if text in finding.text]
    assert [(finding.host, finding.level) for finding in found] == [(host, level)]


def test_a_worker_does_not_become_a_control_plane_host_unnoticed(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2, workers=1)
    joined = {**MEMBER, "ca_sha256": CONTROL_PLANE["ca_sha256"]}
    found = findings(made, hosts(made, cp1=CONTROL_PLANE, cp2=joined))
    assert [(finding.host, finding.level) for finding in found] == [("cp2", "error")]
    assert "is a worker of this cluster, but a control plane host in the inventory" in found[0].text
    assert "kbootstrap reset --limit cp2" in found[0].hint


def test_everything_is_found_at_once(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=2)
    found = findings(made, hosts(made, cp1={"cpus": 1, "memory_mib": 1}, w1={"systemd": False}, w2={"uid": 5}))
    assert {finding.host for finding in found} == {"cp1", "w1", "w2"}
    assert len(found) >= 4


def test_other_families_and_members_of_this_cluster_are_welcome(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=1)
    joined = {
        **MEMBER,
        "ca_sha256": CONTROL_PLANE["ca_sha256"],
        "os": DEBIAN12.os,
        "kernel": "6.1.0",
    }
    assert findings(made, hosts(made, cp1=CONTROL_PLANE, w1=joined)) == []
    assert DEBIAN12.family == "debian"
    assert OsRelease("mystery", "9", ("rhel",)).family == "el"
