"""Authentication: the keys and passwords to offer, and their order."""

from __future__ import annotations

import contextlib
import copy
import functools
import os
import re
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.ssh.paramiko_private import PrivateAgent, SshProtocol
from kbootstrap.remote.ssh.shared import LockedKeyError, SshShared, public_key
from kbootstrap.remote.ssh.target import Target

_HOME_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")


class Login:
    """Offers only the key and password of the inventory. If it has none, offers the keys that ``ssh`` would offer.

    So a server never refuses us for too many wrong keys, and there is no prompt on the terminal.
    """

    def __init__(self, target: Target, user: str, port: int, settings: ClientConfig, shared: SshShared) -> None:
        self._login = target.login
        self._agent_address = agent_address(settings.identity_agent) if target.common.agent else ""
        self._user = user
        self._port = port
        self._settings = settings
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
        with contextlib.closing(_Agent(self._agent_address, self._shared.timeouts.login)) as agent:
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
            blob = key.public_blob.key_blob if key.public_blob is not None else key.asbytes()
            if blob not in offered:
                offered.add(blob)
                yield {"publickey"}, functools.partial(transport.auth_publickey, self._user, key)
        password = self._login.password
        if password is not None:
            way = functools.partial(transport.auth_password, self._user, password.reveal())
            yield {"password", "keyboard-interactive"}, way

    def _keys(self, agent: _Agent) -> Iterator[paramiko.PKey]:
        if self._key is not None:
            yield from _with_and_without_certificate(self._key)
        elif self._login.key is not None:
            yield from self._copies(self._login.key, agent)
        elif self._login.password is None:
            yield from self._unnamed_keys(agent)

    def _copies(self, file: Path, agent: _Agent) -> list[paramiko.PKey]:
        """The agent's copy of the inventory's key, which has a passphrase or is a public key."""
        copies = agent.keys(file)
        if not copies and self._locked is not None:
            raise self._locked
        return copies

    def _unnamed_keys(self, agent: _Agent) -> Iterator[paramiko.PKey]:
        """Keys in the order of ssh: files of ssh_config, the agent, ~/.ssh. Skips keys with a passphrase."""
        named = self._settings.identity_files
        for name in named or ():
            yield from self._of_file(self._settings.file(name, self._user, self._port), agent)
        if not self._settings.identities_only:
            yield from agent.keys()
        if named is None or (named and not self._settings.identities_only):
            for name in _HOME_KEYS:
                yield from self._of_file(Path("~/.ssh").expanduser() / name, agent)

    def _of_file(self, file: Path, agent: _Agent) -> Iterator[paramiko.PKey]:
        """The key of a file with its certificates, and without one; else the agent's copy of it."""
        try:
            key = self._shared.key(file, None)
        except ConnectError:
            yield from agent.keys(file)
            return
        for name in self._settings.certificate_files:
            with contextlib.suppress(ConnectError):
                yield self._shared.certified_key(file, self._settings.file(name, self._user, self._port))
        yield from _with_and_without_certificate(key)


def _with_and_without_certificate(key: paramiko.PKey) -> Iterator[paramiko.PKey]:
    """paramiko loads the certificate beside a key with the key, and offers the key no more."""
    yield key
    if key.public_blob is not None:
        plain = copy.copy(key)
        plain.public_blob = None
        yield plain


class _Agent:
    """The operator's SSH agent. It is used only when needed, with a deadline. A broken agent, or none, has no keys."""

    def __init__(self, address: str, timeout: float) -> None:
        self._address = address
        self._timeout = timeout
        self._agent = PrivateAgent()

    def keys(self, file: Path | None = None) -> list[paramiko.PKey]:
        """All keys, or only the key whose public half is in this file or in its ``.pub`` file."""
        if not self._agent.connected and self._address:
            self._connect(self._address)
        public = "" if file is None else _public_half(file)
        return [key for key in self._agent.get_keys() if file is None or key.get_base64() == public]

    def _connect(self, address: str) -> None:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(self._timeout)
        try:
            connection.connect(address)
            self._agent.use(connection)
        except (OSError, ValueError, paramiko.SSHException):
            connection.close()

    def close(self) -> None:
        self._agent.close()


def agent_address(setting: str) -> str:
    """The socket of the agent that IdentityAgent names; empty for none."""
    if setting.lower() == "none":
        return ""
    name = re.fullmatch(r"\$(?:\{(\w+)\}|(\w+))|(SSH_AUTH_SOCK|)", setting)
    if name is not None:
        return os.environ.get(name[1] or name[2] or "SSH_AUTH_SOCK", "")
    return os.path.expanduser(setting)


def _public_half(file: Path) -> str:
    for place in (file, file.with_name(file.name + ".pub")):
        encoded = public_key(place)
        if encoded:
            return encoded
    return ""
