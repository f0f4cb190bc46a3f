"""The parts of the container lab that need no Docker."""

from __future__ import annotations

import ipaddress
import sys
from pathlib import Path

import pytest

from kbootstrap_lab.backend import DISTRIBUTIONS
from kbootstrap_lab.containers import os_repository, routed_networks
from kbootstrap_lab.containers.artifacts import containerd_versions
from kbootstrap_lab.containers.distributions import known
from kbootstrap_lab.errors import LabError

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


def test_a_distribution_that_container_hosts_do_not_have_is_refused() -> None:
    with pytest.raises(LabError, match="container hosts cannot look like amiga") as refused:
        known("amiga")
    assert "centos9, centos7" in refused.value.hint


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_only_centos_7_and_8_begin_with_dead_repositories(name: str) -> None:
    """The others get the lab's repository, and these the keys that the dead files name."""
    dead = name in ("centos7", "centos8")
    assert bool(known(name).dead_sources) == dead
    script = os_repository(name)
    assert ("lab-base" in script or "lab.list" in script) != dead
    assert all(f"-o {key}" in script for key in known(name).signing_keys)
    assert bool(known(name).signing_keys) == dead


def test_the_versions_of_containerd_are_those_of_the_served_packages(tmp_path: Path) -> None:
    pool = tmp_path / "linux" / "debian" / "pool"
    pool.mkdir(parents=True)
    for version in ("1.10.1", "2.1.9", "1.6.20"):
        (pool / f"containerd.io_{version}-1.1_amd64.deb").touch()
    assert containerd_versions(tmp_path) == ["1.6.20", "1.10.1", "2.1.9"]
