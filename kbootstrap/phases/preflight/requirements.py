"""The requirements of a node: checks of the inventory and the facts of all hosts, before any change."""

from __future__ import annotations

import ipaddress
import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from kbootstrap import ports, versions
from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.remote.facts import Facts

MAX_CLOCK_DIFFERENCE_S = 30
"""Maximum difference between a host's clock and the median of all clocks, in seconds. Beyond it, certificates fail."""
CONTROL_PLANE_CPUS = 2
CONTROL_PLANE_MEMORY_MIB = 1700
WORKER_MEMORY_MIB = 900
"""kubeadm's limits for a control plane (cmd/kubeadm/app/preflight). A worker below 1 GB has no memory for pods."""
DISK_MIB = 4096
"""Required free space below /var/lib for packages, images and etcd, in MiB."""
SHOWN_ADDRESSES = 10
ARCHITECTURES = ("x86_64", "aarch64")

_CLUSTER_INTERFACES = ("cni", "flannel", "kube-", "veth", "docker", "br-", "virbr", "lo")


@dataclass(frozen=True)
class Finding:
    """A problem of a host: an ``error`` stops the host, a ``warning`` is only reported."""

    host: str
    level: Literal["error", "warning"]
    text: str
    hint: str = ""


def findings(inventory: Inventory, facts: Mapping[str, Facts]) -> list[Finding]:
    """All problems, by host in the order of the inventory. Hosts without facts are left out."""
    found: list[Finding] = []
    for host in inventory.hosts:
        if host.name in facts:
            for check in _PER_HOST:
                found += check(inventory, host, facts[host.name])
    found += _duplicate_identities(inventory, facts)
    found += _clocks(facts)
    found += _membership(inventory, facts)
    return found


