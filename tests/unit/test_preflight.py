"""Edge cases of the requirements: problems that must be found, and conditions that are no problem."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.examples import EL7, EL9, inventory

from kbootstrap.distributions import OsRelease
from kbootstrap.inventory.models import Inventory, Preflight
from kbootstrap.phases.phase import Context
from kbootstrap.phases.preflight import PHASE as PREFLIGHT
from kbootstrap.phases.preflight.finding import Finding
from kbootstrap.phases.preflight.requirements import findings
from kbootstrap.remote.facts import Facts, Route

MEMBER = {"kubelet_conf": True, "ca_sha256": "a" * 64, "kubelet_server": "https://192.168.1.10:6443"}
CONTROL_PLANE = {**MEMBER, "admin_conf": True, "manifests": True, "etcd_data": True, "apiserver_version": "1.34.2"}


def check(made: Inventory, **changes: Any) -> list[Finding]:
    """The findings for good hosts with these changes, a dict per host."""
    facts: dict[str, Facts] = {}
    for host in made.hosts:
        good = replace(EL9, addresses={host.node_ip: "eth0"}, machine_id=host.name, product_uuid=host.name)
        facts[host.name] = replace(good, **changes.get(host.name, {}))
    return findings(made, facts)


def test_a_node_that_was_renamed_in_the_inventory_is_refused(tmp_path: Path) -> None:
    """The host would be renamed while the cluster keeps its old name."""
    made = inventory(tmp_path)
    found = check(made, cp1=CONTROL_PLANE, w1={**MEMBER, "node_name": "w9"})
    assert [(finding.host, finding.level) for finding in found if "w9" in finding.text] == [("w1", "error")]
    assert not [f for f in check(made, cp1=CONTROL_PLANE, w1={**MEMBER, "node_name": "w1"}) if f.level == "error"]


def test_a_listener_among_the_node_ports_is_a_warning(tmp_path: Path) -> None:
    found = check(inventory(tmp_path), w1={"listening": frozenset({22, 30000, 32768})})
    assert [(finding.level, "30000" in finding.text, "32768" in finding.text) for finding in found] == [
        ("warning", True, False)
    ]


@pytest.mark.parametrize(
    ("network", "said"),
    [({}, 1), ({"port": 4789}, 0), ({"backend": "host-gw"}, 0)],
)
def test_a_used_port_of_the_pod_network_is_a_warning(tmp_path: Path, network: dict[str, Any], said: int) -> None:
    found = check(inventory(tmp_path, network=network), w1={"udp": frozenset({53, 8472})})
    assert [(finding.level, "UDP port 8472" in finding.text) for finding in found] == [("warning", True)] * said


def test_equal_host_names_are_a_warning(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    found = check(made, cp1={"hostname": "localhost"}, w1={"hostname": "localhost"})
    assert [(finding.host, finding.level) for finding in found] == [("w1", "warning")]
    assert not check(made, cp1={"hostname": "one"}, w1={"hostname": "two"})


@pytest.mark.parametrize(
    ("route", "key"),
    [
        (("10.100.1.0/24", "eth1"), "service_cidr"),
        (("10.244.7.0/24", "eth1"), "pod_cidr"),
        (("10.244.7.9", "tun0"), "pod_cidr"),
        (("10.0.0.0/8", "eth1"), "pod_cidr"),
        (("10.96.0.0/16", "eth1"), "service_cidr"),
    ],
)
def test_a_second_network_inside_the_clusters_is_found(tmp_path: Path, route: tuple[str, str], key: str) -> None:
    texts = [finding.text for finding in check(inventory(tmp_path), w1={"routes": (Route(*route),)})]
    assert any(f"its route {route[0]} ({route[1]}) overlaps {key}" in text for text in texts), texts


@pytest.mark.parametrize(
    "routes",
    [
        (("default", "eth0"), ("192.168.1.0/24", "eth0")),
        (("10.244.0.0/24", "cni0"), ("10.244.1.0/24", "flannel.1")),
        (("10.244.1.0/24", "eth0"),),
        (("172.17.0.0/16", "docker0"), ("nonsense", "eth9")),
    ],
)
def test_the_routes_of_a_running_cluster_are_its_own(tmp_path: Path, routes: tuple[tuple[str, str], ...]) -> None:
    """The third case is host-gw: a route to a peer's part of the pod network through the ordinary interface."""
    own = {"routes": tuple(Route(*route) for route in routes)}
    assert check(inventory(tmp_path), cp1={**CONTROL_PLANE, **own}, w1={**MEMBER, **own}) == []


def test_the_interface_of_the_address_is_the_wanted_one(tmp_path: Path) -> None:
    made = inventory(tmp_path, lambda data: data["hosts"][0].update(interface="eth1"))
    assert [(f.host, f.text) for f in check(made)] == [("cp1", "192.168.1.10 is on eth0, not on eth1")]


