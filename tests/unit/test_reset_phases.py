"""Reset: which node removes others from the cluster, in which order hosts leave, and which hosts are refused."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.examples import EL9, context, inventory

from kbootstrap.distributions import OsRelease
from kbootstrap.errors import InventoryError
from kbootstrap.inventory.models import Inventory
from kbootstrap.kubernetes.kubeadm import JoinCommand
from kbootstrap.phases import RESET, join_token, verify
from kbootstrap.phases.phase import Context
from kbootstrap.phases.reset import DRAIN, FORGET, PHASE, RESTORE
from kbootstrap.phases.reset.requirements import reset_findings, staying_findings
from kbootstrap.remote.facts import Facts
from kbootstrap.run import reset
from kbootstrap.run.options import Options
from kbootstrap.run.scheduler import Scheduler, Task
from kbootstrap.run.workflow import RESET as RESETTING
from kbootstrap.secret import Secret

MEMBER = {"kubelet_conf": True, "ca_sha256": "a" * 64, "kubelet_server": "https://192.168.1.10:6443"}


def leaving(made: Inventory, names: Iterable[str], **changes: Any) -> Context:
    return replace(context(made), leaving=frozenset(names), **changes)


def removals(context: Context) -> dict[str, list[str]]:
    """The steps that remove nodes from the cluster, by the control plane host that runs them."""
    inventory = context.inventory
    found = {
        host.name: [step.id for phase in (DRAIN, FORGET) for step in phase.steps(context, host)]
        for host in DRAIN.hosts(inventory)
    }
    return {name: steps for name, steps in found.items() if steps}


def test_the_first_control_plane_host_that_stays_removes_the_others(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=3, workers=2)
    everyone = [host.name for host in made.hosts]
    assert removals(leaving(made, everyone)) == {}
    assert removals(leaving(made, ["w1"])) == {"cp1": ["drain-w1", "forget-w1"]}
    assert removals(leaving(made, ["cp1", "w2"])) == {"cp2": ["drain-w2", "drain-cp1", "forget-w2", "forget-cp1"]}
    assert removals(leaving(made, ["cp1", "cp2", "cp3"])) == {}, (
        "without a control plane there is no host to remove them"
    )


def test_a_host_that_cannot_be_reset_is_not_taken_out_of_the_cluster(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=2)
    assert removals(leaving(made, ["w1", "w2"], lost=frozenset({"w1"}))) == {"cp1": ["drain-w2", "forget-w2"]}


def order(made: Inventory, failing: str = "") -> tuple[list[str], list[str]]:
    """The hosts in the order in which their `reset` began, and those whose `restore` ran."""
    began: dict[str, list[str]] = {"drain": [], "reset": [], "forget": [], "restore": []}
    tasks: list[Task] = []
    for phase in RESET:
        for host in phase.hosts(made):
            key = (phase.name, host.name)
            previous = [task.key for task in tasks if task.key[1] == host.name][-1:]

            def start(key: tuple[str, str] = key) -> Any:
                began[key[0]].append(key[1])
                return lambda _post: key != ("reset", failing)

            requires = (*phase.requires(made, host), *previous)
            tasks.append(Task(key, start, requires=requires, after=tuple(phase.after(made, host))))
    Scheduler(lambda _event: None, parallelism=1).run(tasks)
    return began["reset"], began["restore"]


def test_workers_leave_first_and_the_first_control_plane_host_last(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=3, workers=2)
    assert order(made)[0] == ["w1", "w2", "cp3", "cp2", "cp1"]


@pytest.mark.parametrize("failing", ["w1", "cp3", "cp1"])
def test_one_host_that_fails_stops_only_its_own_restore(tmp_path: Path, failing: str) -> None:
    made = inventory(tmp_path, control_planes=3, workers=2)
    resets, restores = order(made, failing)
    assert len(resets) == 5
    assert sorted(restores) == sorted({host.name for host in made.hosts} - {failing})


def test_the_options_decide_what_is_kept(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    host = made.host("w1")
    whole = {step.id: step for step in RESTORE.steps(leaving(made, ["w1"]), host)}
    kept = {step.id: step for step in RESTORE.steps(leaving(made, ["w1"], keep_settings=True, purge=True), host)}
    assert set(whole) - set(kept) == {
        "time",
        "pod-network",
        "kernel",
        "selinux",
        "firewall",
        "swap",
        "hosts",
        "hostname",
    }
    assert list(whole)[-1] == list(kept)[-1] == "state"
    assert (whole["packages"].params["PURGE"], kept["packages"].params["PURGE"]) == ("0", "1")
    assert (whole["state"].params["KEEP"], kept["state"].params["KEEP"]) == ("0", "1")
    assert [step.id for step in PHASE.steps(leaving(made, ["w1"]), host)] == ["kubeadm", "network", "rules"]


def test_an_interrupted_join_is_removed_before_the_next_one(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2, workers=1)
    half = replace(EL9, join_begun=True, bootstrap_conf=True)
    facts = {"cp1": EL9, "cp2": half, "w1": EL9}
    steps = join_token.PHASE.steps(Context(made, facts), made.first_control_plane)
    assert [step.id for step in steps] == ["forget-cp2", "join-token", "certificate-key"]
    assert steps[0].params == {"NODE_NAME": "cp2", "ADDRESS": "192.168.1.11", "SELF": "cp1"}


def test_a_control_plane_host_that_was_installed_anew_is_forgotten_and_joins(tmp_path: Path) -> None:
    """Its node and its etcd member are still there, and the member would keep it from joining."""
    made = inventory(tmp_path, control_planes=3, workers=1)
    member = replace(EL9, kubelet_conf=True, ca_sha256="a" * 64)
    facts = {"cp1": member, "cp2": EL9, "cp3": member, "w1": EL9}
    steps = join_token.PHASE.steps(Context(made, facts), made.first_control_plane)
    assert [step.id for step in steps] == ["forget-cp2", "join-token", "certificate-key"]
    lost = Context(made, facts, lost=frozenset({"cp2"}))
    assert "forget-cp2" not in [step.id for step in join_token.PHASE.steps(lost, made.first_control_plane)]
    new = dict.fromkeys(("cp1", "cp2", "cp3", "w1"), EL9)
    assert [step.id for step in join_token.PHASE.steps(Context(made, new), made.first_control_plane)] == [
        "join-token",
        "certificate-key",
    ], "a new cluster knows nobody"


# --- verify ----------------------------------------------------------------------------------------------------------


def test_verify_expects_members_and_those_that_joined(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=3)
    member = replace(EL9, kubelet_conf=True, ca_sha256="a" * 64)
    facts = {"cp1": member, "w1": member, "w2": EL9, "w3": EL9}
    before = Context(made, facts)
    assert [host.name for host in verify.expected(before)] == ["cp1", "w1"], "w2 and w3 never joined"
    join = JoinCommand("192.168.1.10:6443", Secret("abcdef.0123456789abcdef"), (f"sha256:{'a' * 64}",))
    joined = replace(before, outputs=replace(before.outputs, join=join), lost=frozenset({"w3"}))
    assert [host.name for host in verify.expected(joined)] == ["cp1", "w1", "w2"], "the join of w3 failed"
    pods = next(step for step in verify.PHASE.steps(joined, made.first_control_plane) if step.id == "pods")
    assert pods.params["LOST"] == "w3"


# --- refused hosts ---------------------------------------------------------------------------------------------------


def refused(made: Inventory, **changes: dict[str, Any]) -> dict[str, str]:
    """The errors of a reset of every host, for good members with these changes."""
    facts: dict[str, Facts] = {
        host.name: replace(EL9, **{**MEMBER, **changes.get(host.name, {})}) for host in made.hosts
    }
    return {finding.host: finding.text for finding in reset_findings(made, facts, [host.name for host in made.hosts])}


def test_members_of_this_cluster_and_plain_hosts_may_be_reset(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2)
    assert refused(made) == {}
    assert refused(made, w1={"kubelet_conf": False}, cp2={"ca_sha256": ""}) == {}
    assert refused(made, cp2={"kubelet_server": "https://192.168.1.11:6443"}) == {}, "1.33: the API server beside it"
    assert refused(made, w1={"kubelet_conf": False, "kubelet_server": "", "join_begun": True}) == {}


@pytest.mark.parametrize(
    ("host", "change", "said"),
    [
        ("w1", {"kubelet_server": "https://10.0.0.1:6443"}, "https://10.0.0.1:6443"),
        ("w1", {"kubelet_server": "https://192.168.1.12:6443"}, "192.168.1.12"),
        ("w1", {"ca_sha256": "b" * 64}, "its CA differs from the CA of cp1"),
        ("cp2", {"ca_sha256": "b" * 64}, "its CA differs from the CA of cp1"),
        ("cp1", {"kubelet_server": "https://lb.example:6443"}, "lb.example"),
    ],
)
def test_a_member_of_another_cluster_is_refused(tmp_path: Path, host: str, change: dict[str, Any], said: str) -> None:
    found = refused(inventory(tmp_path, control_planes=2), **{host: change})
    assert list(found) == [host]
    assert "is a member of another cluster" in found[host]
    assert said in found[host]


def test_a_first_control_plane_of_another_cluster_is_no_reference_for_the_others(tmp_path: Path) -> None:
    other = {"kubelet_server": "https://10.0.0.1:6443", "ca_sha256": "b" * 64}
    assert list(refused(inventory(tmp_path), cp1=other)) == ["cp1"]


def test_a_host_without_root_or_a_known_system_is_refused(tmp_path: Path) -> None:
    found = refused(inventory(tmp_path), cp1={"uid": 1000}, w1={"os": OsRelease("plan9")})
    assert "not as root" in found["cp1"]
    assert "is not supported" in found["w1"]


def test_options_name_hosts_of_the_inventory(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    for options in (Options(limit=("w7",)), Options(force_hosts=("w7",))):
        with pytest.raises(InventoryError, match="w7"):
            reset(made, options=options, view=lambda _event: None)


# --- those that stay -------------------------------------------------------------------------------------------------

WORKS = {**MEMBER, "listening": frozenset({6443}), "manifests": True}
DOWN = {**WORKS, "listening": frozenset()}


def about_staying(made: Inventory, going: set[str], **members: dict[str, Any] | None) -> dict[str, str]:
    """The errors of a reset of these hosts, by host; None in ``members`` is a host that cannot be reached."""
    facts = {name: replace(EL9, **changes) for name, changes in members.items() if changes is not None}
    return {finding.host: f"{finding.text} {finding.hint}" for finding in staying_findings(made, facts, going)}


def test_the_last_control_plane_host_does_not_leave_its_workers_behind(tmp_path: Path) -> None:
    made = inventory(tmp_path, workers=2)
    assert about_staying(made, {"cp1", "w1", "w2"}, cp1=WORKS, w1=MEMBER, w2=MEMBER) == {}
    assert about_staying(made, {"w1"}, cp1=WORKS, w1=MEMBER) == {}
    found = about_staying(made, {"cp1"}, cp1=WORKS, w1=MEMBER, w2=MEMBER)
    assert list(found) == ["cp1"]
    assert "no control plane host would stay, but w1, w2 would" in found["cp1"]
    assert "--limit w1,w2" in found["cp1"]
    assert "but w1 would" in about_staying(made, {"cp1", "w2"}, cp1=WORKS, w1=None, w2=MEMBER)["cp1"]
    assert about_staying(made, {"cp1"}, cp1=WORKS, w1={}, w2={}) == {}, "the workers have left before"


def test_etcd_keeps_its_majority(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=3)
    assert about_staying(made, {"cp3"}, cp1=WORKS, cp2=WORKS, cp3=WORKS) == {}
    assert about_staying(made, {"cp3"}, cp1=WORKS, cp2=WORKS, cp3=DOWN) == {}, "a broken host may leave"
    assert about_staying(made, {"cp2", "cp3"}, cp1=WORKS, cp2=WORKS, cp3=WORKS) == {}
    for broken in (DOWN, None):
        found = about_staying(made, {"cp3"}, cp1=WORKS, cp2=broken, cp3=WORKS)
        assert "etcd would lose its majority: of the control plane hosts that stay, cp2 would not work" in found["cp3"]
    assert about_staying(made, {"cp1"}, cp1=WORKS, cp2={}, cp3=WORKS) == {}, "cp2 has not joined yet"
    assert "cp2 would" in about_staying(made, {"cp1"}, cp1=WORKS, cp2=None, cp3={})["cp1"]


def test_a_run_looks_at_those_that_stay(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2, workers=2)
    assert RESETTING.observed(made, frozenset({"w1"})) == frozenset()
    assert RESETTING.observed(made, frozenset({"cp1"})) == {"cp2"}
    assert RESETTING.observed(made, frozenset({"cp1", "cp2"})) == {"w1", "w2"}
