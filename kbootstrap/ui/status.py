"""The output of `kbootstrap status`: a table of nodes, the pods that are not running, and a count."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from kbootstrap.text import counted

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.cluster_status import ClusterStatus

_HEADINGS = ("NODE", "STATUS", "ROLE", "VERSION", "ADDRESS", "")


def status_lines(state: ClusterStatus, inventory: Inventory) -> Iterator[str]:
    yield from _table(state, inventory)
    for trouble in state.pods_not_running:
        yield f"pod {trouble}"
    yield _count(state, inventory)


def _table(state: ClusterStatus, inventory: Inventory) -> Iterator[str]:
    rows = [_HEADINGS]
    for node in state.nodes:
        ready = "Ready" if node.ready else "NotReady"
        rows.append((node.name, ready, node.role, node.version, node.address, node.reason))
    for host in map(inventory.host, state.missing):
        rows.append(
            (host.name, "missing", "control plane" if host.is_control_plane else "worker", "", host.node_ip, "")
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _count(state: ClusterStatus, inventory: Inventory) -> str:
    ours = {host.name for host in inventory.hosts}
    ready = sum(node.ready for node in state.nodes if node.name in ours)
    strangers = len({node.name for node in state.nodes} - ours)
    parts = [
        f"{ready} of {counted(len(ours), 'node')} Ready",
        f"{counted(len(state.pods_not_running), 'pod')} not running",
    ]
    if strangers:
        parts.append(f"{counted(strangers, 'node')} not in the inventory")
    return ", ".join(parts)
