"""Writing a new inventory: from user@host words, from `vagrant ssh-config`, or from an Ansible inventory."""

from __future__ import annotations

import ipaddress
import json
import re
import shlex
import socket
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import yaml

from kbootstrap import versions
from kbootstrap.model import InventoryError, counted

_TARGET = re.compile(r"(?:(?P<user>[^@\s]+)@)?(?P<host>[A-Za-z0-9._-]+)(?::(?P<port>\d{1,5}))?\Z")
_RANGE = re.compile(r"\[(\d+):(\d+)\]")
_MASTER_GROUPS = ("kube_control_plane", "kube-control-plane", "kube_master", "kube-master", "masters", "master")
_WORKER_GROUPS = ("kube_node", "kube-node", "workers", "worker", "nodes")

CLUSTER_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
VAGRANT_FIRST = ipaddress.IPv4Address("192.168.56.10")
"""The first machine's address on the private network of scripts/vagrant/Vagrantfile; the others follow."""


@dataclass(frozen=True)
class NewHost:
    """A host to be written into an inventory."""

    name: str
    address: str
    master: bool
    user: str = ""
    port: int = 22
    key: str = ""
    internal_address: str = ""
    trusted_at_first: bool = False


def from_targets(targets: Sequence[str], masters: int) -> list[NewHost]:
    """Hosts from words like ``root@192.168.1.10:22``; the first ``masters`` of them are masters."""
    hosts = []
    for index, target in enumerate(targets):
        match = _TARGET.match(target)
        if match is None:
            raise InventoryError(f"{target!r} is not a host", "Write user@address, or user@address:port.")
        name = f"cp{index + 1}" if index < masters else f"w{index + 1 - masters}"
        hosts.append(NewHost(name, match["host"], index < masters, match["user"] or "", _port(match["port"] or "22")))
    return _checked(hosts, masters)


def from_vagrant(text: str, masters: int = 1) -> list[NewHost]:
    """Hosts from the output of `vagrant ssh-config`; the first ``masters`` of them are masters.

    VirtualBox forwards a port of 127.0.0.1 to each machine, and Vagrant does not tell the machine's own address: it is
    taken to be the one scripts/vagrant/Vagrantfile gives. Preflight finds out when it is not.
    """
    sections: list[dict[str, str]] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key.lower() == "host":
            sections.append({"name": value.strip()})
        elif sections and value:
            sections[-1].setdefault(key.lower(), value.strip().strip('"'))
    hosts = [
        NewHost(
            section["name"],
            section.get("hostname", section["name"]),
            index < masters,
            section.get("user", ""),
            _port(section.get("port", "22")),
            section.get("identityfile", ""),
            str(VAGRANT_FIRST + index) if section.get("hostname", "").startswith("127.") else "",
            section.get("stricthostkeychecking") == "no",
        )
        for index, section in enumerate(sections)
    ]
    return _checked(hosts, masters)


def from_ansible(text: str) -> list[NewHost]:
    """Hosts from an Ansible inventory in INI form, by the group names kubespray and others use."""
    groups, variables, group_variables = _ansible_groups(text)
    masters = _members(groups, _MASTER_GROUPS)
    workers = [name for name in _members(groups, _WORKER_GROUPS) if name not in masters]
    if not masters:
        raise InventoryError(
            "this Ansible inventory has no group of masters", f"One of {', '.join(_MASTER_GROUPS)} is needed."
        )
    hosts = []
    for name in [*masters, *workers]:
        known = dict(group_variables.get("all", {}))
        for group, names in groups.items():
            if name in names:
                known.update(group_variables.get(group, {}))
        known.update(variables.get(name, {}))
        hosts.append(
            NewHost(
                name,
                known.get("ansible_host", known.get("ansible_ssh_host", name)),
                name in masters,
                known.get("ansible_user", known.get("ansible_ssh_user", "")),
                _port(known.get("ansible_port", known.get("ansible_ssh_port", "22"))),
                known.get("ansible_ssh_private_key_file", known.get("ansible_private_key_file", "")),
            )
        )
    return _checked(hosts, len(masters))


Groups = dict[str, list[str]]
Variables = dict[str, dict[str, str]]


def _ansible_groups(text: str) -> tuple[Groups, Variables, Variables]:
    """Members per group (children resolved), variables per host, variables per group."""
    groups: Groups = {}
    children: Groups = {}
    variables: Variables = {}
    group_variables: Variables = {}
    section, kind = "all", "hosts"
    for number, line in enumerate(text.splitlines(), start=1):
        line = line.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("["):
            section, _, kind = line.strip("[]").partition(":")
            kind = kind or "hosts"
            groups.setdefault(section, [])
            continue
        try:
            words = shlex.split(line, comments=True)
        except ValueError as error:
            raise InventoryError(f"line {number} of the Ansible inventory cannot be read: {error}") from None
        if not words or not words[0]:
            raise InventoryError(f"line {number} of the Ansible inventory names no host")
        if kind == "children":
            children.setdefault(section, []).append(words[0])
        elif kind == "vars":
            key, _, value = line.partition("=")
            group_variables.setdefault(section, {})[key.strip()] = value.strip().strip("\"'")
        else:
            for name in _unfold(words[0]):
                groups.setdefault(section, []).append(name)
                pairs = (word.partition("=") for word in words[1:] if "=" in word)
                variables.setdefault(name, {}).update({key: value for key, _, value in pairs})
    return {name: _descendants(name, groups, children, set()) for name in groups}, variables, group_variables


