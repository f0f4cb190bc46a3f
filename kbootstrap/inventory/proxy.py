"""The proxy of the hosts, as the environment variables that programs read."""

from __future__ import annotations

import ipaddress

from kbootstrap.inventory.models import Inventory

MAX_ADDRESSES = 50
"""Hosts that no_proxy lists one by one. Of more hosts it has the /24 networks: a variable may not grow without end."""


def environment(inventory: Inventory) -> dict[str, str]:
    """The variables of every program that kbootstrap starts on a host; empty without a proxy.

    curl reads only the lower-case name of http_proxy, and some programs only the others in capitals.
    """
    proxy = inventory.proxy
    values = {"http_proxy": proxy.http, "https_proxy": proxy.https or proxy.http}
    found = {name: value for name, value in values.items() if value}
    if not found:
        return {}
    found["no_proxy"] = ",".join(dict.fromkeys([*_direct(inventory), *proxy.no_proxy]))
    return {**found, **{name.upper(): value for name, value in found.items()}}


def _direct(inventory: Inventory) -> list[str]:
    """What is never behind the proxy: this host, the cluster's networks and names, the nodes and the API server."""
    cluster = inventory.cluster
    names = [
        "localhost",
        "127.0.0.1",
        str(cluster.pod_cidr),
        str(cluster.service_cidr),
        ".svc",
        f".{cluster.dns_domain}",
    ]
    addresses = [host.node_ip for host in inventory.hosts]
    if len(addresses) > MAX_ADDRESSES:
        networks = (ipaddress.IPv4Network(f"{address}/24", strict=False) for address in addresses)
        addresses = [str(network) for network in ipaddress.collapse_addresses(networks)]
    return [*names, *addresses, inventory.endpoint.rpartition(":")[0]]
