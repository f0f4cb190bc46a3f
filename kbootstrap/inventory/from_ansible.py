"""Hosts from an Ansible inventory in INI form."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.generate import NewHost, checked, port

_RANGE = re.compile(r"\[(\d+):(\d+)\]")
_CONTROL_PLANE_GROUPS = ("kube_control_plane", "kube-control-plane", "kube_master", "kube-master", "masters", "master")
_WORKER_GROUPS = ("kube_node", "kube-node", "workers", "worker", "nodes")


def from_ansible(text: str) -> list[NewHost]:
    """Hosts from an Ansible inventory in INI form. Uses the group names of kubespray and similar projects."""
    groups, variables, group_variables = _ansible_groups(text)
    control_planes = _members(groups, _CONTROL_PLANE_GROUPS)
    workers = [name for name in _members(groups, _WORKER_GROUPS) if name not in control_planes]
    if not control_planes:
        raise InventoryError(
            "this Ansible inventory has no group of control plane hosts",
            f"Add one of the groups {', '.join(_CONTROL_PLANE_GROUPS)}.",
        )
    hosts = []
    for name in [*control_planes, *workers]:
        known = dict(group_variables.get("all", {}))
        for group, names in groups.items():
            if name in names:
                known.update(group_variables.get(group, {}))
        known.update(variables.get(name, {}))
        hosts.append(
            NewHost(
                name,
                known.get("ansible_host", known.get("ansible_ssh_host", name)),
                name in control_planes,
                known.get("ansible_user", known.get("ansible_ssh_user", "")),
                port(known.get("ansible_port", known.get("ansible_ssh_port", "22"))),
                known.get("ansible_ssh_private_key_file", known.get("ansible_private_key_file", "")),
            )
        )
    return checked(hosts, len(control_planes))


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
            raise InventoryError(f"line {number} of the Ansible inventory has no host name")
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
    """The hosts of a group and of its child groups. A group that contains itself is visited once."""
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
        raise InventoryError(f"{name}: the range is too large")
    numbers = range(int(first), int(last) + 1)
    return [name[: match.start()] + str(n).zfill(len(first)) + name[match.end() :] for n in numbers]


def _members(groups: Groups, names: Iterable[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        found += [host for host in groups.get(name, []) if host not in found]
    return found
