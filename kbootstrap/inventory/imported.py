"""What an inventory of another program becomes: hosts and settings of the cluster, and notes for the operator."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from kbootstrap import versions
from kbootstrap.errors import InventoryError
from kbootstrap.inventory.generate import NewHost, port
from kbootstrap.inventory.plain_yaml import Part

MAX_NAMES = 20
"""Names that a note lists."""


@dataclass(frozen=True)
class Imported:
    """``cluster`` has keys of that section; ``notes`` say what was not taken over, and what is left to do."""

    hosts: list[NewHost]
    notes: tuple[str, ...] = ()
    cluster: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Passwords:
    """The passwords that a host has in the other program. They never go to the new file."""

    login: str = ""
    sudo: str = ""


def new_host(name: str, login: Part, address: str, key: str, inner: str) -> NewHost:
    """A worker from a part with ``user`` (default: root) and ``port``, and its private key below ``key``.

    ``inner`` is its address between the nodes. Raises InventoryError that names the place.
    """
    try:
        number = port(login.text("port", default="22"))
    except InventoryError as error:
        raise InventoryError(f"{login.place}.port: {error.message}", error.hint) from None
    user = login.text("user", default="root")
    return NewHost(name, address, False, user, number, login.text(key), "" if inner == address else inner)


def with_variables(hosts: Sequence[NewHost], passwords: Mapping[str, Passwords]) -> tuple[list[NewHost], list[str]]:
    """The hosts with references to variables in place of their passwords, and a note which variables to set."""
    made = []
    for host in hosts:
        own = passwords.get(host.name, Passwords())
        login = _variable("PASSWORD", host.name, own.login, (each.login for each in passwords.values()))
        sudo = _variable("SUDO_PASSWORD", host.name, own.sudo, (each.sudo for each in passwords.values()))
        made.append(replace(host, password=login, sudo_password=sudo))
    names = sorted({name for host in made for name in (host.password, host.sudo_password) if name})
    return made, [f"passwords are not written; before the next command, set {listed(names)}"] if names else []


def _variable(kind: str, host: str, password: str, others: Iterable[str]) -> str:
    """The variable for a host's password: one for all hosts, or one of its own where they differ; empty for none."""
    if not password:
        return ""
    same = len({*others} - {""}) == 1
    return f"KB_{kind}" if same else f"KB_{kind}_{re.sub(r'[^A-Z0-9]', '_', host.upper())}"


def renamed(names: Iterable[str]) -> dict[str, str]:
    """Node names for names of other programs: lower case, with - for what a node name cannot have.

    Raises InventoryError where two of them become the same.
    """
    found: dict[str, str] = {}
    for name in names:
        valid = re.sub(r"[^a-z0-9.-]+", "-", name.lower()).strip("-.")
        other = next((old for old, new in found.items() if new == valid), None)
        if other is not None:
            raise InventoryError(f"the names {other} and {name} both become {valid}", "Rename one of them. [inventory]")
        found[name] = valid
    return found


def renames(names: Mapping[str, str]) -> Iterator[str]:
    """A note about the names that were changed."""
    changed = [f"{old} is now {new}" for old, new in names.items() if old != new]
    if changed:
        yield f"node names have lower-case letters, digits, - and . only: {listed(changed)}"


def named(text: str) -> dict[str, str]:
    """The cluster's name as a key of the cluster, in the form that an inventory needs; nothing for no name."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63].strip("-")
    return {"name": name} if name else {}


def kubernetes(text: str) -> tuple[dict[str, str], list[str]]:
    """The version as a key of the cluster, or a note why it is not taken over. ``v1.30.1+k0s.0`` is 1.30.1."""
    plain = text.partition("+")[0].strip().removeprefix("v")
    if not plain:
        return {}, []
    try:
        versions.parse(plain)
    except ValueError as error:
        return {}, [f"the version is not taken over: {error}"]
    return {"kubernetes": plain}, []


def left_out(where: str, keys: Iterable[str]) -> Iterator[str]:
    """A note about keys that have no place in the new inventory."""
    names = sorted(set(keys))
    if names:
        yield f"not taken over from {where}: {listed(names)}"


def listed(names: Sequence[str]) -> str:
    more = len(names) - MAX_NAMES
    return ", ".join(names[:MAX_NAMES]) + (f" and {more} more" if more > 0 else "")
