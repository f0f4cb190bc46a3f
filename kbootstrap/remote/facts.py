"""The facts of a host: the output of shell/facts.sh as a frozen value."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

from kbootstrap.distributions import Family, OsRelease
from kbootstrap.errors import KbootstrapError
from kbootstrap.text import printable

MAX_LINES = 5000
MAX_VALUE = 4096
MAX_NUMBER = 2**50
MAX_TIME = 2**35
"""Limits for the output of a host: hosts are not trusted."""


class Route(NamedTuple):
    """A route of the main table: its network (or ``default``), interface, and gateway where it has one."""

    network: str
    interface: str
    gateway: str = ""


@dataclass(frozen=True)
class Facts:
    """All data about a host that the phases and the requirements use.

    ``addresses`` maps an address to its interface; ``clock_offset`` is in seconds, positive when the host is ahead of
    this machine; ``node_name`` is the name under which kbootstrap made the host a node; ``ca_sha256`` is the hash of
    the cluster CA's file.
    """

    os: OsRelease = field(default_factory=OsRelease)
    os_name: str = ""
    arch: str = ""
    kernel: str = ""
    uid: int = -1
    systemd: bool = False
    resolved: bool = False
    """systemd-resolved runs."""
    cgroup: int = 1
    memory_cgroup: bool = True
    """The kernel's memory controller is on, or the host does not say that it is off."""
    cpus: int = 0
    memory_mib: int = 0
    disk_free_mib: int = 0
    hostname: str = ""
    machine_id: str = ""
    product_uuid: str = ""
    macs: Mapping[str, str] = field(default_factory=dict)
    """Interfaces, each with its MAC address."""
    addresses: Mapping[str, str] = field(default_factory=dict)
    routes: tuple[Route, ...] = ()
    listening: frozenset[int] = frozenset()
    """TCP ports."""
    udp: frozenset[int] = frozenset()
    """UDP ports in use."""
    clock_offset: float = 0.0
    selinux: Literal["", "off", "permissive", "enforcing"] = ""
    runtimes: tuple[str, ...] = ()
    commands: frozenset[str] = frozenset()
    admin_conf: bool = False
    kubelet_conf: bool = False
    bootstrap_conf: bool = False
    manifests: bool = False
    etcd_data: bool = False
    init_begun: bool = False
    init_done: bool = False
    join_begun: bool = False
    join_done: bool = False
    node_name: str = ""
    ca_sha256: str = ""
    kubelet_server: str = ""
    apiserver_version: str = ""
    pod_cidr: str = ""
    service_cidr: str = ""
    """The networks of the control plane on this host."""

    @property
    def family(self) -> Family:
        """The OS family, which names a file in shell/os; empty when there is none."""
        return self.os.family

    @property
    def cluster_state(self) -> Literal["fresh", "member", "half"]:
        """Whether the host is part of a cluster.

        ``member``: the kubelet has its credentials, and no init or join of ours is unfinished; ``half``: an init or
        join of ours started and did not finish, or left files; ``fresh``: no files of a cluster.
        """
        unfinished = (self.init_begun and not self.init_done) or (self.join_begun and not self.join_done)
        traces = self.admin_conf or self.kubelet_conf or self.manifests or self.etcd_data or self.bootstrap_conf
        if self.kubelet_conf and (not unfinished or not self.manifests):
            return "member"
        return "half" if traces else "fresh"


def parse(lines: Iterable[str], received_at: float = 0.0) -> Facts:
    """Parse the output lines of shell/facts.sh; ``received_at`` is this machine's clock when they arrived.

    Raises KbootstrapError when they are incomplete or invalid.
    """
    values = _grouped(lines)
    if values.get("complete") != ["1"]:
        raise KbootstrapError(
            "the host's facts are incomplete",
            "See the output of the step; `ssh HOST true` shows whether the host's shell works. [login-shell]",
        )
    try:
        return _facts(values, received_at)
    except ValueError as error:
        raise KbootstrapError(f"the host's facts are invalid: {error}") from None


