"""The SSH server of every simulated host: paramiko's, with the behaviour of OpenSSH.

Commands run as ``sshd`` runs them: stdin, stdout and stderr are binary, end of file is passed on, and the client gets
the exit status or the signal. A closed connection does not end the command. A client can request a terminal.
"""

from __future__ import annotations

import contextlib
import fcntl
import hmac
import os
import select
import signal
import socket
import struct
import termios
import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import paramiko
from paramiko.common import (
    AUTH_FAILED,
    AUTH_SUCCESSFUL,
    OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED,
    OPEN_FAILED_CONNECT_FAILED,
    OPEN_SUCCEEDED,
    cMSG_CHANNEL_REQUEST,
    cMSG_CHANNEL_SUCCESS,
)
from paramiko.server import InteractiveQuery

from kbootstrap.secret import Secret
from kbootstrap_lab.errors import LabError
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS
from kbootstrap_lab.simulated.machines import MACHINE, Machine, Process, environment

IDLE_POLL = 10.0
"""Poll interval of an idle connection's thread, in seconds. paramiko's 0.1 costs 10 wake-ups a second per host."""

METHODS = ("publickey", "password", "keyboard-interactive")


@dataclass
class Login:
    """Who can log in to a host, and how. ``forward`` maps the addresses allowed for direct-tcpip to real addresses."""

    user: str
    keys: tuple[paramiko.PKey, ...]
    password: Secret | None
    methods: tuple[str, ...] = METHODS
    forward: Callable[[str, int], tuple[str, int] | None] = field(default=lambda _host, _port: None)


class _Transport(paramiko.Transport):
    """A transport that starts a command only after the answer to its request is sent.

    paramiko answers a request after the server interface has accepted it, and does not report that. A command that ends
    at once must not close its channel before the answer.
    """

    after_reply: Callable[[], None] | None = None

    def _send_user_message(self, data: paramiko.Message) -> None:
        super()._send_user_message(data)  # type: ignore[misc]
        if self.after_reply and data.asbytes()[:1] == cMSG_CHANNEL_SUCCESS:
            start, self.after_reply = self.after_reply, None
            start()


