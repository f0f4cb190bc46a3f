"""Control plane hosts with real kubeadm and etcd leave and join again. Part of the tier `faults`."""

from __future__ import annotations

from support.driver import Fleet
from support.kubectl import assert_healthy, eventually, ready_nodes
from support.labs import MakeLab


def test_control_plane_hosts_leave_one_by_one(lab: MakeLab) -> None:
    """etcd loses one member per host, and the next host can join, because no stale member is left."""
    fleet = lab(3, 0)
    fleet.up()
    for _ in range(2):
        fleet.events("reset", "--yes", "--limit", "cp3")
        eventually("the others are Ready", lambda: ready_nodes(fleet) == {"cp1", "cp2"})
        assert members(fleet) == 2
        fleet.up()
        assert_healthy(fleet)
        assert members(fleet) == 3
    fleet.events("reset", "--yes")
    assert fleet.events("reset", "--yes").result["changed"] == 0


def members(fleet: Fleet) -> int:
    """The number of etcd members."""
    pki = "/etc/kubernetes/pki/etcd"
    access = f"--endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/server.crt --key={pki}/server.key"
    command = (
        f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system exec etcd-cp1 -- etcdctl {access} member list"
    )
    return len(fleet.text("cp1", command).splitlines())
