"""How bytes get to a host: over SSH (fabric opens, paramiko carries) or, for tests and tools, to a local shell.

A transport opens one ``Pipe`` to one command; everything above it (scripts, reports, locks) is ``session.py``.
"""

from __future__ import annotations

import os
import select
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from kbootstrap.model import ConnectError, Secret

if TYPE_CHECKING:
    import fabric
    import paramiko

    from kbootstrap.inventory import Bastion, Host

KEEPALIVE_S = 15
"""Seconds between SSH keepalives, so that a NAT on the way does not forget a quiet connection."""


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


class SshPipe:
    def __init__(self, channel: paramiko.Channel) -> None:
        self._channel = channel
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._sending:
            self._channel.settimeout(60)
            self._channel.sendall(data)

    def recv(self, timeout: float) -> bytes:
        self._channel.settimeout(timeout)
        return self._channel.recv(65536)

    def close(self) -> None:
        self._channel.close()


class SshShared:
    """What every connection of a run shares and is read only once: ssh_config, known_hosts files, private keys."""

    def __init__(self) -> None:
        # A chain of bastions asks for configuration, known_hosts and keys while it is made.
        self._lock = threading.RLock()
        self._cache: dict[tuple[str, object], Any] = {}

    def _once(self, kind: str, key: object, make: Any) -> Any:
        with self._lock:
            if (kind, key) not in self._cache:
                self._cache[kind, key] = make()
            return self._cache[kind, key]

    def config(self, path: Path | None) -> fabric.Config:
        """fabric's configuration with this ssh_config and nothing of the operator's fabric files."""
        return self._once("config", path, lambda: _fabric_config(path))

    def known_hosts(self, path: Path) -> KnownHosts:
        known: KnownHosts = self._once("known_hosts", path, lambda: KnownHosts(path))
        return known

    def key(self, path: Path, passphrase: Secret | None) -> paramiko.PKey:
        key: paramiko.PKey = self._once("key", path, lambda: _load_key(path, passphrase))
        return key

    def gateway(self, bastions: tuple[Bastion, ...], make: Any) -> Any:
        """One connection per chain of bastions, used by every host behind it."""
        return self._once("gateway", bastions, make)


class SshTransport:
    """One host over SSH, as the inventory says: ssh_config, bastions, keys, agent, passwords, host key policy."""

    def __init__(self, host: Host, shared: SshShared) -> None:
        self._host = host
        self._shared = shared
        self._connection: fabric.Connection | None = None

    def connect(self) -> None:
        """Open and authenticate. Raises ConnectError naming the host, the cause and a way out."""
        from kbootstrap.ssh import explain, open_connection

        try:
            self._connection = open_connection(self._host, self._shared)
        except ConnectError:
            raise
        except Exception as error:
            raise explain(error, self._host) from error

    def execute(self, command: str) -> Pipe:
        import paramiko

        if self._connection is None or self._connection.transport is None:
            raise ConnectionError("not connected")
        try:
            channel = self._connection.transport.open_session(timeout=self._host.ssh.connect_timeout)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
        except paramiko.SSHException as error:
            raise ConnectionError(str(error)) from error
        return SshPipe(channel)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _fabric_config(path: Path | None) -> fabric.Config:
    import fabric
    import paramiko

    ssh_config = paramiko.SSHConfig()
    if path is not None and path.exists():
        ssh_config = paramiko.SSHConfig.from_path(str(path))
    return fabric.Config(lazy=True, ssh_config=ssh_config)


def _load_key(path: Path, passphrase: Secret | None) -> paramiko.PKey:
    import paramiko

    try:
        # Bytes, whatever the stubs say: it goes straight to cryptography.
        secret: Any = passphrase.reveal().encode() if passphrase else None
        return paramiko.PKey.from_path(path, secret)
    except FileNotFoundError:
        raise ConnectError(f"the SSH key {path} does not exist", "Set ssh.key to an existing private key.") from None
    except (paramiko.SSHException, ValueError, TypeError, OSError) as error:
        # paramiko tells a missing passphrase by PasswordRequiredException, cryptography by TypeError.
        if passphrase is None and isinstance(error, (paramiko.PasswordRequiredException, TypeError)):
            raise ConnectError(
                f"the SSH key {path} is protected by a passphrase", "Set ssh.passphrase, or add the key to your agent."
            ) from None
        raise ConnectError(
            f"the SSH key {path} cannot be read: {error}", "Check the file and ssh.passphrase."
        ) from None


class KnownHosts:
    """A known_hosts file, parsed once; ``accept`` appends to it."""

    def __init__(self, path: Path) -> None:
        import paramiko

        self.path = path
        self._lock = threading.Lock()
        self._keys = paramiko.HostKeys()
        if path.exists():
            try:
                self._keys.load(str(path))
            except Exception as error:
                raise ConnectError(f"{path} cannot be read: {error}", "Repair or move the file.") from None

    def lookup(self, name: str) -> Mapping[str, paramiko.PKey]:
        """The known keys of ``host`` or ``[host]:port`` by key type; empty when the host is unknown."""
        found = self._keys.lookup(name)
        return {} if found is None else dict(found)

    def accept(self, name: str, key: paramiko.PKey) -> None:
        """Remember a new host's key, here and in the file (created 0600)."""
        with self._lock:
            self._keys.add(name, key.get_name(), key)
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
            with os.fdopen(fd, "a", encoding="ascii") as file:
                file.write(f"{name} {key.get_name()} {key.get_base64()}\n")
