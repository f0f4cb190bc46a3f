"""Typed outputs: the values that hosts return for later phases and for the operator.

Hosts are not trusted. An output goes to other hosts (the join command, the certificate key, the version) or is kept on
the operator's machine (the kubeconfig). So this module validates each output once, and refuses any other format.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

from kbootstrap import versions
from kbootstrap.events import Connection
from kbootstrap.inventory.models import Inventory
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.kubernetes.kubeadm import JoinCommand, parse_join_command
from kbootstrap.secret import Secret
from kbootstrap.text import printable

MAX_CONNECTIONS = 20_000
"""Most connections that one test of the pod network may report."""
MAX_FIELD = 300
"""Longest text of a connection that is kept, in characters."""

_CERTIFICATE_KEY = re.compile(r"[0-9a-f]{64}\Z")


@dataclass(frozen=True)
class Outputs:
    """The outputs of a run so far; None: no phase has returned it yet.

    ``nodes`` and ``pods`` are the rows of ``kubectl get``, one per line, as the host printed them.
    """

    kubernetes_version: str | None = None
    join: JoinCommand | None = None
    certificate_key: Secret | None = None
    kubeconfig: Secret | None = None
    nodes: str | None = None
    pods: str | None = None
    connections: tuple[Connection, ...] | None = None


@dataclass(frozen=True)
class PhaseOutput:
    """A validated output; ``secrets`` are the parts of it that must never be shown."""

    name: str
    value: str | Secret | JoinCommand | tuple[Connection, ...]
    secrets: tuple[Secret, ...] = ()

    def added_to(self, outputs: Outputs) -> Outputs:
        """The same outputs with this one."""
        changed: Any = {self.name: self.value}
        return replace(outputs, **changed)


def accept(name: str, text: str, inventory: Inventory) -> PhaseOutput:
    """Validate an output of a host. Raises ValueError or KbootstrapError when its format is wrong."""
    return _READERS[name](text, inventory)


def _version(text: str, inventory: Inventory) -> PhaseOutput:
    minor, exact = versions.parse(text[:100])
    if exact is None or minor != inventory.cluster.minor:
        raise ValueError(f"{printable(text[:100])!r} is not a version of the wanted minor")
    return PhaseOutput("kubernetes_version", exact)


def _join(text: str, inventory: Inventory) -> PhaseOutput:
    """Refuse another endpoint: it would send all other hosts, with the token, to a foreign server."""
    join = parse_join_command(text)
    if join.endpoint.lower() != inventory.endpoint.lower():
        raise ValueError(
            f"its endpoint is {join.endpoint}, but the inventory has {inventory.endpoint}"
            " (cluster.control_plane_endpoint)"
        )
    return PhaseOutput("join", join, (join.token,))


def _certificate_key(text: str, inventory: Inventory) -> PhaseOutput:
    if not _CERTIFICATE_KEY.match(text):
        raise ValueError("a certificate key is 64 hex digits")
    key = Secret(text)
    return PhaseOutput("certificate_key", key, (key,))


def _kubeconfig(text: str, inventory: Inventory) -> PhaseOutput:
    checked = kubeconfig.checked(text, inventory.cluster.name, inventory.endpoint)
    return PhaseOutput("kubeconfig", Secret(checked), (kubeconfig.client_key(checked),))


def _rows(name: str) -> Callable[[str, Inventory], PhaseOutput]:
    """Rows for display. The code that shows them removes control characters."""
    return lambda text, _inventory: PhaseOutput(name, text)


def _connections(text: str, inventory: Inventory) -> PhaseOutput:
    """Rows of ``rows`` in phases/verify/connections.sh. They name hosts of the inventory only."""
    rows = text.splitlines()
    if not rows:
        raise ValueError("no connection was tried")
    if len(rows) > MAX_CONNECTIONS:
        raise ValueError(f"more than {MAX_CONNECTIONS} connections")
    names = {"", *(host.name for host in inventory.hosts)}
    return PhaseOutput("connections", tuple(_connection(row, names) for row in rows))


def _connection(row: str, names: set[str]) -> Connection:
    kind, source, target, state, detail, cause, *more = [*row.split("\t"), *[""] * 5][: max(6, row.count("\t") + 1)]
    hints = get_type_hints(Connection)
    known = kind in get_args(hints["kind"]) and state in get_args(hints["state"]) and {source, target} <= names
    if more or not known or not source:
        raise ValueError(f"{printable(row[:100])!r} is not a connection between hosts of the inventory")
    return Connection(kind, source, target, state, detail[:MAX_FIELD], cause[:MAX_FIELD])  # type: ignore[arg-type]


_READERS: dict[str, Callable[[str, Inventory], PhaseOutput]] = {
    "kubernetes_version": _version,
    "join": _join,
    "certificate_key": _certificate_key,
    "kubeconfig": _kubeconfig,
    "nodes": _rows("nodes"),
    "pods": _rows("pods"),
    "connections": _connections,
}
