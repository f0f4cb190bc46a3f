"""The parts of the container lab that need no Docker."""

from __future__ import annotations

import ipaddress
import sys

from kbootstrap_lab.containers import routed_networks

ANY = str(ipaddress.IPv4Address(0))


def test_a_network_with_a_route_is_taken() -> None:
    """Docker may not know it: a bridge of an earlier dockerd would get the lab's packets."""

    def number(address: str) -> str:
        return f"{int.from_bytes(ipaddress.IPv4Address(address).packed, sys.byteorder):08X}"

    def route(interface: str, network: str, mask: str) -> str:
        return "\t".join([interface, number(network), "00000000", "0001", "0", "0", "0", number(mask), "0", "0", "0"])

    routes = [
        route("eth0", ANY, ANY),
        route("br-old", "10.200.0.0", "255.255.255.0"),
        route("eth0", "192.0.2.0", "255.255.255.128"),
    ]
    table = "\n".join(["Iface\tDestination\tGateway ...", *routes, ""])
    assert [str(network) for network in routed_networks(table)] == ["10.200.0.0/24", "192.0.2.0/25"]
