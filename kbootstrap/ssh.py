"""Opening SSH connections with fabric, under our own host key policy.

fabric accepts unknown and changed host keys by default (it never loads known_hosts and sets an auto-add policy), so
every client of a chain, bastions included, gets ``HostKeyPolicy`` before it connects. This module imports fabric and
paramiko; import it lazily.
"""

from __future__ import annotations

import functools
import socket
from typing import TYPE_CHECKING, Any

import fabric
import paramiko

from kbootstrap.model import ConnectError
from kbootstrap.transport import KEEPALIVE_S, KnownHosts, LeanSocket, SshShared

if TYPE_CHECKING:
    from kbootstrap.inventory import Bastion, Host

_KEX_FIRST = ("curve25519-sha256@libssh.org", "curve25519-sha256")
"""Key exchanges tried first: a third of the CPU of the group exchanges."""


class HostKeyPolicy(paramiko.MissingHostKeyPolicy):
    """Decides on every host key: pinned fingerprint, known_hosts, and what the inventory says of unknown hosts.

    paramiko calls it for each connection because its own known_hosts stay empty.
    """

    def __init__(self, host: str, known: KnownHosts, policy: str, fingerprint: str | None) -> None:
        self._host = host
        self._known = known
        self._policy = policy
        self._fingerprint = fingerprint

    def known_types(self, name: str) -> set[str]:
        return set(self._known.lookup(name))

    def missing_host_key(self, client: paramiko.SSHClient, name: str, key: paramiko.PKey) -> None:
        shown = key.fingerprint
        if self._fingerprint is not None:
            if shown != self._fingerprint:
                raise ConnectError(
                    f"{self._host}: the host key is {shown}, the inventory pins {self._fingerprint}",
                    "If the host was reinstalled, put its new fingerprint into the inventory; otherwise someone may be"
                    " listening in.",
                )
            return
        known = self._known.lookup(name)
        if key in known.values():
            return
        if known:
            expected = ", ".join(k.fingerprint for k in known.values())
            raise ConnectError(
                f"{self._host}: the host key has changed: it is {shown} ({key.get_name()}), {self._known.path} has"
                f" {expected}",
                f"If the host was reinstalled: ssh-keygen -f {self._known.path} -R '{name}', then connect once with ssh"
                " and compare the fingerprint. Otherwise someone may be listening in.",
            )
        if self._policy != "accept-new":
            raise ConnectError(
                f"{self._host}: the host is not in {self._known.path}; its key is {shown} ({key.get_name()})",
                "Connect once with ssh and compare the fingerprint, or pin it (ssh.fingerprint), or set"
                " ssh.host_key_policy: accept-new.",
            )
        self._known.accept(name, key)


def open_connection(host: Host, shared: SshShared) -> fabric.Connection:
    """An open, authenticated connection to an inventory host; the caller closes it."""
    ssh = host.ssh
    connection = _connection(host.name, host.address, ssh, shared)
    if ssh.bastions:
        connection.gateway = shared.gateway(ssh.bastions, lambda: _bastions(ssh.bastions, host, shared))
    _guard_config_gateways(connection.gateway, host, shared)
    if connection.gateway is None:
        connection.connect_kwargs["sock"] = LeanSocket.open(connection.host, connection.port, ssh.connect_timeout)
    try:
        connection.open()
    except BaseException:
        if "sock" in connection.connect_kwargs:
            connection.connect_kwargs["sock"].close()
        raise
    connection.transport.set_keepalive(KEEPALIVE_S)
    return connection


def _connection(label: str, address: str, ssh: Any, shared: SshShared) -> fabric.Connection:
    """A fabric connection, not yet open. ``ssh`` is the ssh section of a host or of a bastion."""
    connection = fabric.Connection(
        address,
        user=ssh.user,
        port=ssh.port,
        config=shared.config(getattr(ssh, "config", None)),
        forward_agent=False,
        connect_timeout=int(getattr(ssh, "connect_timeout", 0) or 10),
        connect_kwargs=_credentials(ssh, shared),
    )
    _guard(connection, label, ssh, shared)
    return connection


def _credentials(ssh: Any, shared: SshShared) -> dict[str, Any]:
    """Only what the inventory names is offered, so that no server sees five wrong keys before the right one."""
    use_agent = bool(getattr(ssh, "agent", True))
    named = ssh.key is not None or ssh.password is not None
    credentials: dict[str, Any] = {
        "allow_agent": use_agent and not named,
        "look_for_keys": not named,
        "transport_factory": _transport,
    }
    if ssh.key is not None:
        credentials["pkey"] = shared.key(ssh.key, ssh.passphrase)
    if ssh.password is not None:
        credentials["password"] = ssh.password.reveal()
    return credentials