def runnable(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.uid != 0:
        yield Finding(
            host.name, "error", f"steps would run as uid {facts.uid}, not as root", "Set ssh.sudo, or log in as root."
        )
    if not facts.family:
        yield Finding(
            host.name,
            "error",
            f"{facts.os_name or facts.os_id or 'this OS'} is not supported",
            "kbootstrap supports CentOS, RHEL, Rocky, AlmaLinux, openEuler, Fedora, Debian and Ubuntu.",
        )


def _system(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    yield from runnable(inventory, host, facts)
    if facts.arch not in ARCHITECTURES:
        yield Finding(host.name, "error", f"{facts.arch} is not supported", f"Supported: {', '.join(ARCHITECTURES)}.")
    if not facts.systemd:
        yield Finding(
            host.name, "error", "systemd is not running", "The kubelet and containerd run as systemd services."
        )
    problem = versions.os_problem(
        facts.os_id, facts.os_version, facts.kernel, inventory.cluster.minor, cgroup=facts.cgroup
    )
    if problem is not None and not (problem[0] == "error" and _ignored(inventory, "SystemVerification")):
        yield Finding(host.name, problem[0], problem[1], "Choose another Kubernetes version or another OS.")


def _size(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if host.is_control_plane and facts.cpus < CONTROL_PLANE_CPUS:
        level: Literal["error", "warning"] = "warning" if _ignored(inventory, "NumCPU") else "error"
        yield Finding(host.name, level, f"{facts.cpus} CPU; a control plane needs {CONTROL_PLANE_CPUS}", "Add a CPU.")
    wanted = CONTROL_PLANE_MEMORY_MIB if host.is_control_plane else WORKER_MEMORY_MIB
    if facts.memory_mib < wanted:
        level = "error" if host.is_control_plane and not _ignored(inventory, "Mem") else "warning"
        yield Finding(host.name, level, f"{facts.memory_mib} MiB of memory; {wanted} needed", "Add memory.")
    if facts.disk_free_mib < DISK_MIB and facts.cluster_state == "fresh":
        yield Finding(
            host.name, "error", f"{facts.disk_free_mib} MiB free below /var/lib; {DISK_MIB} needed", "Free disk space."
        )


def _ignored(inventory: Inventory, check: str) -> bool:
    ignored = {name.lower() for name in inventory.cluster.kubeadm.ignore_preflight_errors}
    return check.lower() in ignored or "all" in ignored


def _address(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    interface = facts.addresses.get(host.node_ip)
    if interface is None:
        there = _some(sorted(facts.addresses))
        yield Finding(
            host.name,
            "error",
            f"the address {host.node_ip} is not on this host (it has {there})",
            "Behind NAT or with several networks, set internal_address to the address on the nodes' shared network.",
        )
    elif host.interface is not None and interface != host.interface:
        yield Finding(
            host.name,
            "error",
            f"{host.node_ip} is on {interface}, not on {host.interface}",
            "Correct interface in the inventory.",
        )


def _some(addresses: list[str]) -> str:
    """The first addresses as text. A host can have thousands."""
    more = f" and {len(addresses) - SHOWN_ADDRESSES} more" if len(addresses) > SHOWN_ADDRESSES else ""
    return ", ".join(addresses[:SHOWN_ADDRESSES]) + more or "none"


def _routes(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    for key in ("pod_cidr", "service_cidr"):
        wanted: ipaddress.IPv4Network = getattr(inventory.cluster, key)
        for text, interface in facts.routes:
            if text == "default" or interface.startswith(_CLUSTER_INTERFACES):
                continue
            if _overlap(text, wanted, key == "pod_cidr" and facts.cluster_state == "member"):
                yield Finding(
                    host.name,
                    "error",
                    f"its route {text} ({interface}) overlaps {key} {wanted}",
                    f"Choose another {key}: otherwise packets to those addresses leave the cluster.",
                )


def _overlap(text: str, wanted: ipaddress.IPv4Network, member: bool) -> bool:
    try:
        network = ipaddress.IPv4Network(text, strict=False)
    except ValueError:
        return False
    # The host-gw routes of a running cluster are subnets of its own pod network.
    own = member and network.prefixlen >= 24 and network.subnet_of(wanted)
    return network.overlaps(wanted) and not own


def _ports(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if facts.cluster_state != "fresh":
        return
    taken = sorted(facts.listening & set(ports.listening(control_plane=host.is_control_plane)))
    if taken:
        yield Finding(
            host.name,
            "error",
            f"TCP ports already in use: {', '.join(map(str, taken))}",
            "Run `ss -ltnp` on the host to find the service that uses them.",
        )
    network = inventory.cluster.network
    if network.backend == "vxlan" and network.port in facts.udp:
        yield Finding(
            host.name,
            "warning",
            f"UDP port {network.port}, which Flannel needs, is already in use",
            "Run `ss -lunp` on the host: a VXLAN device (no process) can share the port, a process cannot."
            " Or set network.port.",
        )
    shadowed = sorted(port for port in facts.listening if port in ports.NODE_PORTS)
    if shadowed:
        shown = ", ".join(map(str, shadowed[:5]))
        yield Finding(
            host.name, "warning", f"TCP ports in use that Kubernetes can assign to a Service (NodePort): {shown}"
        )


def _runtimes(inventory: Inventory, host: Host, facts: Facts) -> Iterator[Finding]:
    if "dockerd" in facts.runtimes and facts.cluster_state == "fresh":
        yield Finding(host.name, "warning", "Docker is installed; Kubernetes will use containerd", "Nothing to do.")
    if "crio" in facts.runtimes:
        yield Finding(host.name, "warning", "CRI-O is installed; Kubernetes will use containerd", "Nothing to do.")


_PER_HOST: tuple[Callable[[Inventory, Host, Facts], Iterator[Finding]], ...] = (
    _system,
    _size,
    _address,
    _routes,
    _ports,
    _runtimes,
)


# --- comparison of hosts ---------------------------------------------------------------------------------------------


def _duplicate_identities(inventory: Inventory, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Cloned machines share identities that must be unique; kubeadm's documentation names these three.

    An equal host name is only a warning, because `up` sets the host name of every host.
    """
    names: dict[str, str] = {}
    for host in inventory.hosts:
        name = facts[host.name].hostname if host.name in facts else ""
        if name and names.setdefault(name, host.name) != host.name:
            yield Finding(host.name, "warning", f"has the same host name as {names[name]} ({name}); `up` renames both")
    for what, values in (
        ("machine-id", lambda f: (f.machine_id,)),
        ("product_uuid", lambda f: (f.product_uuid,)),
        ("MAC address", lambda f: f.macs),
    ):
        seen: dict[str, str] = {}
        for host in inventory.hosts:
            for value in values(facts[host.name]) if host.name in facts else ():
                if value and value in seen:
                    yield Finding(
                        host.name,
                        "error",
                        f"has the same {what} as {seen[value]} ({value})",
                        _DUPLICATE_HINTS[what],
                    )
                elif value:
                    seen[value] = host.name


_DUPLICATE_HINTS = {
    "machine-id": "If the machine is a clone: rm /etc/machine-id && systemd-machine-id-setup, then reboot.",
    "product_uuid": "If the virtual machine is a clone: set a new UUID in the hypervisor.",
    "MAC address": "If the virtual machine is a clone: set a new MAC address in the hypervisor.",
}


def _clocks(facts: Mapping[str, Facts]) -> Iterator[Finding]:
    if not facts:
        return
    offsets = [fact.clock_offset for fact in facts.values()]
    # Use the middle value nearer to this machine's clock, so that of two hosts only the wrong one is reported.
    median = min(statistics.median_low(offsets), statistics.median_high(offsets), key=abs)
    for name, fact in facts.items():
        difference = fact.clock_offset - median
        if abs(difference) > MAX_CLOCK_DIFFERENCE_S:
            word = "ahead of" if difference > 0 else "behind"
            yield Finding(
                name,
                "error",
                f"its clock is {abs(difference):.0f} s {word} the other hosts",
                "Set it with `chronyc makestep` or `date -s`; `chronyc tracking` shows whether it stays synchronised.",
            )


def _membership(inventory: Inventory, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Check which cluster a host belongs to. `up` never changes a member of another cluster."""
    first = facts.get(inventory.first_control_plane.name)
    for host in inventory.hosts:
        mine = facts.get(host.name)
        if mine is None or mine.cluster_state == "fresh":
            continue
        if differ(mine.node_name, host.name):
            yield Finding(
                host.name,
                "error",
                f"is already the node {mine.node_name}: a node's name cannot be changed",
                f"Name it {mine.node_name} in the inventory, or remove it first with `kbootstrap reset --limit`.",
            )
        elif host.name == inventory.first_control_plane.name:
            yield from _first_control_plane(inventory, mine)
        elif mine.cluster_state == "half":
            yield Finding(
                host.name, "warning", "an earlier join did not finish: the host will be reset and joined again"
            )
        elif first is not None and first.cluster_state == "fresh":
            yield Finding(
                host.name,
                "error",
                f"is a member of a cluster ({mine.kubelet_server}), but {inventory.first_control_plane.name} is not",
                "Check the address in the inventory. If the old cluster is gone, run `kubeadm reset` on this host.",
            )
        elif first is not None and differ(mine.ca_sha256, first.ca_sha256):
            yield Finding(
                host.name,
                "error",
                f"is a member of another cluster ({mine.kubelet_server})",
                "Remove it from the inventory, or from that cluster: run `kubeadm reset` on this host.",
            )
        elif mine.manifests != host.is_control_plane:
            is_now, wanted = ("control plane host", "worker") if mine.manifests else ("worker", "control plane host")
            yield Finding(
                host.name,
                "error",
                f"is a {is_now} of this cluster, but a {wanted} in the inventory: `up` does not change a node's role",
                f"Set its role back, or remove it first: `kbootstrap reset --limit {host.name}` with the old role.",
            )


def differ(one: str, other: str) -> bool:
    """Whether both values are known and different."""
    return bool(one and other) and one != other


def _first_control_plane(inventory: Inventory, facts: Facts) -> Iterator[Finding]:
    name, cluster = inventory.first_control_plane.name, inventory.cluster
    if facts.cluster_state == "half":
        if facts.init_begun and not facts.init_done:
            yield Finding(
                name, "warning", "an earlier kubeadm init did not finish: the host will be reset, then initialised"
            )
        return
    running = facts.apiserver_version
    if not running:
        yield Finding(
            name,
            "error",
            f"is a worker of a cluster ({facts.kubelet_server}), but the first control plane host in the inventory",
            "Set its role to worker, or remove it from that cluster first: run `kubeadm reset` on this host.",
        )
        return
    try:
        minor, _ = versions.parse(running)
    except ValueError as error:
        yield Finding(
            name,
            "error",
            f"cannot read the API server's version: {str(error)[:200]}",
            "Check the image in /etc/kubernetes/manifests/kube-apiserver.yaml on this host.",
        )
        return
    for key, has in (("pod_cidr", facts.pod_cidr), ("service_cidr", facts.service_cidr)):
        if differ(has, str(getattr(cluster, key))):
            yield Finding(
                name,
                "error",
                f"the cluster's {key} is {has[:100]}, but the inventory has {getattr(cluster, key)}",
                f"The networks of a running cluster cannot be changed. Set cluster.{key} to {has[:100]}.",
            )
    if minor != cluster.minor or (cluster.exact is not None and cluster.exact != running):
        yield Finding(
            name,
            "error",
            f"the cluster runs Kubernetes {running}, but the inventory has {cluster.kubernetes}",
            "`up` does not change the version of a running cluster. Set cluster.kubernetes to the running version.",
        )
