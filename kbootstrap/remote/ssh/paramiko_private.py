"""The only module that uses private names of paramiko; ``pyproject.toml`` limits its version because of them."""

from __future__ import annotations

import logging
import socket
import threading
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.common import cMSG_GLOBAL_REQUEST

from kbootstrap.inventory.models import Bastion, Ssh
from kbootstrap.remote.ssh.sockets import WatchedSocket

# Without its own handler, paramiko's log goes to stderr, with a traceback for every server that does not speak SSH.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEX_FIRST = ("curve25519-sha256@libssh.org", "curve25519-sha256")
"""Key exchanges to try first: they take a third of the CPU time of the group exchanges."""

_CIPHERS_FIRST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Ciphers to try first: they need no MAC, which paramiko compares byte by byte in Python."""

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
"""Old algorithms of paramiko that we offer only to hosts with ``legacy_algorithms``. ssh-rsa is RSA with SHA-1."""


def program_of(config: paramiko.SSHConfig) -> str:
    """The first setting of an ssh_config that runs a program on this machine, or an empty text."""
    for section in config._config:  # type: ignore[attr-defined]
        command = section["config"].get("proxycommand")
        if command is not None:
            return f"ProxyCommand {command}"
        for match in section.get("matches", ()):
            if match["type"] == "exec":
                return f"Match exec {match['param']}"
    return ""


class ChannelReply(threading.Event):
    """The event on which paramiko waits for the reply to a channel request. The wait ends with the connection.

    paramiko silently drops a request when the connection breaks just before it is sent.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        super().__init__()
        self._transport = transport

    def wait(self, timeout: float | None = None) -> bool:
        while not super().wait(1):
            if not self._transport.is_active():
                raise EOFError
        return True


class SshProtocol(paramiko.Transport):
    """paramiko's transport with our choice of algorithms, and with keepalives that require an answer."""

    sock: WatchedSocket  # type: ignore[assignment]

    @classmethod
    def make(cls, watched: WatchedSocket, known_kinds: list[str], login: Ssh | Bastion) -> SshProtocol:
        made = cls(watched, disabled_algorithms={} if login.legacy_algorithms else OUTDATED)  # type: ignore[arg-type]
        # WatchedSocket has the deadlines. paramiko's own deadline is always 15 s and needs a thread per connection.
        made.packetizer.start_handshake = lambda timeout: None  # type: ignore[method-assign]
        options = made.get_security_options()
        options.kex = _first(_KEX_FIRST, options.kex)
        options.ciphers = _first(_CIPHERS_FIRST, options.ciphers)
        # Ask for the known key first: a host can have several keys, and another one would count as a changed key.
        options.key_types = _first(known_kinds, options.key_types)
        return made

    def watch(self) -> None:
        """Call this after the login: detect a dead connection from now on."""
        self.sock.watch(self._ask)

    def _ask(self) -> None:
        """Send a request that the server must answer. During a key exchange its packets are the answer."""
        if self.clear_to_send.is_set():
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)
            self._send_user_message(message)  # type: ignore[attr-defined]


def _first(wanted: tuple[str, ...] | list[str], offered: Any) -> tuple[str, ...]:
    return (*(word for word in wanted if word in offered), *(word for word in offered if word not in wanted))


class PrivateAgent(AgentSSH):
    """A connection to an SSH agent over a socket that has a deadline."""

    @property
    def connected(self) -> bool:
        return self._conn is not None

    def use(self, connected: socket.socket) -> None:
        """Use this socket for the agent. Raises OSError, ValueError or paramiko.SSHException."""
        try:
            self._connect(connected)  # type: ignore[attr-defined]
        except (OSError, ValueError, paramiko.SSHException):
            self._conn = None
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]
