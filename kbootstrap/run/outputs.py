"""What hosts hand over to later phases and to the operator: every value has exactly its form, or is refused.

Hosts are not trusted. A value goes to other hosts (the join command, the certificate key, the version) or is kept on
the operator's machine (the kubeconfig), so nothing of it is passed on that was not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from kbootstrap import kubeconfig_file, versions
from kbootstrap.kubeadm import parse_join_command
from kbootstrap.model import Param, Secret
from kbootstrap.redact import printable

if TYPE_CHECKING:
    from kbootstrap.inventory import Inventory

_CERTIFICATE_KEY = re.compile(r"[0-9a-f]{64}\Z")


def accept(name: str, text: str, inventory: Inventory) -> Param:
    """The value as it is kept. Raises ValueError or KbootstrapError when it is not what it should be."""
    return _KNOWN[name](text, inventory)


def secrets_in(name: str, value: Param) -> Iterator[Secret]:
    """The parts of an accepted value that must never be shown."""
    if not isinstance(value, Secret):
        return
    if name == "join":
        yield parse_join_command(value.reveal()).token
    elif name == "certificate_key":
        yield value
    elif name == "kubeconfig":
        yield kubeconfig_file.client_key(value.reveal())


def _version(text: str, inventory: Inventory) -> str:
    minor, exact = versions.parse(text[:100])
    if exact is None or minor != inventory.cluster.minor:
        raise ValueError(f"{printable(text[:100])!r} is not a version of the wanted minor")
    return exact


def _join(text: str, inventory: Inventory) -> Secret:
    """A foreign endpoint would send every other host, with its token, somewhere else."""
    endpoint = parse_join_command(text).endpoint
    if endpoint.lower() != inventory.endpoint.lower():
        raise ValueError(
            f"its endpoint is {endpoint}, the inventory's is {inventory.endpoint} (cluster.control_plane_endpoint)"
        )
    return Secret(text)


def _certificate_key(text: str, inventory: Inventory) -> Secret:
    if not _CERTIFICATE_KEY.match(text):
        raise ValueError("a certificate key is 64 hex digits")
    return Secret(text)


def _kubeconfig(text: str, inventory: Inventory) -> Secret:
    return Secret(kubeconfig_file.checked(text, inventory.cluster.name, inventory.endpoint))


def _lines(text: str, inventory: Inventory) -> Secret:
    """Text for people, made printable where it is shown."""
    return Secret(text)


_KNOWN: dict[str, Callable[[str, Inventory], Param]] = {
    "kubernetes_version": _version,
    "join": _join,
    "certificate_key": _certificate_key,
    "kubeconfig": _kubeconfig,
    "nodes": _lines,
    "pods": _lines,
}
