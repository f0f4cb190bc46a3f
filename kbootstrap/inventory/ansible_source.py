"""Parses an Ansible inventory: INI, YAML, or the JSON of ``ansible-inventory --list``. Says nothing about clusters."""

from __future__ import annotations

import functools
import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.plain_yaml import plain_yaml

MAX_HOSTS = 5000
_RANGE = re.compile(r"\[(?:(\d+):(\d+)|([a-zA-Z]):([a-zA-Z]))(?::(\d+))?\]")
_SECTION = re.compile(r"\[([^\]:]+)(?::(\w+))?\]")
_YAML_START = re.compile(r"---|\{|[\"']?[\w.-]+[\"']?:(\s|$)")

Variables = dict[str, str]


@dataclass
class AnsibleInventory:
    """Groups and variables. ``members`` and ``children`` have only what is directly in a group."""

    members: dict[str, list[str]] = field(default_factory=dict)
    children: dict[str, list[str]] = field(default_factory=dict)
    of_hosts: dict[str, Variables] = field(default_factory=dict)
    of_groups: dict[str, Variables] = field(default_factory=dict)

    def add_host(self, group: str, name: str, variables: Variables) -> None:
        if not name:
            raise InventoryError(f"the group {group} of the Ansible inventory has a host without a name")
        names = self.members.setdefault(group, [])
        if name not in names:
            names.append(name)
        self.of_hosts.setdefault(name, {}).update(variables)
        if len(self.of_hosts) > MAX_HOSTS:
            raise InventoryError(f"the Ansible inventory has more than {MAX_HOSTS} hosts")

    def hosts(self, group: str) -> list[str]:
        """The hosts of a group and of its child groups, in order."""
        found: dict[str, None] = {}
        for each in self._below(group):
            found.update(dict.fromkeys(self.members.get(each, ())))
        return list(found)

    def _below(self, group: str) -> Iterator[str]:
        """The group and all groups below it, each once."""
        seen: set[str] = set()
        waiting = [group]
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                yield name
                waiting += reversed(self.children.get(name, []))

    def variables(self, host: str) -> Variables:
        """The variables of a host: those of its groups, outer groups first, then its own."""
        found: Variables = {}
        for name, hosts in self._groups:
            if name == "all" or host in hosts:
                found.update(self.of_groups.get(name, {}))
        return found | self.of_hosts.get(host, {})

    @functools.cached_property
    def _groups(self) -> list[tuple[str, frozenset[str]]]:
        """Every group with its hosts, outer groups first. Asked once the whole inventory is read."""
        depths = self._depths()
        names = sorted({*self.members, *self.children, "all"}, key=lambda n: (n != "all", depths.get(n, 0), n))
        return [(name, frozenset(self.hosts(name))) for name in names]

    def _depths(self) -> dict[str, int]:
        """How deep a group lies below others. Rounds are limited, as a group may contain itself."""
        depths: dict[str, int] = {}
        for _ in range(20):
            for parent, names in self.children.items():
                for name in names:
                    depths[name] = min(20, max(depths.get(name, 0), depths.get(parent, 0) + 1))
        return depths


def parse(text: str) -> AnsibleInventory:
    """Parse any of the three forms. Raises InventoryError."""
    lines = [line.strip() for line in text.splitlines()]
    told = [line for line in lines if line and line[0] not in "#;"]
    is_yaml = bool(told) and _YAML_START.match(told[0]) and not any(_SECTION.match(line) for line in told)
    return _from_yaml(text) if is_yaml else _from_ini(lines)


# --- INI -------------------------------------------------------------------------------------------------------------


def _from_ini(lines: list[str]) -> AnsibleInventory:
    made = AnsibleInventory()
    section, kind = "ungrouped", "hosts"
    for number, line in enumerate(lines, start=1):
        if not line or line[0] in "#;":
            continue
        try:
            if line.startswith("["):
                section, kind = _section(line)
                made.members.setdefault(section, [])
            else:
                _add(made, section, kind, line)
        except ValueError as error:
            raise InventoryError(f"line {number} of the Ansible inventory cannot be read: {error}") from None
    return made


def _section(line: str) -> tuple[str, str]:
    """The name and the kind of a section. Raises ValueError."""
    header = _SECTION.fullmatch(line.partition("#")[0].strip())
    kind = "hosts" if header is None else header[2] or "hosts"
    if header is None or kind not in ("hosts", "vars", "children"):
        raise ValueError(f"{line!r} is not [GROUP], [GROUP:vars] or [GROUP:children]")
    return header[1].strip(), kind


