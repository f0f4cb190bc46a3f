"""Opening SSH connections with fabric, under our own rules for host keys, logins, algorithms and bastions.

fabric accepts unknown and changed host keys by default (it never loads known_hosts and sets an auto-add policy), offers
whatever key it finds, and opens bastions without a deadline. So fabric reads ssh_config and holds the connection; the
way to the host, the check of its key and the login are ours, the same for hosts and for the bastions before them. This
module imports fabric and paramiko; import it lazily.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fabric
import paramiko
from paramiko.agent import AgentSSH
from paramiko.common import cMSG_GLOBAL_REQUEST

from kbootstrap.inventory import Bastion, Host, Ssh
from kbootstrap.known_hosts import HostKey
from kbootstrap.model import ConnectError, HostKeyError
from kbootstrap.transport import (
    KEEPALIVE_S,
    LOGIN_S,
    LeanSocket,
    LockedKeyError,
    ProxySocket,
    SshShared,
    Wire,
)

# Without a handler of its own, paramiko's log goes to stderr: a traceback for every server that is none.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEX_FIRST = ("curve25519-sha256@libssh.org", "curve25519-sha256")
"""Key exchanges tried first: a third of the CPU of the group exchanges."""

_CIPHERS_FIRST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Ciphers tried first: they need no MAC, which paramiko compares byte by byte in Python."""