@pytest.mark.parametrize(
    ("ignored", "facts", "levels"),
    [
        ([], {"cpus": 1, "memory_mib": 1000}, ["error", "error"]),
        (["NumCPU"], {"cpus": 1, "memory_mib": 1000}, ["warning", "error"]),
        (["numcpu", "MEM"], {"cpus": 1, "memory_mib": 1000}, ["warning", "warning"]),
        (["all"], {"cpus": 1, "memory_mib": 1000}, ["warning", "warning"]),
        ([], {"os": EL7.os, "kernel": "3.10.0"}, ["error"]),
        (["SystemVerification"], {"os": EL7.os, "kernel": "3.10.0"}, []),
    ],
)
def test_ignored_requirements_stop_no_host(
    tmp_path: Path, ignored: list[str], facts: dict[str, Any], levels: list[str]
) -> None:
    made = inventory(tmp_path, kubeadm={"ignore_preflight_errors": ignored})
    assert [finding.level for finding in check(made, cp1=facts)] == levels


@pytest.mark.parametrize(
    ("documents", "ignored", "level", "named"),
    [
        ([], [], "error", ["failCgroupV1", "SystemVerification in"]),
        ([], ["SystemVerification"], "error", ["failCgroupV1"]),
        ([{"kind": "KubeletConfiguration", "failCgroupV1": False}], [], "error", ["SystemVerification in"]),
        ([{"kind": "KubeletConfiguration", "failCgroupV1": True}], ["all"], "error", ["failCgroupV1"]),
        ([{"kind": "KubeletConfiguration", "failCgroupV1": False}], ["SystemVerification"], "warning", []),
    ],
)
def test_cgroup_v1_needs_two_settings_and_both_are_named(
    tmp_path: Path, documents: list[dict[str, Any]], ignored: list[str], level: str, named: list[str]
) -> None:
    """With the ignored check alone, kubeadm init fails after a minute, and nothing says why."""
    settings = {"documents": documents, "ignore_preflight_errors": ignored}
    made = inventory(tmp_path, kubernetes="1.35", kubeadm=settings)
    (found,) = check(made, w1={"cgroup": 1})
    assert (found.level, found.host) == (level, "w1")
    assert "which the kubelet of Kubernetes 1.35 refuses" in found.text
    assert [word for word in ("failCgroupV1", "SystemVerification in") if word in found.hint] == named
    warns = made.model_copy(update={"preflight": Preflight(warn=("cgroup-v1",))})
    assert [finding.level for finding in check(warns, w1={"cgroup": 1})] == ["warning"]


def test_hosts_that_did_not_answer_are_left_out(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=3)
    assert findings(made, {}) == []
    assert {f.host for f in findings(made, {"w2": replace(EL9, uid=7)})} == {"w2"}


def test_findings_come_in_the_order_of_the_inventory(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=3)
    found = check(made, **{host.name: {"systemd": False} for host in reversed(made.hosts)})
    assert [finding.host for finding in found] == ["cp1", "w1", "w2", "w3"]


@pytest.mark.parametrize("traces", [CONTROL_PLANE, {**CONTROL_PLANE, "init_begun": True, "init_done": True}])
def test_ports_and_disk_of_a_member_are_its_own(tmp_path: Path, traces: dict[str, Any]) -> None:
    busy = {"listening": frozenset({6443, 2379, 10250}), "disk_free_mib": 10, "runtimes": ("containerd", "dockerd")}
    assert check(inventory(tmp_path), cp1={**traces, **busy}, w1={**MEMBER, "ca_sha256": "a" * 64}) == []


@pytest.mark.parametrize(("wanted", "good"), [("1.34", True), ("1.34.2", True), ("1.34.3", False), ("1.33", False)])
def test_a_running_cluster_keeps_its_version(tmp_path: Path, wanted: str, good: bool) -> None:
    found = check(inventory(tmp_path, kubernetes=wanted), cp1=CONTROL_PLANE, w1=MEMBER)
    assert ([f.text for f in found] == []) is good
    assert all("runs Kubernetes 1.34.2" in finding.text for finding in found)


def test_three_clones_are_reported_with_the_first(tmp_path: Path) -> None:
    same = {"machine_id": "same", "macs": {"eth0": "52:54:00:00:00:01"}}
    found = check(inventory(tmp_path, workers=2), cp1=same, w1=same, w2=same)
    assert sorted((f.host, f.text.partition(" (")[0]) for f in found) == [
        ("w1", "has the same MAC address as cp1"),
        ("w1", "has the same machine-id as cp1"),
        ("w2", "has the same MAC address as cp1"),
        ("w2", "has the same machine-id as cp1"),
    ]


