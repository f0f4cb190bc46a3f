"""How bytes get to a host: over SSH (fabric opens, paramiko carries) or, for tests and tools, to a local shell.

A transport opens one ``Pipe`` to one command; everything above it (scripts, reports, locks) is ``session.py``.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import shlex
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol, TypeVar

from kbootstrap.known_hosts import KnownHosts
from kbootstrap.model import ConnectError, Secret

if TYPE_CHECKING:
    import fabric
    import paramiko

    from kbootstrap.inventory import Host

_T = TypeVar("_T")

SSH_PORT = 22
KEEPALIVE_S = 8
"""Seconds without a word from the other side after which it is asked for one; a NAT on the way stays awake as well."""
ANSWER_S = 15
"""Seconds for the answer. With KEEPALIVE_S, a connection nobody is at the other end of is found out within 30 s."""
LOOK_S = 3
"""Seconds between two looks at the clock after the login: as rare as the 30 s allow, because hundreds of connections
wait for minutes. Ten a second, as paramiko has it, cost 500 of them a fifth of a core."""
READ_BYTES = 8 * 1024
"""Most that is read from a socket at once; every connection that waits has as much set aside."""
LOGIN_S = 30
"""Seconds for a single attempt to log in, and for the start of the command."""


class Pipe(Protocol):
    """Both ends of a command on a host; standard error arrives mixed into ``recv``."""

    def send(self, data: bytes) -> None:
        """Write all of it. Raises OSError when the connection is gone."""

    def recv(self, timeout: float) -> bytes:
        """Some bytes, or ``b""`` at the end. Raises TimeoutError after ``timeout`` seconds, OSError when cut."""

    def close(self) -> None: ...


class Transport(Protocol):
    def connect(self) -> None:
        """Open the connection. Raises ConnectError, which says what to do."""

    def execute(self, command: str) -> Pipe: ...

    def close(self) -> None: ...


# --- local -----------------------------------------------------------------------------------------------------------


class LocalPipe:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            bufsize=0,
        )

    def send(self, data: bytes) -> None:
        stdin = self._open_end(self._process.stdin)
        view = memoryview(data)
        while view:
            view = view[stdin.write(view) :]

    def recv(self, timeout: float) -> bytes:
        stdout = self._open_end(self._process.stdout)
        ready, _, _ = select.select([stdout], [], [], timeout)
        if not ready:
            raise TimeoutError
        return os.read(stdout.fileno(), 65536)

    @staticmethod
    def _open_end(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None or stream.closed:
            raise ConnectionError("closed")
        return stream

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class LocalTransport:
    """A shell on this machine; ``shell`` is the command that takes the shell text as its last argument."""

    def __init__(self, shell: Sequence[str] = ("/bin/sh", "-c"), env: Mapping[str, str] | None = None) -> None:
        self._shell = tuple(shell)
        self._env = env

    def connect(self) -> None:
        """Nothing to connect."""

    def execute(self, command: str) -> Pipe:
        return LocalPipe((*self._shell, command), self._env)

    def close(self) -> None:
        """Nothing to close."""


# --- SSH -------------------------------------------------------------------------------------------------------------


class LeanSocket(socket.socket):
    """A TCP socket without Nagle's delay and without delayed ACKs, which cost paramiko 40 ms per exchange.

    The kernel forgets TCP_QUICKACK, so it is set again after every read.
    """

    @classmethod
    def open(cls, address: str, port: int, timeout: float) -> LeanSocket:
        plain = socket.create_connection((address, port), timeout=timeout)
        lean = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        lean.settimeout(timeout)
        lean.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return lean

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def close(self) -> None:
        _hang_up(self)
        super().close()


def dial(host: Host) -> LeanSocket | OSError | None:
    """TCP to a host at once, so that its sshd starts while fabric is being imported here; what came of it.

    None where a bastion or a file of ssh_config has a say in what leads to the host.
    """
    if host.ssh.bastions or (host.ssh.config is not None and host.ssh.config.exists()):
        return None
    try:
        return LeanSocket.open(host.address, host.ssh.port or SSH_PORT, host.ssh.connect_timeout)
    except OSError as error:
        return error


def _hang_up(end: socket.socket) -> None:
    """Say so to both sides at once: a descriptor that another thread waits on stays open until that wait is over."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class ProxySocket(socket.socket):
    """Both ends of a ProxyCommand of ssh_config, which is run without a shell and ended with the connection."""

    _process: subprocess.Popen[bytes] | None = None

    @classmethod
    def open(cls, command: str) -> ProxySocket:
        ours, theirs = socket.socketpair()
        proxy = cls(fileno=ours.detach())
        try:
            with theirs:
                end = theirs.fileno()
                proxy._process = subprocess.Popen(
                    shlex.split(command), stdin=end, stdout=end, stderr=subprocess.DEVNULL
                )
        except (OSError, ValueError) as error:
            proxy.close()
            raise ConnectError(f"the ProxyCommand does not start: {error}", "Check ssh_config.") from None
        return proxy

    def close(self) -> None:
        _hang_up(self)
        super().close()
        if self._process is not None:
            self._process.terminate()
            self._process.wait()


