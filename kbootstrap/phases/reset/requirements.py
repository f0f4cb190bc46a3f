"""The requirements of a reset: problems that prevent the removal of a host from its cluster."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.phases.preflight.finding import Finding, differ
from kbootstrap.phases.preflight.requirements import runnable
from kbootstrap.ports import API_SERVER
from kbootstrap.remote.facts import Facts


def reset_findings(inventory: Inventory, facts: Mapping[str, Facts], leaving: Collection[str]) -> list[Finding]:
    """Problems that prevent a reset of the hosts that are ``leaving``."""
    found: list[Finding] = []
    for host in inventory.hosts:
        if host.name in facts:
            found += runnable(inventory, host, facts[host.name])
            if host.name in leaving:
                found += _of_another_cluster(inventory, host, facts)
    return found


def staying_findings(inventory: Inventory, facts: Mapping[str, Facts], leaving: Collection[str]) -> list[Finding]:
    """Problems for those that stay: members without a control plane, and an etcd without its majority."""
    going = [host for host in inventory.control_planes if host.name in leaving and host.name in facts]
    staying = [host.name for host in inventory.hosts if host.name not in leaving]
    left = [name for name in staying if name not in facts or facts[name].cluster_state != "fresh"]
    members = [host.name for host in inventory.control_planes if host.name in left]
    problem = _majority(members, facts) if members else _orphans(left)
    return [Finding(host.name, "error", *problem) for host in going] if problem else []


def _orphans(left: list[str]) -> tuple[str, str] | None:
    if not left:
        return None
    return (
        f"no control plane host would stay, but {', '.join(left)} would: their cluster would be destroyed",
        f"Reset the whole cluster (without --limit), or first: --limit {','.join(left)}. "
        "Remove hosts that no longer exist from the inventory. [reset-order]",
    )


def _majority(members: list[str], facts: Mapping[str, Facts]) -> tuple[str, str] | None:
    running = [name for name in members if name in facts and API_SERVER in facts[name].listening]
    if 2 * len(running) > len(members):
        return None
    broken = [name for name in members if name not in running]
    return (
        f"etcd would lose its majority: of the control plane hosts that stay, {', '.join(broken)} would not work",
        "Repair those first. If nothing of the cluster is to stay, reset it without --limit. [reset-order]",
    )


def _of_another_cluster(inventory: Inventory, host: Host, facts: Mapping[str, Facts]) -> Iterator[Finding]:
    """Report a member of a cluster that is not in this inventory: its API server or its CA is different."""
    mine, first = facts[host.name], inventory.first_control_plane
    its_facts = facts.get(first.name, mine)
    if not mine.kubelet_conf or not mine.kubelet_server:
        return
    if not _serves(inventory, host, mine):
        reason = f"its API server is {mine.kubelet_server}, but the inventory has {inventory.endpoint}"
    elif _serves(inventory, first, its_facts) and differ(mine.ca_sha256, its_facts.ca_sha256):
        reason = f"its CA differs from the CA of {first.name}"
    else:
        return
    yield Finding(
        host.name,
        "error",
        f"is a member of another cluster: {reason}",
        f"Check the address in the inventory. To reset the host anyway: --force-host {host.name}. [other-cluster]",
    )


def _serves(inventory: Inventory, host: Host, facts: Facts) -> bool:
    """Whether the host's kubelet uses the inventory's API server.

    Since 1.33 the kubelet of a control plane host uses the API server on its own host.
    """
    own = {f"{address}:{API_SERVER}" for address in (host.node_ip, host.address)} if host.is_control_plane else set()
    return facts.kubelet_server.removeprefix("https://").rstrip("/") in {inventory.endpoint, *own}
