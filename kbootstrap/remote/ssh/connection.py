"""Opens SSH connections with fabric, with our own rules for host keys, logins, algorithms and bastions.

fabric accepts unknown and changed host keys by default: it never loads known_hosts and sets an auto-add policy. It also
offers every key it finds and opens bastions without a deadline. So fabric only reads ssh_config and holds the
connection. Our own code connects, checks the host key and logs in, for hosts and for bastions. This module imports
fabric and paramiko; import it lazily.
"""

from __future__ import annotations

import socket
from typing import Any

import fabric
import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Bastion, Host
from kbootstrap.remote.ssh.authentication import Login
from kbootstrap.remote.ssh.bastions import bastion_connection, jumps
from kbootstrap.remote.ssh.host_keys import HostKeyCheck
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import NoDelaySocket, ProxySocket, WatchedSocket
from kbootstrap.remote.ssh.target import Target


def open_connection(host: Host, shared: SshShared, early: NoDelaySocket | OSError | None = None) -> fabric.Connection:
    """An open, authenticated connection to an inventory host; the caller closes its client. Raises ConnectError.

    ``early`` is the result of ``sockets.connect_early``.
    """
    try:
        return _open(Target(host.address, host.ssh, host.ssh), host.ssh.bastions, shared, early)
    except ConnectError as error:
        if isinstance(early, NoDelaySocket):
            early.close()
        raise type(error)(f"{host.name}: {error.message}", error.hint) from error


def _open(
    target: Target, bastions: tuple[Bastion, ...], shared: SshShared, early: NoDelaySocket | OSError | None = None
) -> fabric.Connection:
    try:
        connection = fabric.Connection(
            target.address,
            user=target.login.user,
            port=target.login.port,
            config=shared.config(target.common.config),
            gateway=False,
            forward_agent=False,
        )
    except ValueError as error:
        raise ConnectError(
            f"{target.common.config}: {error}", "Correct that file, or set ssh.config: null in the inventory."
        ) from None
    login = Login(target, connection, shared)
    check = HostKeyCheck(target, connection, shared)
    watched: WatchedSocket | None = None
    try:
        if isinstance(early, OSError):
            raise early
        watched = WatchedSocket(early or _socket(target, connection, bastions, shared), shared.timeouts)
        watched.limit(target.common.connect_timeout)
        connection.client.set_missing_host_key_policy(check)
        connection.connect_kwargs = {
            "sock": watched,
            "auth_strategy": login,
            "banner_timeout": target.common.connect_timeout + 1,  # the limit of WatchedSocket comes first
            "transport_factory": lambda sock, **_: SshProtocol.make(sock, check.known_kinds, target.login),
        }
        connection.open()
        connection.transport.watch()
    except BaseException as error:
        connection.client.close()
        if watched is not None:
            watched.close()
        if not isinstance(error, Exception):
            raise
        raise _explain(error, target, connection, watched) from error
    return connection


def _socket(target: Target, connection: fabric.Connection, bastions: tuple[Bastion, ...], shared: SshShared) -> Any:
    """The socket to the target: TCP, a bastion's channel, or a ProxyCommand."""
    hops = bastions or jumps(target, connection)
    timeout = target.common.connect_timeout
    if hops:
        bastion = bastion_connection(hops, target.common, shared, lambda hop, before: _open(hop, before, shared))
        return bastion.channel(connection.host, connection.port, timeout)
    command = connection.ssh_config.get("proxycommand", "none")
    # A bastion of the inventory is reached directly; ssh_config's ProxyCommand is for the host behind it.
    if command.lower() != "none":
        return ProxySocket.open(command)
    return NoDelaySocket.open(connection.host, connection.port, timeout)


def _explain(
    error: Exception, target: Target, connection: fabric.Connection, watched: WatchedSocket | None
) -> ConnectError:
    """Convert an exception of the socket or SSH layer to a message for the user."""
    if isinstance(error, ConnectError):
        return error
    place = f"{connection.user}@{connection.host}:{connection.port}"
    what, hint = _meaning(error, watched, target)
    return ConnectError(f"{target.label}{what} ({place})", hint.format(port=connection.port, host=connection.host))


def _meaning(error: Exception, watched: WatchedSocket | None, target: Target) -> tuple[str, str]:
    late = f"no answer within {target.common.connect_timeout} s"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}", "Check the address in the inventory or in ssh_config."
    if watched is None and isinstance(error, TimeoutError):
        return late, "Check that the host is up, the address is right, and firewalls allow port {port}."
    if watched is not None and watched.lost:
        return watched.lost, "Check that it is an SSH server and not overloaded: ssh -v -p {port} {host}"
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"login refused: {error}",
            "Check ssh.user, ssh.key, ssh.password, and that the key is in the host's authorized_keys.",
        )
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Check that sshd is running on the host, and check ssh.port."
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return (
            f"no algorithm in common: {error}",
            "If the host has an old SSH server, set ssh.legacy_algorithms: true.",
        )
    if isinstance(error, (paramiko.SSHException, EOFError)):
        return f"SSH failed: {error or 'closed by the server'}", "Run: ssh -v -p {port} {host}"
    if isinstance(error, OSError):
        return f"{error.strerror or error}", "Check the address and the network between."
    raise error