def _descendants(group: str, groups: Groups, children: Groups, seen: set[str]) -> list[str]:
    """The hosts of a group and of the groups below it; a group that contains itself is visited once."""
    seen.add(group)
    hosts = list(groups.get(group, []))
    for child in children.get(group, []):
        if child not in seen:
            hosts += _descendants(child, groups, children, seen)
    return hosts


def _unfold(name: str) -> list[str]:
    """``node[1:3]`` as node1, node2, node3; leading zeros stay."""
    match = _RANGE.search(name)
    if match is None:
        return [name]
    first, last = match[1], match[2]
    if int(last) - int(first) > 5000:
        raise InventoryError(f"{name}: that range is too large")
    numbers = range(int(first), int(last) + 1)
    return [name[: match.start()] + str(n).zfill(len(first)) + name[match.end() :] for n in numbers]


def _members(groups: Groups, names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        found += [host for host in groups.get(name, []) if host not in found]
    return found


def _port(text: str) -> int:
    if not re.fullmatch(r"\d{1,5}", text) or not 0 < int(text) < 65536:
        raise InventoryError(f"{text!r} is not a port")
    return int(text)


def _checked(hosts: list[NewHost], masters: int) -> list[NewHost]:
    if not hosts:
        raise InventoryError("there are no hosts in it")
    if masters > len(hosts):
        raise InventoryError(f"{masters} masters are wanted for {counted(len(hosts), 'host')}")
    places = [(host.address, host.port) for host in hosts]
    twice = next((address for address, port in places if places.count((address, port)) > 1), None)
    if twice is not None:
        raise InventoryError(f"{twice} is there twice")
    return hosts


# --- addresses -------------------------------------------------------------------------------------------------------


def is_named(host: NewHost) -> bool:
    """Is it reached by a name, and the address the nodes use among themselves not known?"""
    try:
        ipaddress.ip_address(host.address)
    except ValueError:
        return not host.internal_address
    return False


def look_up(name: str) -> str:
    """The name's IPv4 address; empty when it has none that other hosts could use."""
    try:
        found = socket.getaddrinfo(name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ""
    address = str(found[0][4][0])
    # /etc/hosts often has a machine's own name at 127.0.1.1.
    return "" if ipaddress.ip_address(address).is_loopback else address


def with_addresses(hosts: Sequence[NewHost], resolve: Callable[[str], str] = look_up) -> list[NewHost]:
    """The hosts with the addresses of their names, as far as this machine can find them."""
    named = [host for host in hosts if is_named(host)]
    with ThreadPoolExecutor(max_workers=32) as pool:
        found = dict(
            zip((host.name for host in named), pool.map(resolve, (host.address for host in named)), strict=True)
        )
    return [replace(host, internal_address=found.get(host.name) or host.internal_address) for host in hosts]


# --- writing ---------------------------------------------------------------------------------------------------------

_HEADER = """\
# A kbootstrap inventory. Next: kbootstrap plan THIS-FILE, then kbootstrap up THIS-FILE.
# Every key and its meaning: docs/inventory.md, or `kbootstrap schema` for your editor.
"""


def render(hosts: Sequence[NewHost], *, name: str, kubernetes: str) -> str:
    """The inventory's text, with comments where a choice is likely."""
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
        "  # control_plane_endpoint: api.example.com:6443   # a name or a virtual address, for more than one master",
        "  pod_cidr: 10.244.0.0/16",
        "  service_cidr: 10.96.0.0/12",
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
        lines.append(f"    role: {'master' if host.master else 'worker'}")
        own = {key: value for key, value in _login(host).items() if common.get(key) != value}
        if own:
            lines.append("    ssh: {" + ", ".join(f"{key}: {_plain(value)}" for key, value in own.items()) + "}")
    return "\n".join(lines) + "\n"


def _login(host: NewHost) -> dict[str, str | int]:
    login: dict[str, str | int] = {}
    if host.user:
        login["user"] = host.user
    if host.port != 22:
        login["port"] = host.port
    if host.key:
        login["key"] = host.key
    return login


def _common(hosts: Sequence[NewHost]) -> dict[str, str | int]:
    """What all hosts share; it goes to the top once."""
    first = _login(hosts[0])
    return {key: value for key, value in first.items() if all(_login(host).get(key) == value for host in hosts)}


def _ssh(hosts: Sequence[NewHost]) -> list[str]:
    common = _common(hosts)
    lines = ["ssh:", *(f"  {key}: {_plain(value)}" for key, value in common.items())]
    sudo = "none                        # the login is root already"
    if common.get("user") != "root":
        sudo = "passwordless                # or: password, with -K to be asked for it"
    policy = "strict           # the hosts must be in known_hosts; or: accept-new"
    if all(host.trusted_at_first for host in hosts):
        policy = "accept-new       # as Vagrant does it; strict: the hosts must be in known_hosts"
    return [*lines, f"  sudo: {sudo}", f"  host_key_policy: {policy}"]


def _plain(value: str | int) -> str:
    """A YAML scalar, also within {}: as it is when it reads back as itself, else quoted as JSON, which YAML reads."""
    text = str(value)
    if re.fullmatch(r"[\w./@~-]+", text, re.ASCII) and yaml.safe_load(text) == value:
        return text
    return json.dumps(value)