OUTDATED = {
    "kex": [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "arcfour128", "arcfour256"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
    "keys": ["ssh-rsa", "ssh-dss"],
    "pubkeys": ["ssh-rsa", "ssh-dss"],
}
"""What paramiko has of old and we offer only to hosts with ``legacy_algorithms``. ssh-rsa is RSA with SHA-1."""

_HOME_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


@dataclass(frozen=True)
class _Target:
    """Where to log in: a host, or a bastion, whose known_hosts, policy and timeouts are those of the host behind it."""

    address: str
    login: Ssh | Bastion
    common: Ssh

    @property
    def label(self) -> str:
        return f"bastion {self.address}: " if isinstance(self.login, Bastion) else ""


def open_connection(host: Host, shared: SshShared, dialled: LeanSocket | OSError | None = None) -> fabric.Connection:
    """An open, authenticated connection to an inventory host; the caller closes its client. Raises ConnectError.

    ``dialled`` is what came of dialling the host already (see ``transport.dial``).
    """
    try:
        return _open(_Target(host.address, host.ssh, host.ssh), host.ssh.bastions, shared, dialled)
    except ConnectError as error:
        if isinstance(dialled, LeanSocket):
            dialled.close()
        raise type(error)(f"{host.name}: {error.message}", error.hint) from error


def _open(
    target: _Target, bastions: tuple[Bastion, ...], shared: SshShared, dialled: LeanSocket | OSError | None = None
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
        raise ConnectError(f"{target.common.config}: {error}", "Repair it, or set ssh.config: null.") from None
    login = _Login(target, connection, shared)
    check = _HostKeyCheck(target, connection, shared)
    wire: Wire | None = None
    try:
        if isinstance(dialled, OSError):
            raise dialled
        wire = Wire(dialled or _end(target, connection, bastions, shared))
        wire.limit(target.common.connect_timeout)
        connection.client.set_missing_host_key_policy(check)
        connection.connect_kwargs = {
            "sock": wire,
            "auth_strategy": login,
            "banner_timeout": target.common.connect_timeout + 1,  # the wire's own limit comes first
            "transport_factory": lambda sock, **_: _Transport.make(sock, check.known_kinds, target.login),
        }
        connection.open()
        connection.transport.watch()
    except BaseException as error:
        connection.client.close()
        if wire is not None:
            wire.close()
        if not isinstance(error, Exception):
            raise
        raise _explain(error, target, connection, wire) from error
    return connection


def openssh_command(host: Host, connection: fabric.Connection, known_hosts: Path) -> list[str] | None:
    """The system's ssh, told to log in as this connection has; the command to run comes behind it.

    The file ``known_hosts`` is written for it, with the one key that this connection has checked. None where ssh is not
    there or cannot do it unattended: with a password or a passphrase, or behind a bastion, whose key it would judge.
    """
    ssh, program = host.ssh, shutil.which("ssh")
    proxies = {connection.ssh_config.get(word, "none").lower() for word in ("proxyjump", "proxycommand")}
    if program is None or ssh.bastions or proxies != {"none"} or ssh.password is not None or ssh.passphrase is not None:
        return None
    key = connection.transport.get_remote_server_key()
    known_hosts.write_text(f"{host.name} {key.get_name()} {key.get_base64()}\n")
    options = {
        "HostName": connection.host,
        "HostKeyAlias": host.name,
        "UserKnownHostsFile": _file(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "Compression": "no",
        "Ciphers": ",".join((*_CIPHERS_FIRST, "chacha20-poly1305@openssh.com", "aes128-ctr")),
        "ConnectTimeout": f"{ssh.connect_timeout:.0f}",
        "ServerAliveInterval": str(KEEPALIVE_S),
        "ServerAliveCountMax": "2",
        "LogLevel": "ERROR",
    }
    if ssh.key is not None:
        options |= {"IdentityFile": _file(ssh.key), "IdentitiesOnly": "yes"}
    if not ssh.agent:
        options["IdentityAgent"] = "none"
    config = str(ssh.config) if ssh.config is not None and ssh.config.exists() else "none"
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [program, "-F", config, *words, "-l", connection.user, "-p", str(connection.port), "--", host.address]


def _file(path: Path) -> str:
    """A path as ssh's options want it: one word, and % stands for nothing."""
    return '"' + str(path).replace("%", "%%") + '"'


# --- the way ---------------------------------------------------------------------------------------------------------


def _end(target: _Target, connection: fabric.Connection, bastions: tuple[Bastion, ...], shared: SshShared) -> Any:
    """What the bytes go through: TCP, a bastion's channel, or a ProxyCommand."""
    jumps = bastions or _jumps(target, connection)
    timeout = target.common.connect_timeout
    if jumps:
        return _gateway(jumps, target.common, shared).channel(connection.host, connection.port, timeout)
    command = connection.ssh_config.get("proxycommand", "none")
    # A bastion of the inventory is reached directly; what ssh_config says of the host behind is not about it.
    if command.lower() != "none":
        return ProxySocket.open(command)
    return LeanSocket.open(connection.host, connection.port, timeout)


def _jumps(target: _Target, connection: fabric.Connection) -> tuple[Bastion, ...]:
    """The ProxyJump of ssh_config; a pattern that covers the jump host itself does not send it through itself."""
    found = []
    for word in connection.ssh_config.get("proxyjump", "none").split(","):
        hop = fabric.connection.derive_shorthand(word.strip())
        if hop["host"] in (target.address, connection.host) or hop["host"].lower() == "none":
            return ()
        found.append(Bastion.model_construct(address=hop["host"], user=hop["user"], port=hop["port"]))
    return tuple(found)


def _gateway(bastions: tuple[Bastion, ...], common: Ssh, shared: SshShared) -> _Gateway:
    """The connection to the last of these bastions, the same for all hosts whose way and rules are the same."""
    *before, last = bastions
    key = (bastions, common.config, common.known_hosts, common.host_key_policy, common.agent, common.connect_timeout)
    target = _Target(last.address, last, common)
    return shared.gateway(key, lambda: _Gateway(target, lambda: _open(target, tuple(before), shared)))


class _Gateway:
    """A connection to a bastion: made when the first host needs it, and again when it is needed and has broken."""

    def __init__(self, target: _Target, make: Callable[[], fabric.Connection]) -> None:
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
            # It had broken, and nobody had noticed before.
            self._forget(connection)
        connection = self._open(time.monotonic())
        try:
            return self._ask(connection, address, port, timeout)
        except (EOFError, OSError) as error:
            raise self._not_reached(address, port, connection.transport.sock.lost or "its connection broke") from error

    def _ask(self, connection: fabric.Connection, address: str, port: int, timeout: float) -> paramiko.Channel:
        """Raises ConnectError when the bastion says no or nothing, EOFError or OSError when its connection broke."""
        transport: _Transport = connection.transport
        try:
            return transport.open_channel("direct-tcpip", (address, port), ("", 0), timeout=timeout)
        except paramiko.SSHException as error:
            if not transport.is_active():
                raise ConnectionError(str(error)) from error
            raise self._not_reached(address, port, str(error)) from error

    def _not_reached(self, address: str, port: int, why: str) -> ConnectError:
        return ConnectError(
            f"{self._target.label}{address}:{port} is not reached from there: {why}",
            "Is the host up, and does the bastion's sshd allow it (AllowTcpForwarding)?",
        )

    def _open(self, asked: float) -> fabric.Connection:
        with self._lock:
            if self._connection is not None and self._connection.is_connected:
                return self._connection
            # Whoever waited while another host tried in vain gets that answer instead of a timeout of its own.
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


class _Transport(paramiko.Transport):
    """paramiko's transport with our choice of algorithms, and keepalives that want an answer."""

    sock: Wire  # type: ignore[assignment]

    @classmethod
    def make(cls, wire: Wire, known_kinds: list[str], login: Ssh | Bastion) -> _Transport:
        made = cls(wire, disabled_algorithms={} if login.legacy_algorithms else OUTDATED)  # type: ignore[arg-type]
        # The wire has limits of its own; paramiko's is 15 s whatever the inventory says, and a thread per connection.
        made.packetizer.start_handshake = lambda timeout: None  # type: ignore[method-assign]
        options = made.get_security_options()
        options.kex = _first(_KEX_FIRST, options.kex)
        options.ciphers = _first(_CIPHERS_FIRST, options.ciphers)
        # The key we know is asked for first, so a host with several keys is not taken for one whose key has changed.
        options.key_types = _first(known_kinds, options.key_types)
        return made

    def watch(self) -> None:
        """The login is over: from now on silence is looked into."""
        self.sock.watch(self._ask)

    def _ask(self) -> None:
        """Send what the server must answer, unless keys are being exchanged: then their packets are the answer."""
        if self.clear_to_send.is_set():
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)
            self._send_user_message(message)  # type: ignore[attr-defined]


def _first(wanted: tuple[str, ...] | list[str], offered: Any) -> tuple[str, ...]:
    return (*(word for word in wanted if word in offered), *(word for word in offered if word not in wanted))


# --- host keys -------------------------------------------------------------------------------------------------------


class _HostKeyCheck(paramiko.MissingHostKeyPolicy):
    """Decides on every host key: pinned fingerprint, known_hosts, and what the inventory says of unknown hosts.

    paramiko calls it for each connection because its own known_hosts stay empty.
    """

    def __init__(self, target: _Target, connection: fabric.Connection, shared: SshShared) -> None:
        self._label = target.label
        self._known = shared.known_hosts(target.common.known_hosts)
        self._learn = target.common.host_key_policy == "accept-new"
        self._pinned = target.login.fingerprint
        plain = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
        self._name = connection.ssh_config.get("hostkeyalias", plain)

    @property
    def known_kinds(self) -> list[str]:
        """The types of the host's keys in known_hosts; RSA is signed with SHA-2 nowadays."""
        kinds = [key.kind for key in self._known.keys(self._name)]
        return kinds + ["rsa-sha2-512", "rsa-sha2-256"] * ("ssh-rsa" in kinds)

    def missing_host_key(self, client: paramiko.SSHClient, name: str, key: paramiko.PKey) -> None:
        shown = HostKey(key.get_name(), key.asbytes())
        says = f"{shown.fingerprint} ({shown.kind})"
        verdict = self._known.judge(self._name, shown, learn=self._learn and self._pinned is None)
        path = self._known.path
        if verdict == "revoked":
            raise HostKeyError(
                f"{self._label}the host key {says} is revoked in {path}",
                "Do not connect before you know why; a reinstalled host has a new key.",
            )
        if self._pinned is not None:
            if shown.fingerprint != self._pinned.rstrip("="):
                raise HostKeyError(
                    f"{self._label}the host key is {says}, the inventory pins {self._pinned}",
                    "If the host was reinstalled, put its new fingerprint into the inventory; otherwise someone may be"
                    " listening in.",
                )
        elif verdict == "changed":
            expected = ", ".join(f"{known.fingerprint} ({known.kind})" for known in self._known.keys(self._name))
            raise HostKeyError(
                f"{self._label}the host key has changed: it is {says}, {path} has {expected}",
                f"If the host was reinstalled: ssh-keygen -f {path} -R '{self._name}', then connect once with ssh and"
                " compare the fingerprint. Otherwise someone may be listening in.",
            )
        elif verdict == "unknown":
            raise HostKeyError(
                f"{self._label}the host is not in {path}; its key is {says}",
                "Connect once with ssh and compare the fingerprint, or pin it (ssh.fingerprint), or set"
                " ssh.host_key_policy: accept-new.",
            )


# --- logging in ------------------------------------------------------------------------------------------------------


class _Login:
    """Offers what the inventory names and nothing else; where it names nothing, what ``ssh`` would offer.

    So no server sees five wrong keys before the right one, and nothing asks on the terminal.
    """

    def __init__(self, target: _Target, connection: fabric.Connection, shared: SshShared) -> None:
        self._login = target.login
        self._may_ask_agent = target.common.agent
        self._user: str = connection.user
        self._config = connection.ssh_config
        self._shared = shared
        self._key: paramiko.PKey | None = None
        self._locked: LockedKeyError | None = None
        if self._login.key is not None:
            try:
                self._key = shared.key(self._login.key, self._login.passphrase)
            except LockedKeyError as error:
                self._locked = error

    def authenticate(self, transport: _Transport) -> None:
        """Called by paramiko once the host key is accepted. Raises paramiko.AuthenticationException or ConnectError."""
        wanted = {"publickey", "password", "keyboard-interactive"}
        refused = paramiko.AuthenticationException("there is no key and no password to offer")
        with contextlib.closing(_Agent()) as agent:
            for methods, attempt in self._attempts(transport, agent):
                if not methods & wanted:
                    continue
                transport.sock.limit(LOGIN_S)
                try:
                    left = attempt()
                except paramiko.BadAuthenticationType as error:
                    refused = paramiko.AuthenticationException(f"the server takes {' or '.join(error.allowed_types)}")
                except paramiko.AuthenticationException as error:
                    refused = error
                    if not transport.is_active():
                        break
                else:
                    if not left:
                        return
                    wanted = set(left)
                    refused = paramiko.AuthenticationException(f"the server also wants {' or '.join(left)}")
        raise refused

    def _attempts(self, transport: _Transport, agent: _Agent) -> Iterator[tuple[set[str], Callable[[], list[str]]]]:
        """Ways to log in, with SSH's names for them. Each gives what the server wants besides; nothing is success."""
        offered = set()
        for key in self._keys(agent):
            if key.asbytes() not in offered:
                offered.add(key.asbytes())
                yield {"publickey"}, functools.partial(transport.auth_publickey, self._user, key)
        password = self._login.password
        if password is not None:
            way = functools.partial(transport.auth_password, self._user, password.reveal())
            yield {"password", "keyboard-interactive"}, way

    def _keys(self, agent: _Agent) -> Iterator[paramiko.PKey]:
        if self._key is not None:
            yield self._key
        elif self._login.key is not None:
            yield from self._copies(self._login.key, agent)
        elif self._login.password is None:
            yield from self._unnamed_keys(agent)

    def _copies(self, file: Path, agent: _Agent) -> list[paramiko.PKey]:
        """The agent's copy of the locked key the inventory names."""
        copies = agent.keys(file) if self._may_ask_agent else []
        if not copies and self._locked is not None:
            raise self._locked
        return copies

    def _unnamed_keys(self, agent: _Agent) -> Iterator[paramiko.PKey]:
        """As ssh does it: the files of ssh_config, the agent's keys, those in ~/.ssh; locked ones are passed over."""
        for name in self._config.get("identityfile", []):
            file = Path(name).expanduser()
            yield from self._opened(file) or (agent.keys(file) if self._may_ask_agent else [])
        if self._config.get("identitiesonly", "no").lower() != "yes":
            if self._may_ask_agent:
                yield from agent.keys()
            for name in _HOME_KEYS:
                yield from self._opened(Path("~/.ssh").expanduser() / name)

    def _opened(self, file: Path) -> list[paramiko.PKey]:
        try:
            return [self._shared.key(file, None)]
        except ConnectError:
            return []


class _Agent(AgentSSH):
    """The operator's SSH agent, asked when it is needed, with a deadline. One that does not work counts as none."""

    def keys(self, file: Path | None = None) -> list[paramiko.PKey]:
        """All keys, or only the one whose public half is beside this file."""
        if self._conn is None:
            self._dial(os.environ.get("SSH_AUTH_SOCK", ""))
        public = "" if file is None else _public_half(file)
        return [key for key in self.get_keys() if file is None or key.get_base64() == public]

    def _dial(self, address: str) -> None:
        if not address:
            return
        wire = socket.socket(socket.AF_UNIX)
        wire.settimeout(LOGIN_S)
        try:
            wire.connect(address)
            self._connect(wire)  # type: ignore[attr-defined]
        except (OSError, ValueError, paramiko.SSHException):
            self._conn = None
            wire.close()

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]


def _public_half(file: Path) -> str:
    try:
        return file.with_name(file.name + ".pub").read_text().split()[1]
    except (OSError, ValueError, IndexError):
        return ""


# --- what went wrong -------------------------------------------------------------------------------------------------


def _explain(error: Exception, target: _Target, connection: fabric.Connection, wire: Wire | None) -> ConnectError:
    """What an exception of the socket or SSH layer means to a person."""
    if isinstance(error, ConnectError):
        return error
    place = f"{connection.user}@{connection.host}:{connection.port}"
    what, hint = _meaning(error, wire, target)
    return ConnectError(f"{target.label}{what} ({place})", hint.format(port=connection.port, host=connection.host))


def _meaning(error: Exception, wire: Wire | None, target: _Target) -> tuple[str, str]:
    late = f"no answer within {target.common.connect_timeout} s"
    if isinstance(error, socket.gaierror):
        return f"the name does not resolve: {error.strerror}", "Check the address."
    if wire is None and isinstance(error, TimeoutError):
        return late, "Is the host up, is the address right, and is port {port} open in the firewalls between?"
    if wire is not None and wire.lost:
        return wire.lost, "Is that an SSH server, and is the host overloaded? Try: ssh -v -p {port} {host}"
    if isinstance(error, paramiko.AuthenticationException):
        return (
            f"login refused: {error}",
            "Check ssh.user, ssh.key, ssh.password, and that the key is in the host's authorized_keys.",
        )
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Is sshd running there, and is ssh.port right?"
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return (
            f"no algorithm in common: {error}",
            "If the host's SSH server is too old for today's algorithms: ssh.legacy_algorithms: true",
        )
    if isinstance(error, (paramiko.SSHException, EOFError)):
        return f"SSH failed: {error or 'closed by the server'}", "Try: ssh -v -p {port} {host}"
    if isinstance(error, OSError):
        return f"{error.strerror or error}", "Check the address and the network on the way."
    raise error
