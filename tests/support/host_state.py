"""A host without Kubernetes: what `reset` has put back, on hosts with real systemd and package managers."""

from __future__ import annotations

from support.driver import Fleet

Entry = tuple[str, str, str]
"""Host, path, and what it is."""
RUNTIME_STATE = (
    "/run",
    "/var/log",
    "/var/lib/systemd",
    "/var/lib/sudo",
    "/var/lib/chrony",
    "/var/tmp",
    "/var/cache",
    "/root/.rpmdb/rpmdb.sqlite-shm",
)
"""What a host that just runs changes by itself, what sudo and sshd write about a visitor, and rpm about a question."""
PACKAGE_STATE = ("/root/.rpmdb", "/var/lib/rpm", "/var/lib/dnf")
"""What package managers keep of packages that are gone."""
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


def put_back(fleet: Fleet) -> set[Entry]:
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


def not_files(fleet: Fleet) -> dict[str, tuple[set[str], str]]:
    """What is not a file, of every host."""
    return {host: (enabled(fleet, host), kernel(fleet, host)) for host in fleet.hosts}
