"""The sockets below SSH: TCP without delays, a ProxyCommand, and a wrapper that detects silence."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.timeouts import DEFAULTS, Timeouts

SSH_PORT = 22
READ_BYTES = 8 * 1024
"""Bytes to read from a socket at once. Every waiting connection reserves this much memory."""
MAX_SAID = 2000
"""Bytes to keep of the errors of a ProxyCommand."""


class NoDelaySocket(socket.socket):
    """A TCP socket without Nagle's algorithm and without delayed ACKs, which cost paramiko 40 ms per exchange.

    The kernel resets TCP_QUICKACK, so it is set again after every read.
    """

    @classmethod
    def open(cls, address: str, port: int, timeout: float) -> NoDelaySocket:
        plain = socket.create_connection((address, port), timeout=timeout)
        made = cls(plain.family, plain.type, plain.proto, fileno=plain.detach())
        made.settimeout(timeout)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return made

    def recv(self, size: int, flags: int = 0) -> bytes:
        data = super().recv(size, flags)
        if hasattr(socket, "TCP_QUICKACK"):
            self.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def close(self) -> None:
        _shut_down(self)
        super().close()


def connect_early(host: Host, settings: ClientConfig) -> NoDelaySocket | OSError | None:
    """Open the TCP connection early, so that sshd starts while we import fabric. Returns the socket, or the error.

    Returns None when a bastion or a ProxyCommand is on the way.
    """
    if host.ssh.bastions or not settings.direct:
        return None
    try:
        return NoDelaySocket.open(settings.host, settings.port or SSH_PORT, host.ssh.connect_timeout)
    except OSError as error:
        return error


def _shut_down(end: socket.socket) -> None:
    """Shut down both directions. Closing is not enough: another thread that waits on the socket keeps it open."""
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


class ProxySocket(socket.socket):
    """Our end of a ProxyCommand from ssh_config, which a shell runs, as for ssh. It ends with the connection."""

    _process: subprocess.Popen[bytes] | None = None
    _listener: threading.Thread | None = None
    _heard = b""

    @classmethod
    def open(cls, command: str) -> ProxySocket:
        ours, theirs = socket.socketpair()
        proxy = cls(fileno=ours.detach())
        try:
            with theirs:
                end = theirs.fileno()
                proxy._process = subprocess.Popen(
                    ["/bin/sh", "-c", f"exec {command}"], stdin=end, stdout=end, stderr=subprocess.PIPE
                )
        except (OSError, ValueError) as error:
            proxy.close()
            raise ConnectError(
                f"the ProxyCommand does not start: {error}", "Check ProxyCommand in your ssh_config. [ssh-config]"
            ) from None
        proxy._listener = threading.Thread(target=proxy._listen, daemon=True)
        proxy._listener.start()
        return proxy

    def _listen(self) -> None:
        """Keep the last bytes of its standard error."""
        if self._process is None or self._process.stderr is None:
            return
        with self._process.stderr as stream, contextlib.suppress(OSError, ValueError):
            while data := os.read(stream.fileno(), READ_BYTES):
                self._heard = (self._heard + data)[-MAX_SAID:]

    @property
    def said(self) -> str:
        """The end of its standard error."""
        return self._heard.decode("utf-8", "replace")

    def close(self) -> None:
        _shut_down(self)
        super().close()
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(timeout=2)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._listener is not None:
            # A process that the command left behind may hold its standard error open.
            self._listener.join(timeout=0.5)


class WatchedSocket:
    """The socket for paramiko: TCP, a ProxyCommand or a bastion's channel, with deadlines.

    paramiko itself waits without a limit in several places. It calls ``recv`` repeatedly while nothing arrives, and
    ``send`` while nothing can be sent, so deadlines are checked there. ``lost`` is the reason why we gave up.
    """

    def __init__(self, end: Any, timeouts: Timeouts = DEFAULTS) -> None:
        self._end = end
        self._timeouts = timeouts
        self._heard = time.monotonic()
        self._until: float | None = None
        self._seconds = 0.0
        self._ask: Callable[[], None] | None = None
        self._ahead = b""
        self.lost = ""

    def limit(self, seconds: float) -> None:
        """Give up after ``seconds``, even when data arrives. ``watch`` or another limit ends this one."""
        self._ask, self._seconds, self._until = None, seconds, time.monotonic() + seconds

    def limit_login(self) -> None:
        """Give up when a single attempt to log in, or the start of a command, takes too long."""
        self.limit(self._timeouts.login)

    def watch(self, ask: Callable[[], None]) -> None:
        """From now on call ``ask`` when no data arrives, and give up when there is no answer."""
        self._heard, self._until, self._ask = time.monotonic(), None, ask
        self.settimeout(self._timeouts.poll)

    def recv(self, size: int) -> bytes:
        """Read as a socket does. paramiko reads every packet in two parts; the second part is kept here."""
        data = self._ahead or self._receive()
        self._ahead = data[size:]
        return data[:size]

    def _receive(self) -> bytes:
        try:
            data: bytes = self._end.recv(READ_BYTES)
        except TimeoutError as error:
            self._check_deadlines(error)
            raise
        if self._ask is None:
            self._check_deadlines()
        else:
            self._heard, self._until = time.monotonic(), None
        return data

    def send(self, data: bytes) -> int:
        try:
            sent: int = self._end.send(data)
        except TimeoutError as error:
            self._check_deadlines(error)
            raise
        return sent

    def _check_deadlines(self, error: TimeoutError | None = None) -> None:
        now = time.monotonic()
        # TCP's own timeout is a TimeoutError too, but paramiko takes that class as "no data yet".
        if error is not None and error.errno is not None:
            self.lost = "connection timed out"
        elif self._until is not None and now > self._until:
            self.lost = f"no answer within {self._seconds:g} s"
        if self.lost:
            raise ConnectionAbortedError(errno.ECONNABORTED, self.lost)
        if self._ask is not None and self._until is None and now - self._heard > self._timeouts.keepalive:
            self._seconds, self._until = self._timeouts.answer, now + self._timeouts.answer
            self._ask()

    @property
    def said(self) -> str:
        """The last words of a ProxyCommand."""
        text: str = getattr(self._end, "said", "")
        return text

    def settimeout(self, seconds: float | None) -> None:
        self._end.settimeout(seconds)

    @property
    def _closed(self) -> bool:
        """paramiko reads this private attribute of sockets."""
        closed: bool = self._end._closed
        return closed

    def close(self) -> None:
        # A bastion's channel sends a last message, which fails if the bastion's connection broke.
        with contextlib.suppress(EOFError):
            self._end.close()