@pytest.mark.parametrize(("seconds", "count"), [(30.0, 0), (31.0, 1), (-31.0, 1)])
def test_clocks_are_compared_with_the_median(tmp_path: Path, seconds: float, count: int) -> None:
    """The operator's clock does not matter: all hosts are an hour off."""
    offsets = {"cp1": 3600.0, "w1": 3600.0, "w2": 3600.0 + seconds}
    made = inventory(tmp_path, workers=2)
    assert len(check(made, **{name: {"clock_offset": offset} for name, offset in offsets.items()})) == count


# --- identities ---

BOND = {
    "bond0": "52:54:00:00:00:01",
    "eth0": "52:54:00:00:00:01",
    "eth1": "52:54:00:00:00:01",
    "bond0.7": "52:54:00:00:00:01",
}


def test_a_host_is_never_its_own_twin(tmp_path: Path) -> None:
    assert check(inventory(tmp_path), cp1={"macs": BOND, "addresses": {"192.168.1.10": "bond0.7"}}) == []


def test_cards_that_nodes_do_not_use_may_be_equal(tmp_path: Path) -> None:
    """All machines of VirtualBox have the same card for NAT."""
    nat = "08:00:27:00:00:01"
    found = check(
        inventory(tmp_path),
        cp1={"macs": {"eth0": "08:00:27:00:00:0a", "eth1": nat}},
        w1={"macs": {"eth0": "08:00:27:00:00:0b", "eth1": nat}},
    )
    assert [(f.host, f.level) for f in found] == [("w1", "warning")]
    assert "not on 192.168.1.11" in found[0].text


@pytest.mark.parametrize("uuid", ["03000200-0400-0500-0006-000700080009", "ffffffff-ffff-ffff-ffff-ffffffffffff", ""])
def test_the_uuid_of_a_board_without_one_is_not_compared(tmp_path: Path, uuid: str) -> None:
    assert check(inventory(tmp_path), cp1={"product_uuid": uuid}, w1={"product_uuid": uuid}) == []


# --- requirements that are warnings ---


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        ("architecture", {"arch": "riscv64"}),
        ("systemd", {"systemd": False}),
        ("kernel", {"os": EL7.os, "kernel": "3.10.0"}),
        ("cpus", {"cpus": 1}),
        ("memory-cgroup", {"memory_cgroup": False}),
        ("memory", {"memory_mib": 900}),
        ("disk", {"disk_free_mib": 10}),
        ("address", {"addresses": {"10.9.9.9": "eth0"}}),
        ("routes", {"routes": (Route("10.244.3.0/24", "eth1"),)}),
        ("ports", {"listening": frozenset({6443})}),
        ("clock", {"clock_offset": 900.0}),
        ("machine-id", {"machine_id": "w1"}),
        ("mac-address", {"macs": {"eth0": "52:54:00:00:00:01"}}),
    ],
)
def test_an_error_names_its_requirement_and_the_inventory_makes_it_a_warning(
    tmp_path: Path, name: str, facts: dict[str, Any]
) -> None:
    others = {"w1": {"macs": {"eth0": "52:54:00:00:00:01"}}, "w2": {}}
    strict = check(inventory(tmp_path, workers=2), cp1=facts, **others)
    assert strict
    assert all(f.level == "error" and f"preflight.warn: [{name}]" in f.hint for f in strict), strict
    made = inventory(tmp_path, lambda data: data.update(preflight={"warn": [name]}), workers=2)
    mild = check(made, cp1=facts, **others)
    assert [(f.host, f.level) for f in mild] == [(f.host, "warning") for f in strict]
    assert all(f"(a warning only: preflight.warn has {name})" in f.text for f in mild)


@pytest.mark.parametrize(
    ("state", "mode", "levels"),
    [
        ("off", "enforcing", ["error"]),
        ("off", "permissive", []),
        ("permissive", "enforcing", []),
        ("", "enforcing", []),
    ],
)
def test_enforcing_needs_selinux_in_the_kernel(tmp_path: Path, state: str, mode: str, levels: list[str]) -> None:
    found = check(inventory(tmp_path, selinux=mode), w1={"selinux": state})
    assert [f.level for f in found] == levels
    assert all("grubby --update-kernel ALL --remove-args selinux" in f.hint for f in found)
    warns = inventory(tmp_path, lambda data: data.update(preflight={"warn": ["selinux"]}), selinux=mode)
    assert [f.level for f in check(warns, w1={"selinux": state})] == ["warning" for _level in levels]


