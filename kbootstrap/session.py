"""One host during a run: the launcher's protocol (see shell/launcher.sh) over a transport, with reconnects.

A session opens one connection and one command per host; every script of the run is fed through it. What only looks
runs from memory and ends with its connection. What changes something runs detached, so a broken connection is reopened
and the log followed from the last byte.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import shlex
import time
from collections import deque
from collections.abc import Callable, Iterator

from kbootstrap.model import ConnectError, Failure, HostKeyError, KbootstrapError, Mode, Secret, StepError
from kbootstrap.script import Output, Parser, Report, beginning, launcher
from kbootstrap.transport import Pipe, Transport

QUIET_S = 10
"""Seconds of silence after which the host is asked whether the script is alive."""
DEAD_S = 30
"""Seconds of silence, pings included, after which the connection counts as dead."""
RECONNECT_S = 300
"""Seconds for which a lost host is tried again before the host counts as failed."""
GONE_S = 2
"""Seconds for the last words of a script that has ended."""
WAIT_S = 1800
"""Seconds for which the script of an interrupted run is waited for; the longest step may take half of that."""
MAX_OUTPUT = 16 * 1024 * 1024
"""Most bytes a single script may print; more is a host gone mad."""

MAX_GREETING = 64 * 1024
"""Most bytes a host may say before it asks for the sudo password or greets."""
MAX_ANSWERS = 10_000
"""Most words of the launcher during one script, or while a connection is made; it says one every few seconds."""
MAX_BREAKS = 10
"""A connection that breaks so often within ``STABLE_S`` seconds after it was made, time after time, is given up."""
STABLE_S = 5
KILL_S = 30
"""Seconds a host has to end a script that took too long."""
KILL_LOOK_S = 5
"""The same for a look, which nothing is lost by: it is given no time to tidy up."""
CLOSE_S = 2
"""Seconds a host has to tidy up before the connection is closed."""

TO_DO = 76
"""Exit status of a look in apply mode that came to a step which does not hold (see shell/runner.sh)."""

_GREETING = "@kbootstrap"
_LAUNCHER_WORDS = {"ready", "busy", "waiting", "alive", "gone", "killed"}

Item = Report | Output


def _why(error: OSError) -> str:
    """What an error of a connection says; a timeout says nothing by itself."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)


def _look(name: str, script: str) -> bytes:
    """What the launcher is sent for a script that is run from memory."""
    data = script.encode()
    return f"look {name} {len(data)}\n".encode() + data


class LockedError(KbootstrapError):
    """Another run is at work on this host."""


class SudoError(StepError):
    """The login works, but the user does not become root."""

    exit_code = 4


class LostError(KbootstrapError):
    """The host went away and did not come back in time."""

    exit_code = 4


class BrokenError(LostError):
    """The connection broke during a look: nothing was changed, and it may be asked again. ``why`` says how it broke."""

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"{host}: the connection broke: {why}", "Is the host going down? Try again.")
        self.why = why


