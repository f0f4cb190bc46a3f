"""Writes a new inventory, from user@host arguments or from what another program's file says."""

from __future__ import annotations

import ipaddress
import json
import re
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from types import MappingProxyType

import yaml

from kbootstrap import versions
from kbootstrap.errors import InventoryError
from kbootstrap.text import counted

_TARGET = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?\Z")

MAX_MISTAKES = 20
CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")


@dataclass(frozen=True)
class NewBastion:
    """A jump host for a new inventory."""

    address: str
    user: str = ""
    port: int = 22
    key: str = ""


@dataclass(frozen=True)
class NewHost:
    """A host for a new inventory. ``password`` and ``sudo_password`` are names of variables, never the secrets."""

    name: str
    address: str
    control_plane: bool
    user: str = ""
    port: int = 22
    key: str = ""
    internal_address: str = ""
    trusted_at_first: bool = False
    password: str = ""
    sudo_password: str = ""
    schedulable: bool = False
    bastions: tuple[NewBastion, ...] = ()


def from_targets(targets: Sequence[str], control_planes: int) -> list[NewHost]:
    """Hosts from targets like ``root@192.168.1.10:22``; the first ``control_planes`` are control plane hosts."""
    hosts = []
    for index, target in enumerate(targets):
        match = _TARGET.match(target)
        if match is None:
            raise InventoryError(f"{target!r} is not a host", "Write user@address, or user@address:port. [inventory]")
        name = f"cp{index + 1}" if index < control_planes else f"w{index + 1 - control_planes}"
        hosts.append(
            NewHost(name, match["host"], index < control_planes, match["user"] or "", port(match["port"] or "22"))
        )
    return checked(hosts, control_planes)


def port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65536:
        raise InventoryError(f"{text!r} is not a port")
    return int(text)


def checked(hosts: list[NewHost], control_planes: int) -> list[NewHost]:
    if not hosts:
        raise InventoryError("the input has no hosts")
    if control_planes > len(hosts):
        raise InventoryError(f"{control_planes} control plane hosts requested, but only {counted(len(hosts), 'host')}")
    _check_values(hosts)
    places = [(host.address, host.port) for host in hosts]
    duplicate = next((address for address, port in places if places.count((address, port)) > 1), None)
    if duplicate is not None:
        raise InventoryError(f"duplicate host {duplicate}")
    return hosts


def _check_values(hosts: Sequence[NewHost]) -> None:
    """Names and addresses have the form that an inventory requires. Raises InventoryError with all that do not."""
    wrong = [text for host in hosts for text in _mistakes(host)]
    if wrong:
        more = [f"and {len(wrong) - MAX_MISTAKES} more"] if len(wrong) > MAX_MISTAKES else []
        raise InventoryError(
            "; ".join([*wrong[:MAX_MISTAKES], *more]),
            "Rename these hosts, or write their addresses, where they come from. [inventory]",
        )


def _mistakes(host: NewHost) -> Iterator[str]:
    from pydantic import TypeAdapter, ValidationError

    from kbootstrap.inventory.fields import Address, HostName, ipv4

    places = ((HostName, host.name), (Address, host.address), *((Address, hop.address) for hop in host.bastions))
    for kind, value in places:
        try:
            TypeAdapter(kind).validate_python(value)
        except ValidationError as error:
            yield error.errors()[0]["msg"].removeprefix("Value error, ")
    try:
        ipv4(host.internal_address or "127.0.0.1")
    except ValueError as error:
        yield f"{host.name}: {error}"


# --- addresses -------------------------------------------------------------------------------------------------------


def is_named(host: NewHost) -> bool:
    """Whether the host has a DNS name and its address between the nodes is not known."""
    try:
        ipaddress.ip_address(host.address)
    except ValueError:
        return not host.internal_address
    return False


