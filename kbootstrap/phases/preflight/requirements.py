"""The requirements of a node: checks of the inventory and the facts of all hosts, before any change."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Literal

from kbootstrap import distributions, ports, topics, versions
from kbootstrap.inventory.models import KUBERNETES_REPOSITORY, Host, Inventory
from kbootstrap.phases.preflight import comparisons
from kbootstrap.phases.preflight.finding import Finding, error, warning
from kbootstrap.remote.facts import Facts

CONTROL_PLANE_CPUS = 2
CONTROL_PLANE_MEMORY_MIB = 1700
WORKER_MEMORY_MIB = 900
"""kubeadm's limits for a control plane (cmd/kubeadm/app/preflight). A worker below 1 GB has no memory for pods."""
DISK_MIB = 4096
"""Required free space below /var/lib for packages, images and etcd, in MiB."""
SHOWN_ADDRESSES = 10
ARCHITECTURES = ("x86_64", "aarch64")

_CLUSTER_INTERFACES = ("cni", "flannel", "kube-", "veth", "docker", "br-", "virbr", "lo")


def findings(inventory: Inventory, facts: Mapping[str, Facts]) -> list[Finding]:
    """All problems, by host in the order of the inventory. Hosts without facts are left out."""
    found: list[Finding] = []
    for host in inventory.hosts:
        if host.name in facts:
            for check in _PER_HOST:
                found += check(inventory, host, facts[host.name])
    found += comparisons.findings(inventory, facts)
    return [_as_wanted(inventory, finding) for finding in found]


def _as_wanted(inventory: Inventory, finding: Finding) -> Finding:
    """An error says which name makes it a warning. Where the inventory has this name, it is one, and says so."""
    name = finding.requirement
    if finding.level == "warning" or not name:
        return finding
    if name in inventory.preflight.warn:
        return replace(finding, level="warning", text=f"{finding.text} (a warning only: preflight.warn has {name})")
    return replace(finding, hint=topics.extended(finding.hint, f"Or make it a warning: preflight.warn: [{name}]."))