class Session:
    """``host`` is a name for messages; ``sudo`` is none, passwordless or password; ``notice`` gets short texts."""

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
    ) -> None:
        self._host = host
        self._transport = transport
        self._mode = mode
        self._sudo = sudo
        self._sudo_password = sudo_password
        self._notice = notice
        self._mark = "@kb-" + secrets.token_hex(8)
        self._arguments = [mode, f"r-{run_id}", owner]
        self._pipe: Pipe | None = None
        self._following = self._looking = False
        self._closed = False
        self._parser = Parser(self._mark, _LAUNCHER_WORDS)
        self._unread: deque[Item] = deque()
        self._ahead = b""
        self._number = 0

    # --- opening -----------------------------------------------------------------------------------------------------

    def open(self, timeout: float = 60, ahead: tuple[str, str] | None = None) -> None:
        """Connect, become root, take the host's lock. Raises ConnectError, LockedError or SudoError.

        ``ahead`` is the name and script that ``look`` will be asked for first: sent behind the launcher, it saves a
        round trip.
        """
        self._ahead = _look(*ahead) if ahead else b""
        self._unread.clear()
        self._transport.connect()
        try:
            self._pipe = self._transport.execute(self._command())
            self._parser = Parser(self._mark, _LAUNCHER_WORDS)
            self._shake_hands(time.monotonic() + timeout)
        except KbootstrapError:
            self._drop()
            raise
        except OSError as error:
            self._drop()
            raise ConnectError(
                f"{self._host}: the connection broke while it was set up: {_why(error)}", "Try again."
            ) from None

    def _command(self) -> str:
        shell = ["sh", "-c", beginning(), "kbootstrap", *self._arguments]
        sudo = {
            "none": [],
            "passwordless": ["sudo", "-n", "--"],
            "password": ["sudo", "-S", "-p", self._prompt, "--"],
        }[self._sudo]
        return shlex.join(sudo + shell)

    @property
    def _prompt(self) -> str:
        return f"{_GREETING} sudo {self._mark[4:12]}\n"

    def _shake_hands(self, deadline: float) -> None:
        if self._sudo == "password":
            self._answer_sudo(deadline)
        self._send(launcher(self._mark) + self._ahead)
        said: deque[str] = deque(maxlen=20)
        step, patience = "", time.monotonic() + WAIT_S
        items = self._items(lambda: deadline)
        for number, item in enumerate(items):
            if number > MAX_ANSWERS:
                raise self._flood()
            if isinstance(item, Output):
                said.extend([item.line] if item.line and item.line != f"{_GREETING} hello" else [])
            elif item.word == "ready":
                return
            elif item.word == "busy":
                raise LockedError(
                    f"{self._host}: another run is at work here: {' '.join(item.args)}",
                    "Wait until it has finished, or stop it; nothing was changed here by this run.",
                )
            elif item.word == "waiting":
                if " ".join(item.args)[:500] != step:
                    step = " ".join(item.args)[:500]
                    self._notice(f"a script of an interrupted run still works here, at {step}: waiting for its end")
                # It says so again every two seconds.
                deadline = min(time.monotonic() + DEAD_S, patience)
                if time.monotonic() > patience:
                    raise LockedError(
                        f"{self._host}: a script of an interrupted run works here for ever: {step}",
                        "Log in and see what it hangs on; its processes run below /run/kbootstrap.",
                    )
        raise self._refused(list(said))

    def _answer_sudo(self, deadline: float) -> None:
        """Give the password when sudo asks, and only then; a second question means it was wrong."""
        seen = b""
        asked = False
        prompt = self._prompt.encode()
        while f"{_GREETING} hello\n".encode() not in seen:
            if prompt in seen:
                if self._sudo_password is None:
                    raise self._refused(["sudo asks for a password and the inventory has none"])
                _, _, seen = seen.partition(prompt)
                self._send(self._sudo_password.reveal().encode() + b"\n")
                asked = True
            data = self._receive(deadline)
            seen += data
            if not data or (asked and prompt in seen) or len(seen) > MAX_GREETING:
                raise self._refused(seen.decode("utf-8", "replace").replace(self._prompt, "").splitlines())

    def _refused(self, said: list[str]) -> SudoError:
        hints = {
            "none": "Log in as root, or set ssh.sudo to passwordless or password.",
            "passwordless": "Give the user NOPASSWD in sudoers, or set ssh.sudo: password (and -K to be asked for it).",
            "password": "Check the sudo password and that the user may use sudo.",
        }
        return SudoError(
            Failure(
                message=f"{self._host}: cannot become root ({self._sudo}): " + (said[-1] if said else "no answer"),
                command=" ".join(["sudo"] if self._sudo != "none" else ["sh"]),
                output=tuple(said[-20:]),
                hint=hints[self._sudo],
            )
        )

    # --- scripts -----------------------------------------------------------------------------------------------------

    def look(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        """Run a script that only looks from memory, nothing detached. Returns its exit status, as ``run`` does.

        Raises BrokenError when the connection breaks: ``reconnect`` makes another one.
        """
        message = _look(name, script)
        self._parser.offset = 0
        self._looking = True
        try:
            if message != self._ahead:
                self._send(message)
            self._ahead = b""
            status = self._follow(on_item, overdue)
            self._looking = False
            return status
        except OSError as error:
            self._looking = False
            if self._closed:
                raise self._hung_up() from None
            raise BrokenError(self._host, _why(error)) from None

    def _hung_up(self) -> LostError:
        return LostError(f"{self._host}: the connection was closed while a script ran")

    def run(self, name: str, script: str, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        """Run a script detached and follow it to its end, through reconnects. Returns its exit status.

        ``overdue`` is asked once a second; when it says yes the script is ended and the status is 124.
        """
        data = script.encode()
        self._parser.offset = 0
        start = message = f"run {name} {len(data)}\n".encode() + data + b"whole\n"
        breaks = 0
        while True:
            connected = time.monotonic()
            try:
                self._send(message)
                self._following = True
                status = self._follow(on_item, overdue)
                self._following = False
                return status
            except OSError as error:
                if self._closed:
                    raise self._hung_up() from None
                breaks = breaks + 1 if time.monotonic() - connected < STABLE_S else 1
                if breaks > MAX_BREAKS:
                    raise LostError(
                        f"{self._host}: the connection breaks again and again: {_why(error)}",
                        "Look at the host and the network on the way, then run the command again.",
                    ) from None
                if overdue():
                    raise LostError(
                        f"{self._host}: the host does not answer, and its script takes too long", "Look at the host."
                    ) from None
                offset = self._parser.offset
                self.reconnect(_why(error))
                self._parser.offset = offset
                # Nothing heard: it may not have arrived. The launcher knows, and starts no script twice.
                message = f"follow {name} {offset + 1}\n".encode() if offset else start
            except KbootstrapError:
                self._following = False
                self._kill()
                raise

    def _kill(self) -> None:
        """End the script of a host that is given up, as far as that host listens."""
        with contextlib.suppress(OSError):
            self._send(f"kill KILL {self._number}\n".encode())

    def _follow(self, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        # On a busy host the answer to a question about the script before may come only now.
        self._number += 1
        heard = time.monotonic()
        pinged = heard
        gone_at: float | None = None
        killed_at: float | None = None
        answers = 0
        while True:
            now = time.monotonic()
            for item in self._next(1.0):
                heard = now
                if not isinstance(item, Report) or item.word not in _LAUNCHER_WORDS | {"done"}:
                    gone_at = None
                    on_item(item)
                elif item.word == "done":
                    return self._status(item)
                elif item.args and item.args != (str(self._number),):
                    pass  # about another script
                elif item.word == "killed":
                    return 124
                elif item.word == "gone" and gone_at is None:
                    gone_at = now
                answers += isinstance(item, Report) and item.word in _LAUNCHER_WORDS
            if gone_at is not None and now - gone_at > GONE_S:
                raise LostError(f"{self._host}: the script vanished", "Was the host rebooted? Run the command again.")
            if self._parser.received > MAX_OUTPUT or answers > MAX_ANSWERS:
                raise self._flood()
            if killed_at is None and overdue():
                killed_at = now
                self._send(f"kill TERM {self._number}\n".encode())
            if killed_at is not None and now - killed_at > (KILL_LOOK_S if self._looking else KILL_S):
                raise LostError(f"{self._host}: the host does not end a script that took too long", "Look at the host.")
            if now - heard > DEAD_S:
                raise ConnectionError(f"no sign of life for {DEAD_S} s")
            if now - max(heard, pinged) > QUIET_S:
                pinged = now
                self._send(f"ping {self._number}\n".encode())

    def _flood(self) -> LostError:
        text = f"{self._host}: more than {MAX_OUTPUT >> 20} MiB of output, or {MAX_ANSWERS} answers, from one script"
        return LostError(text, "Look at the host.")

    def _status(self, done: Report) -> int:
        if len(done.args) != 1 or not re.fullmatch(r"[0-9]{1,3}", done.args[0]):
            raise LostError(f"{self._host}: the host answers nonsense instead of an exit status", "Look at the host.")
        return int(done.args[0])

    def reconnect(self, why: str) -> None:
        """Make another connection in place of one that broke; this run keeps its locks. Raises LostError."""
        self._notice(f"the connection broke ({why}): reconnecting")
        deadline = time.monotonic() + RECONNECT_S
        pause = 1.0
        while True:
            self._drop()
            try:
                self.open()
                self._notice("connected again")
                return
            except HostKeyError:
                raise
            except (ConnectError, OSError) as error:
                if time.monotonic() + pause > deadline:
                    raise LostError(
                        f"{self._host}: lost for {RECONNECT_S} s: {error}", "Run the command again."
                    ) from None
                time.sleep(pause)
                pause = min(pause * 2, 15)

    @property
    def detached(self) -> bool:
        """Whether a script works there that goes on without this connection; a look does not."""
        return self._following

    def stop(self) -> None:
        """Ask the running script to end after its current step. Never raises; may be called from another thread."""
        pipe = self._pipe
        with contextlib.suppress(OSError):
            if pipe is not None:
                pipe.send(b"stop\n")

    def close(self) -> None:
        """Tidy up on the host and disconnect, whether it listens or talks on. Never raises.

        A script that runs goes on, so its files stay; the next run waits for it and removes them.
        """
        deadline = time.monotonic() + CLOSE_S
        self._closed = True
        with contextlib.suppress(OSError):
            if self._looking:
                self._kill()
            if not self._following:
                self._send(b"quit\n")
                while self._receive(deadline):
                    pass
        self._drop()

    def _drop(self) -> None:
        try:
            if self._pipe is not None:
                self._pipe.close()
            self._transport.close()
        except OSError:
            return
        finally:
            self._pipe = None

    # --- bytes -------------------------------------------------------------------------------------------------------

    def _send(self, data: bytes) -> None:
        if self._pipe is None:
            raise ConnectionError("not connected")
        self._pipe.send(data)

    def _receive(self, deadline: float) -> bytes:
        if self._pipe is None:
            raise ConnectionError("not connected")
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time")
        try:
            return self._pipe.recv(remaining)
        except TimeoutError:
            raise TimeoutError("no answer in time") from None

    def _items(self, deadline: Callable[[], float]) -> Iterator[Item]:
        """Everything that arrives until the end of the stream. Raises TimeoutError at the deadline, which may move."""
        while True:
            # What comes behind the answer that ends this loop is for the next one.
            while self._unread:
                yield self._unread.popleft()
            data = self._receive(deadline())
            if not data:
                break
            self._unread.extend(self._parser.feed(data))
            if self._parser.received > MAX_OUTPUT:
                raise self._flood()
        yield from self._parser.end()

    def _next(self, timeout: float) -> Iterator[Item]:
        """What arrives now, or nothing within ``timeout``. Raises ConnectionError at the end of the stream."""
        if self._unread:
            unread, self._unread = self._unread, deque()
            yield from unread
            return
        if self._pipe is None:
            raise ConnectionError("not connected")
        try:
            data = self._pipe.recv(timeout)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError("closed by the host")
        yield from self._parser.feed(data)
