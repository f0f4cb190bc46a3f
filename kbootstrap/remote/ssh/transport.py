"""A transport over SSH: fabric opens the connection, paramiko carries the bytes. Both are imported when needed."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from kbootstrap.errors import ConnectError
from kbootstrap.inventory.models import Host
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import WatchedSocket, connect_early
from kbootstrap.remote.ssh.target import Target

if TYPE_CHECKING:
    import fabric
    import paramiko


class SshPipe:
    def __init__(self, channel: paramiko.Channel, watched: WatchedSocket) -> None:
        self.channel = channel
        self._watched = watched
        self._sending = threading.Lock()

    def send(self, data: bytes) -> None:
        with self._sending:
            self.channel.settimeout(60)
            try:
                self.channel.sendall(data)
            except EOFError:
                raise self._broken() from None

    def recv(self, timeout: float) -> bytes:
        self.channel.settimeout(timeout)
        data = self.channel.recv(65536)
        # The server reports the end of a command. Without that report, the connection broke.
        if not data and not self.channel.eof_received:
            raise self._broken()
        return data

    def _broken(self) -> ConnectionError:
        return ConnectionError(self._watched.lost or "closed by the host")

    def close(self) -> None:
        try:
            self.channel.close()
        except EOFError:
            raise self._broken() from None


class SshTransport:
    """One host over SSH, with the inventory's ssh_config, bastions, keys, agent, passwords and host key policy."""

    def __init__(self, host: Host, shared: SshShared) -> None:
        self.host = host
        self._shared = shared
        self.connection: fabric.Connection | None = None
        self._again = True

    def connect(self) -> None:
        """Connect and authenticate. Raises ConnectError with the host, the cause and a hint.

        Only the first connection tries twice: a session that reconnects has its own rule.
        """
        settings, began = self._settings(), time.monotonic()
        early = connect_early(self.host, settings)
        from kbootstrap.remote.ssh.connection import open_connection

        self.connection = open_connection(self.host, self._shared, early, began=began, again=self._again)
        self._again = False

    def _settings(self) -> ClientConfig:
        """What ssh_config says about the host. Raises ConnectError."""
        target = Target(self.host.address, self.host.ssh, self.host.ssh)
        try:
            return self._shared.client_config(self.host.ssh.config, target.query)
        except ConnectError as error:
            raise ConnectError(f"{self.host.name}: {error.message}", error.hint) from error

    def execute(self, command: str) -> SshPipe:
        import paramiko

        from kbootstrap.remote.ssh.paramiko_private import ChannelReply

        if self.connection is None:
            raise ConnectionError("not connected")
        transport, watched = self.connection.transport, self.connection.transport.sock
        watched.limit_login()
        try:
            channel = transport.open_session()
            channel.event = ChannelReply(transport)
            channel.set_combine_stderr(True)
            channel.exec_command(command)
        except (paramiko.SSHException, EOFError) as error:
            if transport.is_active() and not watched.lost:
                raise ConnectError(
                    f"{self.host.name}: the host refuses to run a command: {error}",
                    "Check MaxSessions and ForceCommand in its sshd_config, and the options of the key in"
                    " authorized_keys: ssh -v HOST true [login-shell]",
                ) from error
            raise ConnectionError(watched.lost or str(error) or "closed by the host") from error
        transport.watch()
        return SshPipe(channel, watched)

    def close(self) -> None:
        if self.connection is not None:
            self.connection.client.close()
            self.connection = None