def look_up(name: str) -> str:
    """The name's IPv4 address; empty when it has none that other hosts can reach."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    address = str(found[0][4][0])
    # /etc/hosts often has a machine's own name at 127.0.1.1.
    return "" if ipaddress.ip_address(address).is_loopback else address


def with_addresses(hosts: Sequence[NewHost], resolve: Callable[[str], str] = look_up) -> list[NewHost]:
    """The hosts with the addresses of their names, where this machine can resolve them."""
    named = [host for host in hosts if is_named(host)]
    with ThreadPoolExecutor(max_workers=32) as pool:
        found = dict(
            zip((host.name for host in named), pool.map(resolve, (host.address for host in named)), strict=True)
        )
    return [replace(host, internal_address=found.get(host.name) or host.internal_address) for host in hosts]


# --- writing ---------------------------------------------------------------------------------------------------------

_HEADER = """\
# yaml-language-server: $schema=https://example.com/kbootstrap/raw/main/docs/inventory.schema.json
# A kbootstrap inventory. Next: kbootstrap plan THIS-FILE, then kbootstrap up THIS-FILE.
# Every key and its meaning: `kbootstrap schema`, a JSON Schema for your editor.
"""


_ENDPOINT = "  # control_plane_endpoint: api.example.com:6443   # for several control plane hosts"
_NETWORKS = {"pod_cidr": "10.244.0.0/16", "service_cidr": "10.96.0.0/12"}


def render(
    hosts: Sequence[NewHost], *, name: str, kubernetes: str, cluster: Mapping[str, str] = MappingProxyType({})
) -> str:
    """The inventory's text, with comments for the common options. ``cluster`` has more keys of that section."""
    try:
        versions.parse(kubernetes)
    except ValueError as error:
        raise InventoryError(str(error)) from None
    if not CLUSTER_NAME.match(name):
        raise InventoryError(f"{name!r} is not a name of lower-case letters, digits and '-'")
    lines = [
        _HEADER,
        "cluster:",
        f"  name: {_plain(name)}",
        f'  kubernetes: "{kubernetes}"            # the newest patch of this minor; or an exact version',
        *([] if "control_plane_endpoint" in cluster else [_ENDPOINT]),
        *(f"  {key}: {_plain(value)}" for key, value in {**_NETWORKS, **cluster}.items()),
        "  # image_repository: registry.aliyuncs.com/google_containers   # a mirror, where registry.k8s.io is slow",
        "",
        *_ssh(hosts),
        "",
        "hosts:",
    ]
    common = _common(hosts)
    for host in hosts:
        lines += [f"  - name: {_plain(host.name)}", f"    address: {_plain(host.address)}"]
        if host.internal_address:
            lines.append(f"    internal_address: {host.internal_address}   # on the network the machines share")
        elif is_named(host):
            lines.append(f"    # TODO internal_address: the IP address of {host.address} among the nodes")
        lines.append(f"    role: {'control-plane' if host.control_plane else 'worker'}")
        if host.schedulable:
            lines.append("    schedulable: true")
        own = {key: value for key, value in _login(host).items() if common.get(key) != value}
        if own:
            lines.append(f"    ssh: {_flow(own)}")
    return "\n".join(lines) + "\n"


_Settings = dict[str, "str | int | list[dict[str, str | int]]"]


def _login(host: NewHost) -> _Settings:
    login: _Settings = {}
    if host.user:
        login["user"] = host.user
    if host.port != 22:
        login["port"] = host.port
    if host.key:
        login["key"] = host.key
    if host.password:
        login["password"] = f"${{env:{host.password}}}"
    if host.user == "root":
        login["sudo"] = "none"
    elif host.sudo_password:
        login["sudo"] = "password"
        login["sudo_password"] = f"${{env:{host.sudo_password}}}"
    if host.bastions:
        hops = (asdict(hop).items() for hop in host.bastions)
        login["bastions"] = [{key: value for key, value in hop if value not in ("", 22)} for hop in hops]
    return login


def _common(hosts: Sequence[NewHost]) -> _Settings:
    """The SSH settings that all hosts share; they go to the ``ssh`` section at the top."""
    first = _login(hosts[0])
    return {key: value for key, value in first.items() if all(_login(host).get(key) == value for host in hosts)}


def _ssh(hosts: Sequence[NewHost]) -> list[str]:
    common = _common(hosts)
    lines = ["ssh:", *(f"  {key}: {_flow(value)}" for key, value in common.items() if key != "sudo")]
    sudo = "passwordless                # or: password, with -K to be asked for it"
    if "sudo" in common:
        sudo = "none                        # the login is root already" if common["sudo"] == "none" else "password"
    policy = "strict           # the hosts must be in known_hosts; or: accept-new"
    if all(host.trusted_at_first for host in hosts):
        policy = "accept-new       # as Vagrant does it; strict: the hosts must be in known_hosts"
    return [*lines, f"  sudo: {sudo}", f"  host_key_policy: {policy}"]


def _flow(value: object) -> str:
    """A value of YAML on one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_flow(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_flow, value)) + "]"
    return _plain(value)  # type: ignore[arg-type]


def _plain(value: str | int) -> str:
    """A YAML scalar that is also valid within {}: plain if it parses to the same value, else a JSON string."""
    text = str(value)
    if re.fullmatch(r"[\w./@~-]+", text, re.ASCII) and yaml.safe_load(text) == value:
        return text
    return json.dumps(value)
