"""Which hosts of an inventory an operator means: names, patterns and roles."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.models import Inventory

_ROLES = {"control-plane": True, "master": True, "worker": False}


def select(inventory: Inventory, given: Iterable[str], option: str = "--limit") -> tuple[str, ...]:
    """The names of the chosen hosts, in the order of the inventory.

    Each item is a name, a pattern (``w*``, ``w[12]``) or a role (``role=worker``), or several with commas between.
    Raises InventoryError for an empty item and for one that chooses no host: a script whose variable is not set must
    not work on every host.
    """
    items = [item.strip() for text in given for item in text.split(",")]
    if not items or "" in items:
        raise InventoryError(
            f"{option} has an empty name",
            f"Name the hosts, or leave {option} out to work on every host. [host-selection]",
        )
    chosen = {item: _matching(inventory, item) for item in items}
    nothing = [item for item, names in chosen.items() if not names]
    if nothing:
        raise InventoryError(
            f"{option} has hosts that are not in the inventory: {', '.join(nothing)}",
            f"The inventory has: {', '.join(sorted(host.name for host in inventory.hosts))}. "
            "Patterns (w*) and roles (role=worker) work too. [host-selection]",
        )
    wanted = set().union(*chosen.values())
    return tuple(host.name for host in inventory.hosts if host.name in wanted)


def _matching(inventory: Inventory, item: str) -> set[str]:
    kind, is_role, role = item.partition("=")
    if is_role:
        if kind != "role" or role not in _ROLES:
            return set()
        return {host.name for host in inventory.hosts if host.is_control_plane == _ROLES[role]}
    return {host.name for host in inventory.hosts if fnmatch.fnmatchcase(host.name, item)}
