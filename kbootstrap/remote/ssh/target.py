"""Where a login goes: a host or a bastion."""

from __future__ import annotations

from dataclasses import dataclass

from kbootstrap.inventory.models import Bastion, Ssh


@dataclass(frozen=True)
class Target:
    """Where to log in: a host, or a bastion, whose known_hosts, policy and timeouts are those of the host behind it."""

    address: str
    login: Ssh | Bastion
    common: Ssh

    @property
    def label(self) -> str:
        return f"bastion {self.address}: " if isinstance(self.login, Bastion) else ""
