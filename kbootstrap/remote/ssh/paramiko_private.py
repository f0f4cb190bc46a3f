"""The only place that touches private names of paramiko; ``pyproject.toml`` bounds its version because of them."""

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


class ChannelReply(threading.Event):
    """What paramiko waits on for the reply to a channel request; the wait ends with the connection.

    paramiko drops a request in silence when the connection breaks just before it is sent.
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
    """paramiko's transport with our choice of algorithms, and keepalives that ask for an answer."""

    sock: WatchedSocket  # type: ignore[assignment]

    @classmethod
    def make(cls, watched: WatchedSocket, known_kinds: list[str], login: Ssh | Bastion) -> SshProtocol:
        made = cls(watched, disabled_algorithms={} if login.legacy_algorithms else OUTDATED)  # type: ignore[arg-type]
        # WatchedSocket has the deadlines. paramiko's own is always 15 s and costs a thread per connection.
        made.packetizer.start_handshake = lambda timeout: None  # type: ignore[method-assign]
        options = made.get_security_options()
        options.kex = _first(_KEX_FIRST, options.kex)
        options.ciphers = _first(_CIPHERS_FIRST, options.ciphers)
        # Ask for the known key first: a host may have several keys, and another one would look like a changed key.
        options.key_types = _first(known_kinds, options.key_types)
        return made

    def watch(self) -> None:
        """The login is over: from now on detect a dead connection."""
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
        """Speak to the agent over this socket. Raises OSError, ValueError or paramiko.SSHException."""
        try:
            self._connect(connected)  # type: ignore[attr-defined]
        except (OSError, ValueError, paramiko.SSHException):
            self._conn = None
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]