def runnable(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.uid != 0:
        yield error(host, f"steps would run as uid {facts.uid}, not as root", "Set ssh.sudo, or log in as root. [sudo]")
    if not facts.family:
        yield error(host, f"{_os(facts)} is not supported", f"{distributions.SUPPORTED} [unsupported-host]")


def _os(facts: Facts) -> str:
    return facts.os_name or facts.os.id or "this OS"


def _system(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    yield from runnable(inventory, host, facts)
    if facts.family and not facts.os.release:
        yield error(
            host,
            f"kbootstrap does not know which packages fit {_os(facts)}"
            f" (ID={facts.os.id} VERSION_ID={facts.os.version} in /etc/os-release)",
            f"{distributions.SUPPORTED} An issue with the host's /etc/os-release helps to add one. [unsupported-host]",
        )
    if facts.arch not in ARCHITECTURES:
        supported = f"Supported: {', '.join(ARCHITECTURES)}. [unsupported-host]"
        yield error(host, f"{facts.arch} is not supported", supported, name="architecture")
    if not facts.systemd:
        hint = "The kubelet and containerd run as systemd services. [unsupported-host]"
        yield error(host, "systemd is not running", hint, name="systemd")
    yield from _kernel(inventory, host, facts)


def _kernel(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    release = facts.os.release if facts.os.base == "el" else ""
    # _cgroup says more about cgroup v1 where the kubelet refuses it.
    cgroup = 2 if versions.refuses_cgroup_v1(inventory.cluster.minor) else facts.cgroup
    problem = versions.os_problem(release, facts.kernel, inventory.cluster.minor, cgroup=cgroup)
    if problem is None or (problem[0] == "error" and _ignored(inventory, "SystemVerification")):
        return
    hint = "Choose another Kubernetes version or another OS. [kernel-support]"
    yield Finding(host.name, problem[0], problem[1], hint, "kernel")


def _apt_policy(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    cluster = inventory.cluster
    if (
        facts.os.release in versions.APT_WITH_SEQUOIA
        and cluster.minor < versions.OLDEST_WITH_V4_SIGNATURE
        and cluster.package_repository == KUBERNETES_REPOSITORY
    ):
        yield warning(
            host,
            f"its apt may refuse the signature of the repository of Kubernetes {cluster.kubernetes}, which is too old",
            "Choose a newer minor, or a package_repository that signs anew (kubernetes/release#3869). [package-keys]",
        )


def _cgroup(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    """cgroup v1 needs two settings: the kubelet's, and kubeadm's. With one of them, init fails after a minute."""
    if not facts.memory_cgroup:
        hint = (
            "Add cgroup_enable=memory to the kernel's command line (Raspberry Pi: /boot/firmware/cmdline.txt), reboot. "
            "[cgroup]"
        )
        yield error(host, "the kernel's memory cgroup is off, and the kubelet needs it", hint, name="memory-cgroup")
    if facts.cgroup != 1 or not versions.refuses_cgroup_v1(inventory.cluster.minor):
        return
    kubeadm = inventory.cluster.kubeadm
    kubelet = any(each.get("kind") == "KubeletConfiguration" and each.get("failCgroupV1") is False
                  for each in kubeadm.documents)  # fmt: skip
    missing = [
        setting
        for setting, there in (
            ("failCgroupV1: false in a KubeletConfiguration of cluster.kubeadm.documents", kubelet),
            (
                "SystemVerification in cluster.kubeadm.ignore_preflight_errors",
                _ignored(inventory, "SystemVerification"),
            ),
        )
        if not there
    ]
    text = f"the host uses cgroup v1, which the kubelet of Kubernetes {versions.show(inventory.cluster.minor)} refuses"
    keep = f"To keep cgroup v1, set {' and '.join(missing)}." if missing else "Its support ends with a later version."
    hint = f"Boot with cgroup v2 (kernel argument systemd.unified_cgroup_hierarchy=1). {keep} [cgroup]"
    yield Finding(host.name, "error" if missing else "warning", text, hint, "cgroup-v1")


def _selinux(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if inventory.cluster.selinux == "enforcing" and facts.selinux == "off":
        hint = (
            "Set SELINUX=permissive in /etc/selinux/config, remove selinux=0 from the kernel's command line"
            " (grubby --update-kernel ALL --remove-args selinux), run fixfiles -F onboot, reboot, then run the same"
            " command again. Or set cluster.selinux: permissive. [selinux-off]"
        )
        yield error(host, "SELinux is off in the kernel, so it cannot be enforcing", hint, name="selinux")


def _size(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if host.is_control_plane and facts.cpus < CONTROL_PLANE_CPUS:
        level: Literal["error", "warning"] = "warning" if _ignored(inventory, "NumCPU") else "error"
        text = f"{facts.cpus} CPU; a control plane needs {CONTROL_PLANE_CPUS}"
        yield Finding(host.name, level, text, "Add a CPU. [host-too-small]", "cpus")
    wanted = CONTROL_PLANE_MEMORY_MIB if host.is_control_plane else WORKER_MEMORY_MIB
    if facts.memory_mib < wanted:
        level = "error" if host.is_control_plane and not _ignored(inventory, "Mem") else "warning"
        text = f"{facts.memory_mib} MiB of memory; {wanted} needed"
        yield Finding(host.name, level, text, "Add memory. [host-too-small]", "memory")
    if facts.disk_free_mib < DISK_MIB and facts.cluster_state == "fresh":
        text = f"{facts.disk_free_mib} MiB free below /var/lib; {DISK_MIB} needed"
        yield error(host, text, "Free disk space. [disk-full]", name="disk")


def _ignored(inventory: Inventory, check: str) -> bool:
    ignored = {name.lower() for name in inventory.cluster.kubeadm.ignore_preflight_errors}
    return check.lower() in ignored or "all" in ignored


def _address(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    interface = facts.addresses.get(host.node_ip)
    if interface is None:
        yield error(
            host,
            f"the address {host.node_ip} is not on this host (it has {_some(sorted(facts.addresses))})",
            "Behind NAT or with several networks, set internal_address to the address on the nodes' shared network. "
            "[host-address]",
            name="address",
        )
    elif host.interface is not None and interface != host.interface:
        text = f"{host.node_ip} is on {interface}, not on {host.interface}"
        yield error(host, text, "Correct interface in the inventory. [host-address]", name="interface")


def _some(addresses: list[str]) -> str:
    """The first addresses as text. A host can have thousands."""
    more = f" and {len(addresses) - SHOWN_ADDRESSES} more" if len(addresses) > SHOWN_ADDRESSES else ""
    return ", ".join(addresses[:SHOWN_ADDRESSES]) + more or "none"


def _routes(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    nodes = {other.node_ip for other in inventory.hosts}
    for key in ("pod_cidr", "service_cidr"):
        wanted: ipaddress.IPv4Network = getattr(inventory.cluster, key)
        for route in facts.routes:
            network = _network(route.network)
            if network is None or route.interface.startswith(_CLUSTER_INTERFACES) or not network.overlaps(wanted):
                continue
            if key == "pod_cidr" and _of_flannel(facts, network, wanted, route.gateway in nodes):
                continue
            said = f"its route {route.network} ({route.interface}) overlaps {key} {wanted}"
            if network.prefixlen < wanted.prefixlen:
                # The longest prefix wins, so the routes of the pod network, which are narrower, are used.
                hint = (
                    f"Traffic to {wanted} stays in the cluster. Hosts with such addresses cannot be reached from it. "
                    "[host-address]"
                )
                yield warning(host, said, hint)
            else:
                hint = f"Choose another {key}: otherwise packets to those addresses leave the cluster. [host-address]"
                yield error(host, said, hint, name="routes")


def _network(text: str) -> ipaddress.IPv4Network | None:
    try:
        return ipaddress.IPv4Network(text, strict=False) if text != "default" else None
    except ValueError:
        return None


def _of_flannel(facts: Facts, route: ipaddress.IPv4Network, pods: ipaddress.IPv4Network, to_node: bool) -> bool:
    """Whether a route is one of Flannel's host-gw: a node's subnet of the pod network.

    A running cluster has them, and an earlier cluster may have left them, which `up` removes.
    """
    return route.prefixlen >= 24 and route.subnet_of(pods) and (facts.cluster_state == "member" or to_node)


def _ports(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.cluster_state != "fresh":
        return
    taken = sorted(facts.listening & set(ports.listening(control_plane=host.is_control_plane)))
    if taken:
        yield error(
            host,
            f"TCP ports already in use: {', '.join(map(str, taken))}",
            "Run `ss -ltnp` on the host to find the service that uses them. [ports-in-use]",
            name="ports",
        )
    network = inventory.cluster.network
    if network.backend == "vxlan" and network.port in facts.udp:
        yield warning(
            host,
            f"UDP port {network.port}, which Flannel needs, is already in use",
            "Run `ss -lunp` on the host: a VXLAN device (no process) can share the port, a process cannot."
            " Or set network.port. [ports-in-use]",
        )
    shadowed = sorted(port for port in facts.listening if port in ports.NODE_PORTS)
    if shadowed:
        shown = ", ".join(map(str, shadowed[:5]))
        yield warning(host, f"TCP ports in use that Kubernetes can assign to a Service (NodePort): {shown}")


def _runtimes(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if "dockerd" in facts.runtimes and facts.cluster_state == "fresh":
        yield warning(host, "Docker is installed; Kubernetes will use containerd", "Nothing to do. [container-runtime]")
    if "crio" in facts.runtimes:
        yield warning(host, "CRI-O is installed; Kubernetes will use containerd", "Nothing to do. [container-runtime]")


_PER_HOST: tuple[Callable[[Inventory, Host, Facts], Iterator[Finding]], ...] = (
    _system,
    _apt_policy,
    _cgroup,
    _selinux,
    _size,
    _address,
    _routes,
    _ports,
    _runtimes,
)
