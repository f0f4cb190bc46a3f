"""Bastions: one connection per chain, shared by all hosts behind it, and reopened when it breaks."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable

import fabric
import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Bastion, Ssh
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import SSH_PORT
from kbootstrap.remote.ssh.target import Target

MAX_HOPS = 20
_HOP = re.compile(
    r"(?:ssh://)?(?:(?P<user>[^@]+)@)?(?P<host>\[[^\]]+\]|[^:\[\]]+|[^\[\]]*:[^\[\]]*:[^\[\]]*)(?::(?P<port>\d+))?/?"
)


def jumps(settings: ClientConfig) -> tuple[Bastion, ...]:
    """The ProxyJump of ssh_config. If its pattern also matches the jump host, that host is reached directly."""
    found = []
    for word in filter(None, map(str.strip, settings.proxy_jump.split(","))):
        hop = _HOP.fullmatch(settings.expand(word, settings.user or "", settings.port or SSH_PORT))
        if hop is None:
            raise ConnectError(
                f"ProxyJump {word} is not USER@HOST:PORT", "Correct ProxyJump in your ssh_config. [ssh-config]"
            )
        address = hop["host"].strip("[]")
        if address in (settings.address, settings.host):
            return ()
        port = int(hop["port"]) if hop["port"] else None
        found.append(Bastion.model_construct(address=address, user=hop["user"], port=port))
    return tuple(found)


def way(target: Target, bastions: tuple[Bastion, ...], shared: SshShared) -> tuple[Bastion, ...]:
    """All bastions on the way to a target, in order: those given, else its ProxyJump, and the ProxyJumps of the first.

    Raises ConnectError when they lead in a circle.
    """
    hops = bastions or jumps(shared.client_config(target.common.config, target.query))
    while hops:
        first = Target(hops[0].address, hops[0], target.common)
        before = jumps(shared.client_config(target.common.config, first.query))
        passed = [hop.address for hop in hops] + [target.address]
        if any(hop.address in passed for hop in before) or len(hops) > MAX_HOPS:
            names = " -> ".join([*(hop.address for hop in before), *passed])
            raise ConnectError(
                f"ProxyJump leads in a circle: {names}", "Correct ProxyJump in your ssh_config. [ssh-config]"
            )
        if not before:
            break
        hops = before + hops
    return hops


Connect = Callable[[Target, tuple[Bastion, ...]], fabric.Connection]
"""Opens a connection to a target through bastions."""


def bastion_connection(
    bastions: tuple[Bastion, ...], common: Ssh, shared: SshShared, connect: Connect
) -> BastionConnection:
    """The connection to the last of these bastions, shared by all hosts with the same bastions and SSH settings."""
    *before, last = bastions
    key = (bastions, common.config, common.known_hosts, common.host_key_policy, common.agent, common.connect_timeout)
    target = Target(last.address, last, common)
    return shared.bastion(key, lambda: BastionConnection(target, lambda: connect(target, tuple(before))))


class BastionConnection:
    """A connection to a bastion. It is opened when a host needs it, and reopened when it broke."""

    def __init__(self, target: Target, make: Callable[[], fabric.Connection]) -> None:
        self._target = target
        self._make = make
        self._lock = threading.Lock()
        self._connection: fabric.Connection | None = None
        self._refused: ConnectError | None = None
        self._refused_at = 0.0

    def channel(self, address: str, port: int, timeout: float) -> paramiko.Channel:
        """A channel to a host behind the bastion. Raises ConnectError."""
        connection = self._open(time.monotonic())
        try:
            return self._ask(connection, address, port, timeout)
        except (EOFError, OSError):
            # The connection broke earlier; this is the first use since then.
            self._forget(connection)
        connection = self._open(time.monotonic())
        try:
            return self._ask(connection, address, port, timeout)
        except (EOFError, OSError) as error:
            raise self._not_reached(address, port, connection.transport.sock.lost or "its connection broke") from error

    def _ask(self, connection: fabric.Connection, address: str, port: int, timeout: float) -> paramiko.Channel:
        """Raises ConnectError when the bastion refuses or does not answer, EOFError or OSError when it is lost."""
        transport: SshProtocol = connection.transport
        try:
            return transport.open_channel("direct-tcpip", (address, port), ("", 0), timeout=timeout)
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise ConnectionError(str(error)) from error
            raise self._not_reached(address, port, str(error)) from error

    def _not_reached(self, address: str, port: int, why: str) -> ConnectError:
        return ConnectError(
            f"{self._target.label}cannot reach {address}:{port} from the bastion: {why}",
            "Check that the host is up and that the bastion's sshd has AllowTcpForwarding yes. [bastion]",
        )

    def _open(self, asked: float) -> fabric.Connection:
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            # Hosts that wait for the same bastion share its failure.
            if self._refused is not None and self._refused_at > asked:
                raise self._refused
            self._close()
            try:
                self._connection = self._make()
            except ConnectError as error:
                self._refused, self._refused_at = error, time.monotonic()
                raise
            return self._connection

    def _forget(self, broken: fabric.Connection) -> None:
        with self._lock:
            if self._connection is broken:
                self._close()

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.client.close()
            self._connection = None

    def close(self) -> None:
        with self._lock:
            self._close()