def _grouped(lines: Iterable[str]) -> dict[str, list[str]]:
    values: dict[str, list[str]] = {}
    for number, line in enumerate(lines):
        if number > MAX_LINES:
            raise KbootstrapError(f"the host's facts have more than {MAX_LINES} lines")
        key, equals, value = line.partition("=")
        if equals:
            values.setdefault(key, []).append(printable(value[:MAX_VALUE]).strip())
    return values


def _facts(values: Mapping[str, list[str]], received_at: float) -> Facts:
    def one(key: str) -> str:
        return values.get(key, [""])[-1]

    def flag(key: str) -> bool:
        return one(key) == "1"

    return Facts(
        os=OsRelease(
            one("os_id"),
            one("os_version"),
            tuple(one("os_like").split()),
            one("os_platform"),
            one("os_codename"),
            one("os_ubuntu_codename"),
            one("os_debian_codename"),
        ),
        os_name=one("os_name"),
        arch=one("arch"),
        kernel=one("kernel"),
        uid=_number(one("uid")),
        systemd=flag("systemd"),
        resolved=flag("resolved"),
        cgroup=2 if flag("cgroup2") else 1,
        memory_cgroup=one("memory_cgroup") != "0",
        cpus=_number(one("cpus")),
        memory_mib=_number(one("memory_kib")) // 1024,
        disk_free_mib=_number(one("disk_free_kib")) // 1024,
        hostname=one("hostname"),
        machine_id=one("machine_id"),
        product_uuid=one("product_uuid").lower(),
        macs=dict(_mac(line) for line in values.get("mac", []) if line),
        addresses=dict(_address(line) for line in values.get("address", [])),
        routes=tuple(_route(line) for line in values.get("route", [])),
        listening=frozenset(_number(port, 16) for port in values.get("listening", [])),
        udp=frozenset(_number(port, 16) for port in values.get("udp", [])),
        clock_offset=_seconds(one("epoch")) - received_at,
        selinux={"0": "permissive", "1": "enforcing", "off": "off"}.get(one("selinux"), ""),  # type: ignore[arg-type]
        runtimes=tuple(values.get("runtime", [])),
        commands=frozenset(values.get("has", [])),
        admin_conf=flag("admin_conf"),
        kubelet_conf=flag("kubelet_conf"),
        bootstrap_conf=flag("bootstrap_conf"),
        manifests=flag("manifests"),
        etcd_data=flag("etcd_data"),
        init_begun=flag("init_begun"),
        init_done=flag("init_done"),
        join_begun=flag("join_begun"),
        join_done=flag("join_done"),
        node_name=one("node_name"),
        ca_sha256=one("ca_sha256"),
        kubelet_server=one("kubelet_server"),
        apiserver_version=one("apiserver_version"),
        pod_cidr=one("pod_cidr"),
        service_cidr=one("service_cidr"),
    )


def _number(text: str, base: int = 10) -> int:
    number = int(text, base)
    if not 0 <= number <= MAX_NUMBER:
        raise ValueError(f"{text[:50]} is not a number in range")
    return number


def _seconds(text: str) -> float:
    # busybox's date knows no nanoseconds and prints the letters.
    seconds = float(text.removesuffix(".%N"))
    if not 0 <= seconds <= MAX_TIME:
        raise ValueError(f"{text[:50]} is not a time in range")
    return seconds


def _address(line: str) -> tuple[str, str]:
    """``eth0 10.0.0.1/24`` as (address, interface)."""
    interface, _, address = line.partition(" ")
    return str(ipaddress.ip_interface(address).ip), interface


def _mac(line: str) -> tuple[str, str]:
    """``eth0.5@eth0: AA:BB:CC:00:11:22`` as (interface, address)."""
    interface, _, address = line.partition(" ")
    return interface.rstrip(":").partition("@")[0], address.lower()


def _route(line: str) -> Route:
    """``10.0.0.0/24 eth0`` or ``10.0.0.0/24 eth0 192.168.0.1``."""
    network, _, rest = line.partition(" ")
    interface, _, gateway = rest.partition(" ")
    return Route(network, interface, gateway)
