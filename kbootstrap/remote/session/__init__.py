"""One host during a run: the launcher's protocol (see shell/launcher.sh) over a transport, with reconnects.

A session opens one connection and one command per host, and sends every script of the run over it. A script that only
checks runs inline: from memory, and it ends with its connection. A script that changes something runs detached, so
after a broken connection the session reconnects and continues to read the log from the last byte.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable

from kbootstrap.errors import ConnectError, HostKeyError, KbootstrapError
from kbootstrap.remote.protocol import Request
from kbootstrap.remote.session.channel import Channel, Item
from kbootstrap.remote.session.errors import BrokenError, LockedError, LostError, SudoError, error_text
from kbootstrap.remote.session.follow import Follower
from kbootstrap.remote.session.handshake import Handshake
from kbootstrap.remote.timeouts import DEFAULTS, Timeouts
from kbootstrap.remote.transport import Transport
from kbootstrap.secret import Secret
from kbootstrap.steps import Mode

__all__ = ["BrokenError", "Item", "LockedError", "LostError", "Session", "SudoError"]

MAX_BREAKS = 10
"""After so many breaks in a row, each before the connection was stable, the host is given up."""


def _inline_request(name: str, script: str) -> bytes:
    """The request to the launcher to run a script from memory."""
    data = script.encode()
    return f"{Request.INLINE} {name} {len(data)}\n".encode() + data


def _detached_request(name: str, script: str) -> bytes:
    data = script.encode()
    return f"{Request.DETACHED} {name} {len(data)}\n".encode() + data + f"{Request.WHOLE}\n".encode()


class Session:
    """``host`` is the name for messages; ``sudo`` is none, passwordless or password; ``notice`` gets messages."""

    def __init__(
        self,
        host: str,
        transport: Transport,
        *,
        mode: Mode,
        run_id: str,
        owner: str,
        sudo: str = "none",
        sudo_password: Secret | None = None,
        notice: Callable[[str], None] = lambda _text: None,
        timeouts: Timeouts = DEFAULTS,
    ) -> None:
        marker = "@kb-" + secrets.token_hex(8)
        folder = f"r-{run_id}"
        self._host = host
        self._folder = folder
        self._notice = notice
        self._timeouts = timeouts
        self._channel = Channel(host, transport, marker)
        self._handshake = Handshake(
            host, self._channel, marker, (mode, folder, owner), sudo, sudo_password, notice, timeouts
        )
        self._inline = self._detached = False
        self._closed = False
        self._ahead = b""
        self._number = 0

    def open(self, ahead: tuple[str, str] | None = None) -> None:
        """Connect, become root, take the host's lock. Raises ConnectError, LockedError or SudoError.

        ``ahead`` is the name and the script of the first ``run_inline`` call. It is sent right after the launcher,
        which saves a round trip.
        """
        self._ahead = _inline_request(*ahead) if ahead else b""
        self._channel.connect()
        try:
            self._channel.execute(self._handshake.command())
            self._handshake.shake_hands(self._ahead)
        except KbootstrapError:
            self._channel.drop()
            raise
        except OSError as error:
            self._channel.drop()
            raise ConnectError(
                f"{self._host}: the connection broke during the setup: {error_text(error)}",
                "Run the command again. [ssh-broken]",
            ) from None

    # --- scripts -----------------------------------------------------------------------------------------------------

    def run_inline(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        """Run a script that only checks, from memory. Returns its exit status, as ``run_detached`` does.

        Raises BrokenError when the connection breaks; ``reconnect`` opens a new one.
        """
        message = _inline_request(name, script)
        self._channel.parser.offset = 0
        self._inline = True
        try:
            if message != self._ahead:
                self._channel.send(message)
            self._ahead = b""
            status = self._follow(name, on_item, overdue)
            self._inline = False
            return status
        except OSError as error:
            self._inline = False
            if self._closed:
                raise self._hung_up() from None
            raise BrokenError(self._host, error_text(error)) from None

    def _hung_up(self) -> LostError:
        return LostError(f"{self._host}: the connection was closed while a script ran")

    def run_detached(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        """Run a script detached and follow it to its end, through reconnects. Returns its exit status.

        ``overdue`` is called at every tick. When it returns True, the script is killed and the status is TIMED_OUT.
        """
        self._channel.parser.offset = 0
        start = message = _detached_request(name, script)
        breaks = 0
        while True:
            connected = time.monotonic()
            try:
                self._channel.send(message)
                self._detached = True
                status = self._follow(name, on_item, overdue)
                self._detached = False
                return status
            except OSError as error:
                if self._closed:
                    raise self._hung_up() from None
                breaks = breaks + 1 if time.monotonic() - connected < self._timeouts.stable else 1
                self._check_reconnect(name, breaks, overdue, error_text(error))
                offset = self._reconnect_at_offset(error_text(error))
                # If no byte came back, the request may be lost, so send it again: the launcher starts no script twice.
                message = f"{Request.FOLLOW} {name} {offset + 1}\n".encode() if offset else start
            except KbootstrapError:
                self._detached = False
                self._kill()
                raise

    def _check_reconnect(self, name: str, breaks: int, overdue: Callable[[], bool], why: str) -> None:
        """After a break: raises LostError when a new connection does not help."""
        if breaks > MAX_BREAKS:
            raise LostError(
                f"{self._host}: the connection broke more than {MAX_BREAKS} times: {why}",
                "See `journalctl -u sshd` on the host and check the network to it, then run the command again. "
                "[ssh-broken]",
            )
        if overdue():
            raise LostError(
                f"{self._host}: the host does not answer, and its script takes too long", self._log_hint(name)
            )

    def _reconnect_at_offset(self, why: str) -> int:
        """Reconnect. Returns the number of bytes of the log that were read."""
        offset = self._channel.parser.offset
        self.reconnect(why)
        self._channel.parser.offset = offset
        return offset

    def _log_hint(self, name: str) -> str:
        """A hint where to find the script's output."""
        if self._inline:
            return "Log in and run `ps -ef --forest` to see what the check waits for. [host-hangs]"
        log = f"/run/kbootstrap/{self._folder}/{name}.log"
        return f"Log in and read {log}; `ps -ef --forest` shows what the script waits for. [host-hangs]"

    def _kill(self) -> None:
        """Kill the script of a host that is given up. Errors are ignored: the host may be unreachable."""
        with contextlib.suppress(OSError):
            self._channel.send(f"{Request.KILL} KILL {self._number}\n".encode())

    def _follow(self, name: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        self._number += 1
        kill_timeout = self._timeouts.kill_inline if self._inline else self._timeouts.kill
        log = self._log_hint(name)
        return Follower(self._host, self._channel, self._number, kill_timeout, log, self._timeouts).follow(
            on_item, overdue
        )

    # --- the connection ----------------------------------------------------------------------------------------------

    def reconnect(self, why: str) -> None:
        """Replace a broken connection. The run keeps its locks. Raises LostError."""
        self._notice(f"the connection broke ({why}): reconnecting")
        deadline = time.monotonic() + self._timeouts.reconnect
        pause = 1.0
        while True:
            self._channel.drop()
            try:
                self.open()
                self._notice("reconnected")
                return
            except HostKeyError:
                raise
            except (ConnectError, OSError) as error:
                if time.monotonic() + pause > deadline:
                    seconds = round(self._timeouts.reconnect)
                    raise LostError(
                        f"{self._host}: cannot reconnect for {seconds} s: {error}",
                        "Run the command again. [ssh-broken]",
                    ) from None
                time.sleep(pause)
                pause = min(pause * 2, 15)

    @property
    def detached(self) -> bool:
        """Whether a detached script is running. It continues without this connection; an inline script does not."""
        return self._detached

    def stop(self) -> None:
        """Ask the running script to end after its current step. Never raises. Any thread can call it."""
        with contextlib.suppress(OSError):
            self._channel.send(f"{Request.STOP}\n".encode())

    def close(self) -> None:
        """Remove the run's files on the host and disconnect, even if the host does not answer. Never raises.

        A detached script continues, so its files stay. The next run waits for it and removes them.
        """
        deadline = time.monotonic() + self._timeouts.close
        self._closed = True
        with contextlib.suppress(OSError):
            if self._inline:
                self._kill()
            if not self._detached:
                self._channel.send(f"{Request.QUIT}\n".encode())
                while self._channel.receive(deadline):
                    pass
        self._channel.drop()
