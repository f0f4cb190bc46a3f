"""What several phases say alike: which hosts they run on, and what they wait for."""

from __future__ import annotations

from kbootstrap.inventory import Host, Inventory


def every_host(inventory: Inventory) -> list[Host]:
    return list(inventory.hosts)


def first_master(inventory: Inventory) -> list[Host]:
    return [inventory.first_master]


def other_hosts(inventory: Inventory) -> list[Host]:
    """Every host but the first master: those that join."""
    return [host for host in inventory.hosts if host.name != inventory.first_master.name]


def after_joins(inventory: Inventory, host: Host) -> list[tuple[str, str]]:
    """Once every other host has joined, or has failed to."""
    return [("join", other.name) for other in other_hosts(inventory)]
