"""Authentication: the keys and passwords to offer, and their order."""

from __future__ import annotations

import contextlib
import functools
import os
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import fabric
import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.remote.ssh.paramiko_private import PrivateAgent, SshProtocol
from kbootstrap.remote.ssh.shared import LockedKeyError, SshShared
from kbootstrap.remote.ssh.target import Target

_HOME_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class Login:
    """Offers only the key and password of the inventory. If it has none, offers the keys that ``ssh`` would offer.

    So a server never refuses us for too many wrong keys, and there is no prompt on the terminal.
    """

    def __init__(self, target: Target, connection: fabric.Connection, shared: SshShared) -> None:
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

    def authenticate(self, transport: SshProtocol) -> None:
        """Called by paramiko once the host key is accepted. Raises paramiko.AuthenticationException or ConnectError."""
        wanted = {"publickey", "password", "keyboard-interactive"}
        refused = paramiko.AuthenticationException("no key and no password available")
        with contextlib.closing(_Agent(self._shared.timeouts.login)) as agent:
            for methods, attempt in self._attempts(transport, agent):
                if not methods & wanted:
                    continue
                transport.sock.limit_login()
                try:
                    left = attempt()
                except paramiko.BadAuthenticationType as error:
                    refused = paramiko.AuthenticationException(f"the server accepts {' or '.join(error.allowed_types)}")
                except paramiko.AuthenticationException as error:
                    refused = error
                    if not transport.is_active():
                        break
                else:
                    if not left:
                        return
                    wanted = set(left)
                    refused = paramiko.AuthenticationException(f"the server also requires {' or '.join(left)}")
        raise refused

    def _attempts(self, transport: SshProtocol, agent: _Agent) -> Iterator[tuple[set[str], Callable[[], list[str]]]]:
        """Login attempts, with their SSH method names. Each returns the methods still required; empty: success."""
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
        """The agent's copy of the passphrase-protected key in the inventory."""
        copies = agent.keys(file) if self._may_ask_agent else []
        if not copies and self._locked is not None:
            raise self._locked
        return copies

    def _unnamed_keys(self, agent: _Agent) -> Iterator[paramiko.PKey]:
        """Keys in the order of ssh: files of ssh_config, the agent, ~/.ssh. Skips keys with a passphrase."""
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


class _Agent:
    """The operator's SSH agent. It is used only when needed, with a deadline. A broken agent is ignored."""

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._agent = PrivateAgent()

    def keys(self, file: Path | None = None) -> list[paramiko.PKey]:
        """All keys, or only the key whose public half is in this file's ``.pub`` file."""
        if not self._agent.connected:
            self._connect(os.environ.get("SSH_AUTH_SOCK", ""))
        public = "" if file is None else _public_half(file)
        return [key for key in self._agent.get_keys() if file is None or key.get_base64() == public]

    def _connect(self, address: str) -> None:
        if not address:
            return
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(address)
            self._agent.use(connection)
        except (OSError, ValueError, paramiko.SSHException):
            connection.close()

    def close(self) -> None:
        self._agent.close()


def _public_half(file: Path) -> str:
    try:
        return file.with_name(file.name + ".pub").read_text().split()[1]
    except (OSError, ValueError, IndexError):
        return ""