class _Interface(paramiko.ServerInterface):
    """The server's decisions for one connection."""

    def __init__(self, machine: Machine, login: Login, peer: str, transport: _Transport, manner: str) -> None:
        self._machine = machine
        self._login = login
        self._peer = peer
        self._transport = transport
        self._manner = manner
        self._environment: dict[int, dict[str, str]] = {}
        self._terminals: dict[int, tuple[int, int]] = {}
        self._kept: list[paramiko.Channel] = []
        self._accepting = threading.Lock()
        self._interactive_user = ""

    # --- authentication ---

    def get_allowed_auths(self, username: str) -> str:
        able = [m for m in self._login.methods if m == "publickey" or self._login.password is not None]
        return ",".join(able)

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        known = "publickey" in self._login.methods and username == self._login.user and key in self._login.keys
        return AUTH_SUCCESSFUL if known else AUTH_FAILED

    def check_auth_password(self, username: str, password: str) -> int:
        allowed = "password" in self._login.methods and self._password_is(username, password)
        return AUTH_SUCCESSFUL if allowed else AUTH_FAILED

    def check_auth_interactive(self, username: str, submethods: str) -> int | InteractiveQuery:
        if "keyboard-interactive" not in self._login.methods or self._login.password is None:
            return AUTH_FAILED
        self._interactive_user = username
        query = InteractiveQuery("", "")
        query.add_prompt("Password: ", False)
        return query

    def check_auth_interactive_response(self, responses: list[str]) -> int:
        right = len(responses) == 1 and self._password_is(self._interactive_user, responses[0])
        return AUTH_SUCCESSFUL if right else AUTH_FAILED

    def _password_is(self, username: str, password: str) -> bool:
        wanted = self._login.password
        if wanted is None or username != self._login.user:
            return False
        return hmac.compare_digest(wanted.reveal().encode(), password.encode())

    # --- requests ---

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return OPEN_SUCCEEDED if kind == "session" else OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        text = (
            f"exec sudo -n -- {MACHINE}/sim/bin/hostile-host {self._manner}" if self._manner else os.fsdecode(command)
        )
        return self._run(channel, ["/bin/sh", "-c", text])

    def check_channel_shell_request(self, channel: paramiko.Channel) -> bool:
        return self._run(channel, ["/bin/sh"])

    def check_channel_env_request(self, channel: paramiko.Channel, name: bytes, value: bytes) -> bool:
        if not name.startswith((b"LC_", b"LANG")):
            return False
        self._environment.setdefault(channel.get_id(), {})[os.fsdecode(name)] = os.fsdecode(value)
        return True

    def check_channel_pty_request(
        self,
        channel: paramiko.Channel,
        term: bytes,
        width: int,
        height: int,
        pixelwidth: int,
        pixelheight: int,
        modes: bytes,
    ) -> bool:
        master, slave = os.openpty()
        _resize(master, width, height)
        self._terminals[channel.get_id()] = (master, slave)
        self._environment.setdefault(channel.get_id(), {})["TERM"] = os.fsdecode(term)
        return True

    def check_channel_window_change_request(
        self, channel: paramiko.Channel, width: int, height: int, pixelwidth: int, pixelheight: int
    ) -> bool:
        master, _slave = self._terminals.get(channel.get_id(), (-1, -1))
        if master >= 0:
            _resize(master, width, height)
        return master >= 0

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        target = self._login.forward(*destination)
        if target is None:
            return OPEN_FAILED_ADMINISTRATIVELY_PROHIBITED
        try:
            remote = socket.create_connection(target, timeout=5)
        except OSError:
            return OPEN_FAILED_CONNECT_FAILED
        remote.settimeout(None)
        threading.Thread(target=self._forward, args=(chanid, remote), daemon=True).start()
        return OPEN_SUCCEEDED

    def _forward(self, chanid: int, remote: socket.socket) -> None:
        channel = self._accepted(chanid)
        if channel is None:
            remote.close()
            return
        threading.Thread(target=_copy_out, args=(channel, remote), daemon=True).start()
        with contextlib.suppress(OSError, EOFError):
            while data := remote.recv(32768):
                channel.sendall(data)
        channel.close()
        remote.close()

    def _accepted(self, chanid: int) -> paramiko.Channel | None:
        """Wait for the channel with this number. Channels that come before it are kept open."""
        with self._accepting:
            while True:
                for channel in self._kept:
                    if channel.get_id() == chanid:
                        return channel
                other = self._transport.accept(30)
                if other is None:
                    return None
                self._kept.append(other)

    def _run(self, channel: paramiko.Channel, argv: list[str]) -> bool:
        user = self._login.user
        home = "/root" if user == "root" else f"/home/{user}"
        env = environment(user, home, DISTRIBUTIONS[self._machine.spec.distribution].family == "debian")
        env.update(self._environment.pop(channel.get_id(), {}))
        env["SSH_CLIENT"] = f"{self._peer} 50000 22"
        env["SSH_CONNECTION"] = f"{self._peer} 50000 {self._machine.spec.ip} 22"
        terminal = self._terminals.get(channel.get_id())
        streams = _terminal(*terminal) if terminal else _pipes()
        try:
            process = self._machine.start(argv, env, home, streams.theirs, terminal is not None)
        except LabError:
            for fd in {streams.stdin, *streams.outputs}:
                os.close(fd)
            return False
        finally:
            for fd in set(streams.theirs):
                os.close(fd)

        def start() -> None:
            threading.Thread(target=_feed, args=(channel, streams.stdin), daemon=True).start()
            threading.Thread(target=_drain, args=(channel, process, streams.outputs), daemon=True).start()

        self._transport.after_reply = start
        return True


