"""`reset` on hosts with real kubeadm, systemd and package managers: what was there is there again."""

from __future__ import annotations

from driver import Fleet
from kube import assert_healthy, eventually, ready_nodes
from labs import MakeLab

FLAVOURS = ("centos9", "centos7", "debian12", "centos9")
PUT_BACK = (
    "/etc/fstab",
    "/etc/hosts",
    "/etc/hostname",
    "/etc/selinux",
    "/etc/sysctl.d",
    "/etc/modules-load.d",
    "/etc/firewalld",
    "/etc/yum.repos.d",
    "/etc/apt/sources.list.d",
    "/etc/apt/keyrings",
    "/etc/pki/rpm-gpg",
    "/etc/crictl.yaml",
    "/etc/kubernetes",
    "/etc/cni",
    "/var/lib/cni",
    "/var/lib/kubelet",
    "/var/lib/etcd",
    "/var/lib/kbootstrap",
    "/root/.kube",
)
"""What docs/reset.md says is put back. Here packages stay, with users, hooks and links of their own all over /etc; on
the simulated fleet, where it is known what packages own, everything is compared."""


def put_back(fleet: Fleet) -> set[tuple[str, str, str]]:
    folders = tuple(path + "/" for path in PUT_BACK)
    return {(host, path, what) for host, path, what in fleet.snapshot("/run") if (path + "/").startswith(folders)}


def enabled(fleet: Fleet, host: str) -> set[str]:
    """Every unit that is enabled or masked, but those of packages that stay."""
    listed = fleet.text(host, "systemctl list-unit-files --no-legend --state=enabled,masked | awk '{ print $1, $2 }'")
    return {line for line in listed.splitlines() if not line.startswith("chrony")}


def kernel(fleet: Fleet, host: str) -> str:
    """Name, forwarding, interfaces and whether there are rules of Kubernetes."""
    return fleet.text(
        host,
        "uname -n; cat /proc/sys/net/ipv4/ip_forward; ls /sys/class/net | grep -v '^veth' | sort; "
        "{ iptables-save; ip6tables-save; } 2>/dev/null | grep -c KUBE- || true; "
        "systemctl is-active firewalld kubelet || true",
    )


def test_back_to_plain_hosts(lab: MakeLab) -> None:
    fleet = lab(1, 3, flavours=FLAVOURS)
    before = put_back(fleet)
    others = {host: (enabled(fleet, host), kernel(fleet, host)) for host in fleet.hosts}
    fleet.up()
    assert_healthy(fleet)

    fleet.events("reset", "--yes", "--purge", "--limit", "w3")
    eventually("the others are Ready", lambda: ready_nodes(fleet) == {"cp1", "w1", "w2"})
    assert fleet.run("w3", "command -v kubeadm || command -v containerd").returncode == 1
    assert fleet.events("reset", "--yes", "--purge", "--limit", "w3").result["changed"] == 0
    fleet.up()
    assert_healthy(fleet)

    planned = fleet.events("reset", "--dry-run")
    done = fleet.events("reset", "--yes")
    assert planned.those("change") == done.those("changed"), planned.those("change") ^ done.those("changed")
    assert sorted(put_back(fleet) ^ before) == []
    for host, (units, state) in others.items():
        assert enabled(fleet, host) - {"kubelet.service disabled"} == units
        assert kernel(fleet, host) == state
    assert fleet.events("reset", "--yes").result["changed"] == 0


def test_control_plane_hosts_leave_one_by_one(lab: MakeLab) -> None:
    """etcd loses a member with each, and the next one can join: nothing stale is left."""
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
    """How many members etcd has."""
    pki = "/etc/kubernetes/pki/etcd"
    access = f"--endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/server.crt --key={pki}/server.key"
    command = (
        f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system exec etcd-cp1 -- etcdctl {access} member list"
    )
    return len(fleet.text("cp1", command).splitlines())