def _add(made: AnsibleInventory, section: str, kind: str, line: str) -> None:
    """Add a line of a section. Raises ValueError."""
    if kind == "vars":
        key, equals, value = line.partition("=")
        if not equals:
            raise ValueError(f"{line!r} is not KEY=VALUE")
        made.of_groups.setdefault(section, {})[key.strip()] = _unquoted(value.strip())
        return
    words = shlex.split(line, comments=True)
    if not words or not words[0]:
        raise ValueError("it has no host name")
    if kind == "children":
        made.children.setdefault(section, []).append(words[0])
        return
    wrong = next((word for word in words[1:] if "=" not in word), None)
    if wrong is not None:
        raise ValueError(f"{wrong!r} is not KEY=VALUE")
    _add_line(made, section, words)


def _unquoted(value: str) -> str:
    return value[1:-1] if re.fullmatch(r"'[^']*'|\"[^\"]*\"", value) else value


def _add_line(made: AnsibleInventory, group: str, words: list[str]) -> None:
    """A line NAME[:PORT] KEY=VALUE..."""
    place = re.fullmatch(r"(.*?)(?::(\d+))?", words[0])
    pattern, port = (place[1], place[2]) if place is not None and not words[0].endswith("]") else (words[0], None)
    variables = {} if port is None else {"ansible_port": port}
    pairs = (word.partition("=") for word in words[1:])
    variables |= {key: value for key, _, value in pairs}
    for name in _unfold(pattern):
        made.add_host(group, name, variables)


def _unfold(name: str) -> list[str]:
    """``node[1:3]`` as node1, node2, node3; leading zeros stay. Letters, steps and several ranges work too."""
    match = _RANGE.search(name)
    if match is None:
        return [name]
    step = int(match[5] or 1)
    first, last = (int(match[1]), int(match[2])) if match[1] else (ord(match[3]), ord(match[4]))
    if not 0 <= last - first <= MAX_HOSTS or step < 1:
        raise InventoryError(f"{name}: the range is empty or too large")
    numbers = range(first, last + 1, step)
    words = [str(number).zfill(len(match[1])) if match[1] else chr(number) for number in numbers]
    names = [name[: match.start()] + word + rest for word in words for rest in _unfold(name[match.end() :])]
    if len(names) > MAX_HOSTS:
        raise InventoryError(f"{name}: the range is too large")
    return names


# --- YAML ------------------------------------------------------------------------------------------------------------


def _from_yaml(text: str) -> AnsibleInventory:
    data = plain_yaml(text, "the Ansible inventory")
    made = AnsibleInventory()
    for name, group in _mapping(data, "the Ansible inventory").items():
        if name == "_meta":
            hosts = _mapping(_mapping(group, name).get("hostvars", {}), "hostvars")
            made.of_hosts.update({host: _texts(variables, host) for host, variables in hosts.items()})
        else:
            _add_group(made, name, group)
    return made


def _add_group(made: AnsibleInventory, name: str, group: Any) -> None:
    made.members.setdefault(name, [])
    # In the JSON of old inventory scripts a group may be a list of its hosts.
    parts = {"hosts": group} if isinstance(group, list) else _mapping(group, name)
    made.of_groups.setdefault(name, {}).update(_texts(parts.get("vars", {}), name))
    for pattern, variables in _named(parts.get("hosts"), name):
        for host in _unfold(pattern):
            made.add_host(name, host, _texts(variables, host))
    for child, content in _named(parts.get("children"), name):
        made.children.setdefault(name, []).append(child)
        _add_group(made, child, content)


def _named(value: Any, place: str) -> list[tuple[str, Any]]:
    """A mapping, or a list of names without content."""
    if isinstance(value, list):
        return [(str(name), {}) for name in value]
    return list(_mapping(value, place).items())


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise InventoryError(f"{place} in the Ansible inventory is not a mapping")
    return value


def _texts(variables: Any, place: str) -> Variables:
    """The variables. Lists and mappings count as set, without a value that we use."""
    pairs = _mapping(variables, place).items()
    return {key: value if isinstance(value, str) else "" for key, value in pairs if value is not None}