def test_an_unknown_distribution_is_refused_with_what_it_says_of_itself(tmp_path: Path) -> None:
    found = check(inventory(tmp_path), w1={"os": OsRelease("amzn", "2", ("rhel",)), "os_name": "Amazon Linux 2"})
    assert [(f.host, f.level) for f in found] == [("w1", "error")]
    assert "which packages fit Amazon Linux 2 (ID=amzn VERSION_ID=2 in" in found[0].text


@pytest.mark.parametrize(("minor", "count"), [("1.32", 1), ("1.33", 0)])
def test_an_apt_that_refuses_old_signatures_is_a_warning(tmp_path: Path, minor: str, count: int) -> None:
    trixie = {"os": OsRelease("debian", "13", codename="trixie")}
    assert len(check(inventory(tmp_path, kubernetes=minor), w1=trixie)) == count
    assert check(inventory(tmp_path, kubernetes=minor, package_repository="https://a.example"), w1=trixie) == []


# --- what an earlier cluster left ---


@pytest.mark.parametrize("host", ["cp1", "w1"])
@pytest.mark.parametrize(
    ("traces", "path"),
    [
        ({"etcd_data": True}, "/var/lib/etcd/member"),
        ({"admin_conf": True, "manifests": True}, "/etc/kubernetes/admin.conf, /etc/kubernetes/manifests"),
        ({"bootstrap_conf": True}, "/etc/kubernetes/bootstrap-kubelet.conf"),
        ({"ca_sha256": "a" * 64, "etcd_data": True}, "/etc/kubernetes/pki/ca.crt, /var/lib/etcd/member"),
    ],
)
def test_files_of_an_earlier_cluster_are_named_with_what_removes_them(
    tmp_path: Path, host: str, traces: dict[str, Any], path: str
) -> None:
    found = check(inventory(tmp_path), **{host: traces})
    assert [(f.host, f.level) for f in found] == [(host, "error")]
    assert f"has files of an earlier cluster: {path}" in found[0].text
    assert f"kbootstrap reset --limit {host}" in found[0].hint


def test_a_ca_alone_is_used_by_init_and_refused_by_join(tmp_path: Path) -> None:
    found = check(inventory(tmp_path), cp1={"ca_sha256": "a" * 64}, w1={"ca_sha256": "b" * 64})
    assert sorted((f.host, f.level) for f in found) == [("cp1", "warning"), ("w1", "error")]


# --- routes ---


@pytest.mark.parametrize(
    ("route", "levels"),
    [
        (Route("10.0.0.0/8", "eth1"), ["warning", "warning"]),
        (Route("10.244.1.0/24", "eth0", "192.168.1.11"), []),
        (Route("10.244.1.0/24", "eth0", "192.168.1.99"), ["error"]),
        (Route("10.244.0.0/16", "eth0", "192.168.1.11"), ["error"]),
    ],
)
def test_only_a_route_that_wins_is_an_error(tmp_path: Path, route: Route, levels: list[str]) -> None:
    """The second is what a former Flannel with host-gw left: the subnet of a node, through that node."""
    assert [f.level for f in check(inventory(tmp_path), cp1={"routes": (route,)})] == levels


# --- ports between nodes ---


@pytest.mark.parametrize(
    ("listening", "said"),
    [({22}, "192.168.1.11:22"), ({2201}, "192.168.1.11:2201"), ({443}, ""), (set(), "192.168.1.11:2201")],
)
def test_nodes_test_the_ports_of_nodes_not_the_operators(tmp_path: Path, listening: set[int], said: str) -> None:
    """The operator reaches w1 through the forwarded port 2201."""
    made = inventory(tmp_path, lambda data: data["hosts"][1].update(ssh={"port": 2201}))
    facts = {"cp1": EL9, "w1": replace(EL9, listening=frozenset(listening))}
    reach = next(step for step in PREFLIGHT.steps(Context(made, facts), made.host("cp1")) if step.id == "reach")
    assert reach.params["PEERS"] == said


def test_a_registry_is_tried_at_all_addresses_that_the_runtime_asks(tmp_path: Path) -> None:
    mirrors = {"ghcr.io": ["https://m1.example/", "http://m2.example/path"]}
    runtime = {"mirrors": mirrors, "insecure_registries": ["r.lan:5000"]}
    made = inventory(tmp_path, image_repository="r.lan:5000/k8s", runtime=runtime)
    facts = {host.name: EL9 for host in made.hosts}
    reach = next(step for step in PREFLIGHT.steps(Context(made, facts), made.host("cp1")) if step.id == "reach")
    assert str(reach.params["REGISTRIES"]).splitlines() == [
        "ghcr.io https://m1.example/v2/ http://m2.example/path/v2/ https://ghcr.io/v2/",
        "r.lan:5000 https://r.lan:5000/v2/ http://r.lan:5000/v2/",
    ]
    assert reach.params["INSECURE"] == "r.lan:5000"
