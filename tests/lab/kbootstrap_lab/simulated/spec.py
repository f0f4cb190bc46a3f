"""The specification of a simulated host: plain data that the lab's daemon sends as JSON to the supervisor."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

NETWORK = ipaddress.IPv4Network("192.168.0.0/16")
"""The simulated network of the hosts. It exists only in their stand-ins: no packet is ever sent there."""


@dataclass(frozen=True)
class Spec:
    """One host.

    ``index`` counts from 0 within the lab and decides its addresses and ids. ``state`` is ``dirty`` (as a provider or
    the last administrator left it) or ``clean`` (hostname, swap, SELinux, firewall and time as Kubernetes needs them).
    ``sudo`` is ``none``, ``passwordless`` or ``password``; for ``password``, ``sudo_hash`` is ``SALT:SHA256`` of salt
    and password. A host with a ``snapshot`` is restored from the files of ``save`` instead of built and booted.
    """

    name: str
    index: int
    distribution: str
    state: str = "dirty"
    user: str = "root"
    sudo: str = "none"
    sudo_hash: str = ""
    snapshot: bool = False

    @property
    def ip(self) -> str:
        """The host's own address, on its simulated eth0: 192.168.1.10 for the first one."""
        subnet, number = divmod(self.index, 240)
        return f"192.168.{subnet + 1}.{number + 10}"

    @property
    def mac(self) -> str:
        return f"52:54:00:4b:{self.index // 256:02x}:{self.index % 256:02x}"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Spec:
        return cls(**data)