class Wire:
    """What paramiko takes for a socket: TCP, a ProxyCommand or a bastion's channel, with an end to its patience.

    paramiko itself waits for ever at several places. It calls ``recv`` again and again while nothing arrives, and
    ``send`` while nothing can be sent, so the limits are looked at here. ``lost`` says why the connection was given up.
    """

    def __init__(self, end: Any) -> None:
        self._end = end
        self._heard = time.monotonic()
        self._until: float | None = None
        self._seconds = 0.0
        self._ask: Callable[[], None] | None = None
        self._ahead = b""
        self.lost = ""

    def limit(self, seconds: float) -> None:
        """Give up after so many seconds, whatever arrives, unless ``watch`` or another limit comes first."""
        self._ask, self._seconds, self._until = None, seconds, time.monotonic() + seconds

    def watch(self, ask: Callable[[], None]) -> None:
        """From now on ``ask`` the other side for a sign of life when nothing arrives, and give up if none comes."""
        self._heard, self._until, self._ask = time.monotonic(), None, ask
        self.settimeout(LOOK_S)

    def recv(self, size: int) -> bytes:
        """As a socket does; paramiko asks twice for every packet, and what has come with the first half waits here."""
        data = self._ahead or self._hear()
        self._ahead = data[size:]
        return data[:size]

    def _hear(self) -> bytes:
        try:
            data: bytes = self._end.recv(READ_BYTES)
        except TimeoutError as error:
            self._look_at_the_clock(error)
            raise
        if self._ask is None:
            self._look_at_the_clock()
        else:
            self._heard, self._until = time.monotonic(), None
        return data

    def send(self, data: bytes) -> int:
        try:
            sent: int = self._end.send(data)
        except TimeoutError as error:
            self._look_at_the_clock(error)
            raise
        return sent

    def _look_at_the_clock(self, error: TimeoutError | None = None) -> None:
        now = time.monotonic()
        # TCP's own timeout is a TimeoutError too, but for paramiko that class only means "nothing yet".
        if error is not None and error.errno is not None:
            self.lost = "no sign of life"
        elif self._until is not None and now > self._until:
            self.lost = f"no answer within {self._seconds:g} s"
        if self.lost:
            raise ConnectionAbortedError(errno.ECONNABORTED, self.lost)
        if self._ask is not None and self._until is None and now - self._heard > KEEPALIVE_S:
            self._seconds, self._until = ANSWER_S, now + ANSWER_S
            self._ask()

    def settimeout(self, seconds: float | None) -> None:
        self._end.settimeout(seconds)

    @property
    def _closed(self) -> bool:
        """paramiko looks at this private attribute of sockets."""
        closed: bool = self._end._closed
        return closed

    def close(self) -> None:
        # A bastion's channel says goodbye, which fails when the bastion's connection is what broke.
        with contextlib.suppress(EOFError):
            self._end.close()


