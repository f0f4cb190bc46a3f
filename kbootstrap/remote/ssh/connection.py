"""Opens SSH connections with fabric, with our own rules for host keys, logins, algorithms and bastions.

fabric accepts unknown and changed host keys by default: it never loads known_hosts and sets an auto-add policy. It also
offers every key it finds and opens bastions without a deadline. So fabric only holds the connection. Our own code
reads ssh_config, connects, checks the host key and logs in, for hosts and for bastions. This module imports fabric and
paramiko; import it lazily.
"""

from __future__ import annotations

import errno
import functools
import socket
import time
from dataclasses import dataclass
from typing import Any

import fabric
import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Bastion, Host
from kbootstrap.remote.ssh.authentication import Login
from kbootstrap.remote.ssh.bastions import bastion_connection, way
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.ssh.explain import explained
from kbootstrap.remote.ssh.host_keys import HostKeyCheck
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import NoDelaySocket, ProxySocket, WatchedSocket
from kbootstrap.remote.ssh.target import Target


def open_connection(
    host: Host, shared: SshShared, early: NoDelaySocket | OSError | None, *, began: float, again: bool
) -> fabric.Connection:
    """An open, authenticated connection to an inventory host; the caller closes its client. Raises ConnectError.

    ``early`` is the result of ``sockets.connect_early``, which ``began`` then. ``again`` allows a second try.
    """
    try:
        target = Target(host.address, host.ssh, host.ssh)
        return _open(target, way(target, host.ssh.bastions, shared), shared, early, began=began, again=again)
    except ConnectError as error:
        if isinstance(early, NoDelaySocket):
            early.close()
        raise type(error)(f"{host.name}: {error.message}", error.hint) from error


def _open(
    target: Target,
    bastions: tuple[Bastion, ...],
    shared: SshShared,
    early: NoDelaySocket | OSError | None = None,
    *,
    began: float | None = None,
    again: bool = True,
) -> fabric.Connection:
    settings = shared.client_config(target.common.config, target.query)
    began = began or time.monotonic()
    try:
        return _Attempt(target, settings, bastions, shared, target.common.connect_timeout).open(early)
    except ConnectError as error:
        left = round(target.common.connect_timeout - (time.monotonic() - began) - shared.timeouts.retry, 1)
        if not again or left < shared.timeouts.retry or not _may_go_away(error.__cause__):
            raise
    time.sleep(shared.timeouts.retry)
    return _Attempt(target, settings, bastions, shared, left).open()


def _may_go_away(cause: BaseException | None) -> bool:
    """Whether nothing answered as an SSH server yet: sshd restarts, has no room for us, or a name server is busy."""
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    if isinstance(cause, OSError):
        return cause.errno in (errno.ECONNREFUSED, errno.ECONNRESET)
    return isinstance(cause, paramiko.SSHException) and "protocol banner" in str(cause)


@dataclass
class _Attempt:
    """One try to connect and log in, within ``seconds`` until the login."""

    target: Target
    settings: ClientConfig
    bastions: tuple[Bastion, ...]
    shared: SshShared
    seconds: float
    watched: WatchedSocket | None = None
    protocol: SshProtocol | None = None

    def open(self, early: NoDelaySocket | OSError | None = None) -> fabric.Connection:
        """Raises ConnectError."""
        connection = fabric.Connection(
            self.settings.host,
            user=self.settings.user,
            port=self.settings.port,
            config=self.shared.fabric_config(),
            gateway=False,
            forward_agent=False,
        )
        user, port = connection.user, connection.port
        login = Login(self.target, user, port, self.settings, self.shared)
        check = HostKeyCheck(self.target, port, self.settings, self.shared)
        try:
            if isinstance(early, OSError):
                raise early
            self.watched = WatchedSocket(early or self._socket(user, port), self.shared.timeouts)
            self.watched.limit(self.seconds)
            connection.client.set_missing_host_key_policy(check)
            connection.connect_kwargs = {
                "sock": self.watched,
                "auth_strategy": login,
                "banner_timeout": self.seconds + 1,  # the limit of WatchedSocket comes first
                "transport_factory": functools.partial(self._protocol, check),
            }
            connection.open()
            connection.transport.watch()
        except BaseException as error:
            connection.client.close()
            if self.watched is not None:
                self.watched.close()
            if not isinstance(error, Exception):
                raise
            place = f"{user}@{connection.host}:{port}"
            raise explained(error, self.target, place, self.watched, self.protocol) from error
        return connection

    def _protocol(self, check: HostKeyCheck, wire: WatchedSocket, **_: Any) -> SshProtocol:
        self.protocol = SshProtocol.make(wire, check.known_kinds, self.target.login)
        return self.protocol

    def _socket(self, user: str, port: int) -> Any:
        """The socket to the target: TCP, a bastion's channel, or a ProxyCommand."""
        if self.bastions:
            bastion = bastion_connection(
                self.bastions, self.target.common, self.shared, lambda hop, before: _open(hop, before, self.shared)
            )
            return bastion.channel(self.settings.host, port, self.seconds)
        # Behind a bastion of the inventory, ssh_config's ProxyCommand is not used.
        if self.settings.proxy_command:
            return ProxySocket.open(self.settings.proxy(user, port))
        return NoDelaySocket.open(self.settings.host, port, self.seconds)
