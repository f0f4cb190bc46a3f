"""Shared by all SSH connections of a run: ssh_config, known_hosts, private keys and bastions."""

from __future__ import annotations

import base64
import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kbootstrap.errors import ConnectError
from kbootstrap.plain_file import read_plain
from kbootstrap.remote.ssh.client_config import ClientConfig, Query, SshProgram
from kbootstrap.remote.ssh.config_reader import ConfigReader
from kbootstrap.remote.ssh.known_hosts import KnownHosts
from kbootstrap.remote.timeouts import DEFAULTS, Timeouts
from kbootstrap.secret import Secret

if TYPE_CHECKING:
    import fabric
    import paramiko

_T = TypeVar("_T")


class SshShared:
    """ssh_config, known_hosts and private keys, each read once; bastions, each connected once; and the timeouts.

    An ssh_config that runs programs must be the operator's own, unless the inventory is ``trusted``.
    """

    def __init__(self, timeouts: Timeouts = DEFAULTS, *, trusted: bool = False) -> None:
        self.timeouts = timeouts
        self._trusted = trusted
        self._lock = threading.RLock()
        self._cache: dict[tuple[str, object], Any] = {}

    def _once(self, kind: str, key: object, make: Callable[[], _T]) -> _T:
        with self._lock:
            if (kind, key) not in self._cache:
                self._cache[kind, key] = make()
            made: _T = self._cache[kind, key]
            return made

    def client_config(self, path: Path | None, query: Query) -> ClientConfig:
        """What an ssh_config says about a host; None is none. Raises ConnectError."""
        if path is None:
            return ClientConfig(query.address, query.address, query.user, query.port)
        return self._once("config", path, lambda: self._config_reader(path)).read(query)

    def _config_reader(self, path: Path) -> ConfigReader:
        return ConfigReader(
            path, lambda: self._once("ssh", "", self._find_ssh), self.timeouts.login, trusted=self._trusted
        )

    def _find_ssh(self) -> SshProgram | None:
        found = shutil.which("ssh")
        return SshProgram.probe(found, self.timeouts.login) if found else None

    def fabric_config(self) -> fabric.Config:
        """fabric's configuration, without the operator's fabric files and without any ssh_config.

        Each call returns a new one, because a connection writes to its configuration and threads must not share it.
        """
        import fabric
        import paramiko

        return fabric.Config(lazy=True, ssh_config=paramiko.SSHConfig())

    def known_hosts(self, path: Path) -> KnownHosts:
        return self._once("known_hosts", path, lambda: KnownHosts(path))

    def key(self, path: Path, passphrase: Secret | None) -> paramiko.PKey:
        return self._once("key", (path, passphrase), lambda: _load_key(path, passphrase))

    def certified_key(self, path: Path, certificate: Path) -> paramiko.PKey:
        """The key with its certificate. Raises ConnectError when the certificate is missing or of another key."""
        return self._once("certified key", (path, certificate), lambda: _load_certified_key(path, certificate))

    def bastion(self, key: object, make: Callable[[], _T]) -> _T:
        """One connection per chain of bastions, used by every host behind it."""
        return self._once("bastion", key, make)

    def close(self) -> None:
        """Close the connections to the bastions."""
        with self._lock:
            for kind, key in list(self._cache):
                if kind == "bastion":
                    self._cache.pop((kind, key)).close()


class LockedKeyError(ConnectError):
    """The private key needs a passphrase that the inventory does not have, or the file is a public key."""


MAX_PUBLIC_KEY = 64 * 1024


def public_key(path: Path) -> str:
    """The base64 text of a file with a public key; empty when it is none."""
    try:
        words = read_plain(path, MAX_PUBLIC_KEY).decode("utf-8", "replace").split()
    except OSError:
        return ""
    return words[1] if len(words) > 1 and words[1].startswith("AAAA") else ""


def _load_certified_key(path: Path, certificate: Path) -> paramiko.PKey:
    key = _load_key(path, None)
    encoded = public_key(certificate)
    # The fields of the public key are part of the certificate, after its type and a nonce.
    public = key.asbytes()
    fields = public[4 + len(key.get_name()) :]
    if not encoded or fields not in base64.b64decode(encoded):
        raise ConnectError(f"{certificate} is no certificate of {path}")
    key.load_certificate(str(certificate))
    return key


def _load_key(path: Path, passphrase: Secret | None) -> paramiko.PKey:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko.pkey import UnknownKeyType

    try:
        # paramiko types the passphrase as str, but passes it to cryptography, which needs bytes.
        secret: Any = passphrase.reveal().encode() if passphrase else None
        return paramiko.PKey.from_path(path, secret)
    except FileNotFoundError:
        raise ConnectError(
            f"the SSH key {path} does not exist", "Set ssh.key to an existing private key. [ssh-key]"
        ) from None
    except (
        paramiko.SSHException,
        UnknownKeyType,
        UnsupportedAlgorithm,
        ValueError,
        TypeError,
        OSError,
    ) as error:
        # For a missing passphrase, paramiko raises PasswordRequiredException and cryptography raises TypeError.
        if passphrase is None and isinstance(error, (paramiko.PasswordRequiredException, TypeError)):
            raise LockedKeyError(
                f"the SSH key {path} is protected by a passphrase",
                "Set ssh.passphrase, or add the key to your agent. [ssh-key]",
            ) from None
        if public_key(path):
            raise LockedKeyError(
                f"the SSH key {path} is a public key, and the agent does not have its private half",
                "Set ssh.key to the private key, or add that to your agent (`ssh-add`). [ssh-key]",
            ) from None
        raise ConnectError(
            f"the SSH key {path} {_why_unreadable(path, passphrase, error)}",
            "Check the file and ssh.passphrase. [ssh-key]",
        ) from None


def _why_unreadable(path: Path, passphrase: Secret | None, error: Exception) -> str:
    """What is wrong with a key, in other words than those of the libraries."""
    if isinstance(error, OSError):
        return f"cannot be read: {error.strerror}"
    if passphrase is not None:
        try:
            _load_key(path, None)
        except LockedKeyError:
            return "does not open with this passphrase"
        except ConnectError:
            pass
    start = path.read_bytes()[:100]
    if start.startswith(b"PuTTY-User-Key-File"):
        return "is one of PuTTY: convert it with `puttygen KEY -O private-openssh -o NEW`"
    if b"BEGIN" not in start:
        return "is not a private key"
    return f"cannot be read: {error}"
