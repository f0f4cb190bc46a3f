"""Shared by all SSH connections of a run: ssh_config, known_hosts, private keys and bastions."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kbootstrap.errors import ConnectError
from kbootstrap.plain_file import read_plain
from kbootstrap.remote.ssh.known_hosts import KnownHosts
from kbootstrap.remote.timeouts import DEFAULTS, Timeouts
from kbootstrap.secret import Secret

if TYPE_CHECKING:
    import fabric
    import paramiko

_T = TypeVar("_T")


OWN_CONFIG = Path("~/.ssh/config")
MAX_CONFIG_BYTES = 4 * 1024 * 1024


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

    def config(self, path: Path | None) -> fabric.Config:
        """fabric's configuration with this ssh_config and without the operator's fabric files.

        Each call returns a new one, because a connection writes to its configuration and threads must not share it.
        """
        import fabric

        return fabric.Config(lazy=True, ssh_config=self._once("config", path, lambda: _ssh_config(path, self._trusted)))

    def known_hosts(self, path: Path) -> KnownHosts:
        return self._once("known_hosts", path, lambda: KnownHosts(path))

    def key(self, path: Path, passphrase: Secret | None) -> paramiko.PKey:
        return self._once("key", (path, passphrase), lambda: _load_key(path, passphrase))

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
    """A private key needs a passphrase, and the inventory has none."""


def _ssh_config(path: Path | None, trusted: bool) -> paramiko.SSHConfig:
    import paramiko

    from kbootstrap.remote.ssh.paramiko_private import program_of

    try:
        if path is not None and path.exists():
            config = paramiko.SSHConfig.from_text(read_plain(path, MAX_CONFIG_BYTES, null=True).decode("utf-8"))
            program = "" if trusted or path == OWN_CONFIG.expanduser() else program_of(config)
            if program:
                raise ConnectError(
                    f"{path} runs a program ({program}), and only your own {OWN_CONFIG} may do that",
                    "Copy the entry there, or add --trust-inventory.",
                )
            return config
    except (paramiko.SSHException, OSError, ValueError) as error:
        raise ConnectError(
            f"{path} cannot be read: {error}", "Correct that file, or set ssh.config: null in the inventory."
        ) from None
    return paramiko.SSHConfig()


def _load_key(path: Path, passphrase: Secret | None) -> paramiko.PKey:
    import paramiko
    from cryptography.exceptions import UnsupportedAlgorithm
    from paramiko.pkey import UnknownKeyType

    try:
        # paramiko types the passphrase as str, but passes it to cryptography, which needs bytes.
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
        # For a missing passphrase, paramiko raises PasswordRequiredException and cryptography raises TypeError.
        if passphrase is None and isinstance(error, (paramiko.PasswordRequiredException, TypeError)):
            raise LockedKeyError(
                f"the SSH key {path} is protected by a passphrase", "Set ssh.passphrase, or add the key to your agent."
            ) from None
        raise ConnectError(
            f"the SSH key {path} cannot be read: {error}", "Check the file and ssh.passphrase."
        ) from None
