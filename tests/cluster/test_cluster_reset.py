"""`reset` on hosts with real kubeadm, systemd and package managers: what was there is there again."""

from __future__ import annotations

from driver import Fleet
from kube import assert_healthy, eventually, ready_nodes
from labs import MakeLab

FLAVOURS = ("centos9", "centos7", "debian12", "centos9")
BY_ITSELF = (
    "/run",
    "/var/log",
    "/var/lib/systemd",
    "/var/lib/sudo",
    "/var/lib/chrony",
    "/var/tmp",
    "/var/cache",
    "/var/lib/private",
    "/etc/.pwd.lock",
    "/home/kb/.kube",
)
"""What a host that just runs changes, what sudo and sshd write about a visitor, and what a test's own kubectl keeps."""
STAYS = (
    "/usr",
    "/opt",
    "/var/lib/rpm",
    "/root/.rpmdb",
    "/var/lib/dnf",
    "/var/lib/dpkg",
    "/var/lib/apt",
    "/var/lib/ucf",
    "/var/lib/containerd",
    "/etc/containerd",
    "/etc/chrony",
    "/etc/chrony.conf",
    "/etc/chrony.keys",
    "/etc/ld.so.cache",
    "/etc/systemd/system/multi-user.target.wants/chrony.service",
    "/etc/systemd/system/multi-user.target.wants/chronyd.service",
    "/etc/systemd/system/chronyd.service",
)
"""What docs/reset.md says: packages, their databases and configuration, images; a chrony that came keeps the time."""


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
    before = fleet.snapshot(*BY_ITSELF, *STAYS)
    others = {host: (enabled(fleet, host), kernel(fleet, host)) for host in fleet.hosts}
    fleet.up()
    assert_healthy(fleet)

    fleet.events("reset", "--yes", "--limit", "w3")
    eventually("the others are Ready", lambda: ready_nodes(fleet) == {"cp1", "w1", "w2"})
    assert fleet.events("reset", "--yes", "--limit", "w3").result["changed"] == 0
    fleet.up()
    assert_healthy(fleet)

    planned = fleet.events("reset", "--dry-run")
    done = fleet.events("reset", "--yes")
    assert planned.those("change") == done.those("changed"), planned.those("change") ^ done.those("changed")
    assert fleet.snapshot(*BY_ITSELF, *STAYS) ^ before == set()
    for host, (units, state) in others.items():
        assert enabled(fleet, host) - {"kubelet.service disabled"} == units
        assert kernel(fleet, host) == state
    assert fleet.events("reset", "--yes").result["changed"] == 0

    fleet.up()
    assert_healthy(fleet)
    assert fleet.up().result["changed"] == 0
    assert fleet.events("reset", "--yes", "--purge").result["failed"] == 0
    for host in fleet.hosts:
        assert fleet.run(host, "command -v kubeadm || command -v containerd").returncode == 1
    assert fleet.events("reset", "--yes", "--purge").result["changed"] == 0


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