def _transport(sock: Any, disabled_algorithms: dict[str, list[str]] | None = None) -> paramiko.Transport:
    transport = paramiko.Transport(sock, disabled_algorithms=disabled_algorithms)
    options = transport.get_security_options()
    kex = list(options.kex)
    options.kex = [k for k in _KEX_FIRST if k in kex] + [k for k in kex if k not in _KEX_FIRST]
    return transport


def _guard(connection: fabric.Connection, label: str, ssh: Any, shared: SshShared) -> None:
    """Give the connection our policy, and ask the server for a key of a type we already know."""
    policy = HostKeyPolicy(
        label,
        shared.known_hosts(ssh.known_hosts),
        getattr(ssh, "host_key_policy", "strict"),
        getattr(ssh, "fingerprint", None),
    )
    connection.client.set_missing_host_key_policy(policy)
    name = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
    known = policy.known_types(name)
    if known and getattr(ssh, "fingerprint", None) is None:
        wanted = known | ({"rsa-sha2-512", "rsa-sha2-256"} if "ssh-rsa" in known else set())
        preferred = _offered_key_types()
        others = [kind for kind in preferred if kind not in wanted]
        if len(others) < len(preferred):
            connection.connect_kwargs["disabled_algorithms"] = {"keys": others}


@functools.cache
def _offered_key_types() -> tuple[str, ...]:
    """The host key types paramiko offers by itself."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        return tuple(paramiko.Transport(ours).get_security_options().key_types)


def _bastions(bastions: tuple[Bastion, ...], host: Host, shared: SshShared) -> fabric.Connection:
    """The chain of bastions, the first reached directly; the last one's connection is the gateway."""
    gateway = None
    for bastion in bastions:
        hop = _connection(f"bastion {bastion.address}", bastion.address, _BastionSsh(bastion, host), shared)
        hop.gateway = gateway
        gateway = hop
    return gateway


class _BastionSsh:
    """A bastion's own settings; known_hosts, policy and timeouts are those of the host behind it."""

    def __init__(self, bastion: Bastion, host: Host) -> None:
        self.user = bastion.user
        self.port = bastion.port
        self.key = bastion.key
        self.passphrase = bastion.passphrase
        self.password = bastion.password
        self.fingerprint = bastion.fingerprint
        self.agent = host.ssh.agent
        self.config = host.ssh.config
        self.known_hosts = host.ssh.known_hosts
        self.host_key_policy = host.ssh.host_key_policy
        self.connect_timeout = host.ssh.connect_timeout


def _guard_config_gateways(gateway: Any, host: Host, shared: SshShared) -> None:
    """ProxyJump hops that come from ssh_config were made by fabric itself: they get our policy too."""
    while isinstance(gateway, fabric.Connection):
        if not isinstance(gateway.client._policy, HostKeyPolicy):
            hop = host.ssh.model_copy(update={"fingerprint": None})
            _guard(gateway, f"jump host {gateway.host}", hop, shared)
        gateway = gateway.gateway


def explain(error: Exception, host: Host) -> ConnectError:
    """What an exception of the socket or SSH layer means to a person."""
    port = host.ssh.port or 22
    where = f"{host.name} ({host.ssh.user or 'your user'}@{host.address}:{port})"
    if isinstance(error, socket.gaierror):
        return ConnectError(f"{where}: the name does not resolve: {error.strerror}", "Check the host's address.")
    if isinstance(error, paramiko.AuthenticationException):
        return ConnectError(
            f"{where}: login refused: {error}",
            "Check ssh.user, ssh.key, ssh.password, and that the key is in the host's authorized_keys.",
        )
    if isinstance(error, ConnectionRefusedError):
        return ConnectError(f"{where}: connection refused", "Is sshd running there, and is ssh.port right?")
    if isinstance(error, TimeoutError):
        return ConnectError(
            f"{where}: no answer within {host.ssh.connect_timeout} s",
            "Is the host up, the address right, and port open in the firewalls between?",
        )
    if isinstance(error, (paramiko.SSHException, EOFError)):
        return ConnectError(f"{where}: SSH failed: {error}", f"Try: ssh -v -p {port} {host.address}")
    if isinstance(error, OSError):
        return ConnectError(f"{where}: {error.strerror or error}", "Check the address and the network on the way.")
    raise error
