"""Requirements that compare hosts with each other, and with the cluster that some of them are members of."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Iterator, Mapping

from kbootstrap import versions
from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.phases.preflight.finding import Finding, differ, error, warning
from kbootstrap.remote.facts import Facts

MAX_CLOCK_DIFFERENCE_S = 30
"""Maximum difference between a host's clock and the median of all clocks, in seconds. Beyond it, certificates fail."""

_FILLER_UUIDS = (
    "00000000-0000-0000-0000-000000000000",
    "00020003-0004-0005-0006-000700080009",
    "03000200-0400-0500-0006-000700080009",
    "03020100-0504-0706-0809-0a0b0c0d0e0f",
    "12345678-1234-5678-90ab-cddeefaabbcc",
    "ffffffff-ffff-ffff-ffff-ffffffffffff",
)
"""Product UUIDs that boards have when their vendor set none (https://github.com/siderolabs/talos/issues/8804)."""


def findings(inventory: Inventory, facts: Mapping[str, Facts]) -> list[Finding]:
    """All problems of hosts that others show. Hosts without facts are left out."""
    known = [host for host in inventory.hosts if host.name in facts]
    return [*_identities(known, facts), *_clocks(facts), *_membership(inventory, facts)]


def _identities(hosts: list[Host], facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Cloned machines share identities that must be unique; kubeadm's documentation names these three.

    Of the MAC addresses only that of the node's own address must differ. Others may be the same everywhere, e.g. the
    NAT cards of all virtual machines of VirtualBox; and within one host, a bond, its cards and its VLANs share one.
    """
    names = ((host, facts[host.name].hostname) for host in hosts)
    for host, other, value in _equal(names):
        yield warning(host, f"has the same host name as {other} ({value}); `up` renames both")
    machine_ids = ((host, facts[host.name].machine_id) for host in hosts)
    for host, other, value in _equal(machine_ids):
        hint = "If the machine is a clone: rm /etc/machine-id && systemd-machine-id-setup, then reboot. [cloned-host]"
        yield error(host, f"has the same machine-id as {other} ({value})", hint, name="machine-id")
    own = [(host, _own_mac(host, facts[host.name])) for host in hosts]
    for host, other, value in _equal(own):
        hint = "If the virtual machine is a clone: set a new MAC address in the hypervisor. [cloned-host]"
        yield error(host, f"has the same MAC address as {other} ({value})", hint, name="mac-address")
    yield from _harmless_duplicates(hosts, facts)


def _harmless_duplicates(hosts: list[Host], facts: Mapping[str, Facts]) -> Iterator[Finding]:
    uuids = ((host, facts[host.name].product_uuid) for host in hosts)
    for host, other, value in _equal((host, uuid) for host, uuid in uuids if uuid not in _FILLER_UUIDS):
        hint = "If the virtual machine is a clone: set a new UUID in the hypervisor. [cloned-host]"
        yield warning(host, f"has the same product_uuid as {other} ({value})", hint)
    others = (
        (host, mac)
        for host in hosts
        for mac in sorted(set(facts[host.name].macs.values()) - {_own_mac(host, facts[host.name])})
    )
    for host, other, value in _equal(others):
        yield warning(host, f"has a card with the same MAC address as one of {other} ({value}), not on {host.node_ip}")


def _own_mac(host: Host, facts: Facts) -> str:
    """The MAC address of the interface with the node's address."""
    return facts.macs.get(facts.addresses.get(host.node_ip, ""), "")


def _equal(values: Iterable[tuple[Host, str]]) -> Iterator[tuple[Host, str, str]]:
    """Each host whose value an earlier host has too, with that host's name. Empty values are not compared."""
    first: dict[str, str] = {}
    for host, value in values:
        if value and first.setdefault(value, host.name) != host.name:
            yield host, first[value], value


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
                "Set it with `chronyc makestep` or `date -s`; `chronyc tracking` shows whether it stays synchronised. "
                "[clock]",
                "clock",
            )


