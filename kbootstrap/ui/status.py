"""The output of `kbootstrap status`: a table of nodes, the pods that are not running, and a count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbootstrap.text import cells, counted

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.cluster_status import ClusterStatus

_HEADINGS = ("NODE", "STATUS", "ROLE", "VERSION", "ADDRESS")
_WIDE_HEADINGS = ("SSH", "OS", "KERNEL", "RUNTIME")


def status_lines(state: ClusterStatus, inventory: Inventory, *, wide: bool = False) -> Iterator[str]:
    """The table, with ``wide`` also the SSH address, the system, the kernel and the runtime of every node."""
    yield from _table(state, inventory, wide=wide)
    for trouble in state.pods_not_running:
        yield f"pod {trouble}"
    yield _count(state)


def _table(state: ClusterStatus, inventory: Inventory, *, wide: bool) -> Iterator[str]:
    ssh = {host.name: host.address for host in inventory.hosts}
    rows = [(*_HEADINGS, *_WIDE_HEADINGS, "")]
    for node in state.nodes:
        ready = "Ready" if node.ready else "NotReady"
        remarks = "; ".join(filter(None, ("" if node.in_inventory else "not in the inventory", node.reason)))
        kept = (node.name, ready, node.role, node.version, node.address)
        rows.append((*kept, ssh.get(node.name, ""), node.os, node.kernel, node.runtime, remarks))
    for host in map(inventory.host, state.missing):
        role = "control plane" if host.is_control_plane else "worker"
        rows.append(
            (host.name, "missing", role, "", host.node_ip, host.address, "", "", "", "not a node of the cluster")
        )
    if not wide:
        rows = [(*row[: len(_HEADINGS)], row[-1]) for row in rows]  # type: ignore[misc]
    widths = [max(cells(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        filled = (cell + " " * (width - cells(cell)) for cell, width in zip(row, widths, strict=True))
        yield "  ".join(filled).rstrip()


def _count(state: ClusterStatus) -> str:
    ours = [node for node in state.nodes if node.in_inventory]
    strangers = [node for node in state.nodes if not node.in_inventory]
    parts = [
        f"{sum(node.ready for node in ours)} of {counted(len(ours) + len(state.missing), 'node')} Ready",
        f"{counted(len(state.pods_not_running), 'pod')} not running",
    ]
    if strangers:
        not_ready = sum(not node.ready for node in strangers)
        parts.append(
            f"{counted(len(strangers), 'node')} not in the inventory" + f" ({not_ready} NotReady)" * bool(not_ready)
        )
    return ", ".join(parts)
