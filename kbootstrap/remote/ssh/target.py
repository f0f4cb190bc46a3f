"""The target of a login: a host or a bastion."""

from __future__ import annotations

from dataclasses import dataclass

from kbootstrap.inventory.models import Bastion, Ssh
from kbootstrap.remote.ssh.client_config import Query


@dataclass(frozen=True)
class Target:
    """The target of a login. A bastion uses the known_hosts, policy and timeouts of the host behind it (``common``)."""

    address: str
    login: Ssh | Bastion
    common: Ssh

    @property
    def label(self) -> str:
        return f"bastion {self.address}: " if isinstance(self.login, Bastion) else ""

    @property
    def query(self) -> Query:
        """What to ask ssh_config about it."""
        return Query(self.address, self.login.user, self.login.port)