class _Answer(threading.Event):
    """What paramiko waits on for the answer to a request, made to end with the connection.

    Where that breaks between paramiko's look at it and the request, the request is dropped in silence.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        super().__init__()
        self._transport = transport

    def wait(self, timeout: float | None = None) -> bool:
        while not super().wait(1):
            if not self._transport.is_active():
                raise EOFError
        return True


class SshPipe:
    def __init__(self, channel: paramiko.Channel, wire: Wire) -> None:
        self._channel = channel
        self._wire = wire
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._sending:
            self._channel.settimeout(60)
            try:
                self._channel.sendall(data)
            except EOFError:
                raise self._broken() from None

    def recv(self, timeout: float) -> bytes:
        self._channel.settimeout(timeout)
        data = self._channel.recv(65536)
        # A command that ends says so; a connection that breaks does not.
        if not data and not self._channel.eof_received:
            raise self._broken()
        return data

    def finish(self) -> None:
        """The command finds the end of its input; what it says can still be read."""
        self._channel.shutdown_write()

    def _broken(self) -> ConnectionError:
        return ConnectionError(self._wire.lost or "closed by the host")

    def close(self) -> None:
        try:
            self._channel.close()
        except EOFError:
            raise self._broken() from None


class SshShared:
    """What every connection of a run shares: ssh_config, known_hosts and private keys, read once; and bastions."""

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._cache: dict[tuple[str, object], Any] = {}

    def _once(self, kind: str, key: object, make: Callable[[], _T]) -> _T:
        with self._lock:
            if (kind, key) not in self._cache:
                self._cache[kind, key] = make()
            made: _T = self._cache[kind, key]
            return made

    def config(self, path: Path | None) -> fabric.Config:
        """fabric's configuration with this ssh_config and nothing of the operator's fabric files.

        A new one each time: a connection writes to its own, and one of another thread would find it half written.
        """
        import fabric

        return fabric.Config(lazy=True, ssh_config=self._once("config", path, lambda: _ssh_config(path)))

    def known_hosts(self, path: Path) -> KnownHosts:
        return self._once("known_hosts", path, lambda: KnownHosts(path))

    def key(self, path: Path, passphrase: Secret | None) -> paramiko.PKey:
        return self._once("key", (path, passphrase), lambda: _load_key(path, passphrase))

    def gateway(self, key: object, make: Callable[[], _T]) -> _T:
        """One connection per chain of bastions, used by every host behind it."""
        return self._once("gateway", key, make)

    def close(self) -> None:
        """Hang up on the bastions."""
        with self._lock:
            for kind, key in list(self._cache):
                if kind == "gateway":
                    self._cache.pop((kind, key)).close()


class SshTransport:
    """One host over SSH, as the inventory says: ssh_config, bastions, keys, agent, passwords, host key policy."""

    def __init__(self, host: Host, shared: SshShared) -> None:
        self.host = host
        self._shared = shared
        self._connection: fabric.Connection | None = None

    def connect(self) -> None:
        """Open and authenticate. Raises ConnectError naming the host, the cause and a way out."""
        dialled = dial(self.host)
        from kbootstrap.ssh import open_connection

        self._connection = open_connection(self.host, self._shared, dialled)

    def execute(self, command: str) -> SshPipe:
        import paramiko

        if self._connection is None:
            raise ConnectionError("not connected")
        transport, wire = self._connection.transport, self._connection.transport.sock
        wire.limit(LOGIN_S)
        try:
            channel = transport.open_session()
            channel.event = _Answer(transport)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError) as error:
            raise ConnectionError(wire.lost or str(error) or "closed by the host") from error
        transport.watch()
        return SshPipe(channel, wire)

    def openssh(self, known_hosts: Path) -> list[str] | None:
        """The command line of the system's ssh that leads to the same host (see ``ssh.openssh_command``)."""
        from kbootstrap.ssh import openssh_command

        return None if self._connection is None else openssh_command(self.host, self._connection, known_hosts)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.client.close()
            self._connection = None


class LockedKeyError(ConnectError):
    """A private key has a passphrase and we have none."""


def _ssh_config(path: Path | None) -> paramiko.SSHConfig:
    import paramiko

    try:
        if path is not None and path.exists():
            return paramiko.SSHConfig.from_path(str(path))
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise ConnectError(f"{path} cannot be read: {error}", "Repair it, or set ssh.config: null.") from None
    return paramiko.SSHConfig()


def _load_key(path: Path, passphrase: Secret | None) -> paramiko.PKey:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko.pkey import UnknownKeyType

    try:
        # paramiko calls the passphrase a str and hands it on to cryptography, which wants bytes.
        secret: Any = passphrase.reveal().encode() if passphrase else None
        return paramiko.PKey.from_path(path, secret)
    except FileNotFoundError:
        raise ConnectError(f"the SSH key {path} does not exist", "Set ssh.key to an existing private key.") from None
    except (
        paramiko.SSHException,
        UnknownKeyType,
        UnsupportedAlgorithm,
        ValueError,
        TypeError,
        OSError,
    ) as error:
        # paramiko tells a missing passphrase by PasswordRequiredException, cryptography by TypeError.
        if passphrase is None and isinstance(error, (paramiko.PasswordRequiredException, TypeError)):
            raise LockedKeyError(
                f"the SSH key {path} is protected by a passphrase", "Set ssh.passphrase, or add the key to your agent."
            ) from None
        raise ConnectError(
            f"the SSH key {path} cannot be read: {error}", "Check the file and ssh.passphrase."
        ) from None