def _membership(inventory: Inventory, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Check which cluster a host belongs to. `up` never changes a member of another cluster."""
    first = facts.get(inventory.first_control_plane.name)
    for host in inventory.hosts:
        mine = facts.get(host.name)
        if mine is None:
            continue
        left = _leftovers(inventory, host, mine)
        if left is not None:
            yield left
            continue
        if mine.cluster_state == "fresh":
            continue
        if differ(mine.node_name, host.name):
            yield Finding(
                host.name,
                "error",
                f"is already the node {mine.node_name}: a node's name cannot be changed",
                f"Name it {mine.node_name} in the inventory, or remove it first with `kbootstrap reset --limit`. "
                "[cluster-settings]",
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
                "Check the address in the inventory. If the old cluster is gone, run `kubeadm reset` on this host. "
                "[other-cluster]",
            )
        elif first is not None and differ(mine.ca_sha256, first.ca_sha256):
            yield Finding(
                host.name,
                "error",
                f"is a member of another cluster ({mine.kubelet_server})",
                "Remove it from the inventory, or from that cluster: run `kubeadm reset` on this host. [other-cluster]",
            )
        elif mine.manifests != host.is_control_plane:
            is_now, wanted = ("control plane host", "worker") if mine.manifests else ("worker", "control plane host")
            yield Finding(
                host.name,
                "error",
                f"is a {is_now} of this cluster, but a {wanted} in the inventory: `up` does not change a node's role",
                f"Set its role back, or remove it first: `kbootstrap reset --limit {host.name}` with the old role. "
                "[cluster-settings]",
            )


def _leftovers(inventory: Inventory, host: Host, facts: Facts) -> Finding | None:
    """Files of an earlier cluster that no init or join of ours began. Only their owner knows what is needed."""
    if facts.cluster_state == "member" or facts.init_begun or facts.join_begun:
        return None
    files = {
        "/etc/kubernetes/admin.conf": facts.admin_conf,
        "/etc/kubernetes/bootstrap-kubelet.conf": facts.bootstrap_conf,
        "/etc/kubernetes/kubelet.conf": facts.kubelet_conf,
        "/etc/kubernetes/manifests/kube-apiserver.yaml": facts.manifests,
        "/etc/kubernetes/pki/ca.crt": bool(facts.ca_sha256),
        "/var/lib/etcd/member": facts.etcd_data,
    }
    found = [path for path, there in files.items() if there]
    if not found:
        return None
    if found == ["/etc/kubernetes/pki/ca.crt"] and host.name == inventory.first_control_plane.name:
        return warning(host, f"kubeadm init will use the CA that is here already ({found[0]})")
    return error(
        host,
        f"has files of an earlier cluster: {', '.join(found)}",
        f"If nothing of it is needed any more: kbootstrap reset --limit {host.name} [earlier-cluster]",
    )


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
            "Set its role to worker, or remove it from that cluster first: run `kubeadm reset` on this host. "
            "[other-cluster]",
        )
        return
    try:
        minor, _ = versions.parse(running)
    except ValueError as error:
        yield Finding(
            name,
            "error",
            f"cannot read the API server's version: {str(error)[:200]}",
            "Check the image in /etc/kubernetes/manifests/kube-apiserver.yaml on this host. [api-server]",
        )
        return
    for key, has in (("pod_cidr", facts.pod_cidr), ("service_cidr", facts.service_cidr)):
        if differ(has, str(getattr(cluster, key))):
            yield Finding(
                name,
                "error",
                f"the cluster's {key} is {has[:100]}, but the inventory has {getattr(cluster, key)}",
                f"The networks of a running cluster cannot be changed. Set cluster.{key} to {has[:100]}. "
                "[cluster-settings]",
            )
    if minor != cluster.minor or (cluster.exact is not None and cluster.exact != running):
        yield Finding(
            name,
            "error",
            f"the cluster runs Kubernetes {running}, but the inventory has {cluster.kubernetes}",
            "`up` does not change the version of a running cluster. Set cluster.kubernetes to the running version. "
            "[cluster-settings]",
        )