@dataclass(frozen=True)
class _Streams:
    """Both ends of stdin, stdout and stderr: the command's three, our end to write to, our ends to read from."""

    theirs: tuple[int, int, int]
    stdin: int
    outputs: tuple[int, ...]


def _pipes() -> _Streams:
    stdin, stdout, stderr = os.pipe(), os.pipe(), os.pipe()
    return _Streams((stdin[0], stdout[1], stderr[1]), stdin[1], (stdout[0], stderr[0]))


def _terminal(master: int, slave: int) -> _Streams:
    return _Streams((slave, slave, slave), os.dup(master), (master,))


def _resize(terminal: int, width: int, height: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def _copy_out(channel: paramiko.Channel, remote: socket.socket) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(32768):
            remote.sendall(data)
        remote.shutdown(socket.SHUT_WR)


def _feed(channel: paramiko.Channel, stdin: int) -> None:
    """Copy the client's data to the command's stdin, until one of them closes."""
    with contextlib.suppress(OSError, EOFError):
        while data := channel.recv(32768):
            view = memoryview(data)
            while view:
                view = view[os.write(stdin, view) :]
    os.close(stdin)


def _drain(channel: paramiko.Channel, process: Process, outputs: tuple[int, ...]) -> None:
    """Copy the command's output to the client, and send its status as soon as it ends.

    The channel stays open while any process has stdout open, so background children keep it open. sshd does the same.
    """
    ended = os.eventfd(0)
    process.on_end(lambda _status: os.eventfd_write(ended, 1))
    sinks = dict(zip(outputs, (channel.sendall, channel.sendall_stderr), strict=False))
    waiting = {*outputs, ended}
    poll = select.poll()
    for fd in waiting:
        poll.register(fd, select.POLLIN)
    try:
        while waiting:
            for fd, _event in poll.poll():
                if fd == ended:
                    _send_exit(channel, process.status or 0)
                elif data := _read(fd):
                    sinks[fd](data)
                    continue
                poll.unregister(fd)
                waiting.discard(fd)
    except (OSError, EOFError, paramiko.SSHException):
        process.on_end(lambda _status: None)
    finally:
        for fd in (*outputs, ended):
            os.close(fd)
        with contextlib.suppress(OSError, EOFError):
            channel.close()


def _read(fd: int) -> bytes:
    """The next bytes, empty at the end. A terminal whose other side is closed gives the error EIO."""
    try:
        return os.read(fd, 32768)
    except OSError:
        return b""


def _send_exit(channel: paramiko.Channel, status: int) -> None:
    if status >= 0:
        channel.send_exit_status(status)
        return
    message = paramiko.Message()
    message.add_byte(cMSG_CHANNEL_REQUEST)
    message.add_int(channel.remote_chanid)
    message.add_string("exit-signal")
    message.add_boolean(False)
    message.add_string(signal.Signals(-status).name.removeprefix("SIG"))
    message.add_boolean(False)
    message.add_string("")
    message.add_string("")
    transport = channel.get_transport()
    assert isinstance(transport, _Transport)
    transport._send_user_message(message)


class Server:
    """Starts a transport per connection for one host."""

    def __init__(self, machine: Machine, login: Login, host_key: paramiko.PKey) -> None:
        self.machine = machine
        self.login = login
        self.host_key = host_key
        self.manner = ""
        """The manner of a hostile host (bin/hostile-host); empty for a normal host."""

    def connected(self, connection: socket.socket, peer: str) -> None:
        """Serve a new connection in a thread of its own."""
        transport = _Transport(connection)
        transport.local_version = "SSH-2.0-OpenSSH_9.9"
        connection.settimeout(IDLE_POLL)
        transport.add_server_key(self.host_key)
        interface = _Interface(self.machine, self.login, peer, transport, self.manner)
        transport.start_server(event=threading.Event(), server=interface)
