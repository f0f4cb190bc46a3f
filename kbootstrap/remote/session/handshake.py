"""The start of a connection: become root, start the launcher, take the host's lock."""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from kbootstrap.errors import Failure
from kbootstrap.remote.last_words import fitting_hint
from kbootstrap.remote.protocol import Answer
from kbootstrap.remote.script import Output, Report, bootstrap, launcher
from kbootstrap.remote.session.channel import Channel
from kbootstrap.remote.session.errors import MAX_ANSWERS, LockedError, SudoError, flood, unusable
from kbootstrap.remote.timeouts import Timeouts
from kbootstrap.secret import Secret

MAX_GREETING = 64 * 1024
"""Maximum bytes from a host before the sudo prompt or the greeting."""

_GREETING = "@kbootstrap"
_HELLO = f"{_GREETING} hello"
_HINTS = {
    "none": "Log in as root, or set ssh.sudo to passwordless or password. [sudo]",
    "passwordless": "Give the user NOPASSWD in sudoers, or set ssh.sudo: password and use -K. [sudo-password]",
    "password": "Check the sudo password, and run `sudo -l` to check that the user can use sudo. [sudo-password]",
}
_NO_COMMAND = (
    "Run `ssh HOST true`: it must end at once. A login shell, its rc files or a ForceCommand are in the way. "
    "[login-shell]"
)
_ABOUT_SUDO = re.compile(r"sudo|password", re.I)


@dataclass(frozen=True)
class Handshake:
    """``arguments`` are the launcher's arguments; ``sudo`` is none, passwordless or password. [sudo]"""

    host: str
    channel: Channel
    marker: str
    arguments: tuple[str, ...]
    sudo: str
    sudo_password: Secret | None
    notice: Callable[[str], None]
    timeouts: Timeouts

    def command(self) -> str:
        """The command of the connection."""
        shell = ["sh", "-c", bootstrap(), "kbootstrap", *self.arguments]
        # PAM's own prompt replaces sudo's, unless it is the English one: hence LC_ALL.
        sudo = {
            "none": [],
            "passwordless": ["sudo", "-n", "--"],
            "password": ["env", "LC_ALL=C", "sudo", "-S", "-p", self._prompt, "--"],
        }[self.sudo]
        return shlex.join(sudo + shell)

    @property
    def _prompt(self) -> str:
        return f"{_GREETING} sudo {self.marker[4:12]} "

    def shake_hands(self, ahead: bytes) -> None:
        """Send the launcher, then ``ahead``, and wait until the host is ready.

        Raises LockedError, SudoError, LostError or OSError.
        """
        deadline = time.monotonic() + self.timeouts.opening
        if self.sudo == "password":
            self._answer_sudo(deadline)
        self._send(launcher(self.marker) + ahead)
        output: deque[str] = deque(maxlen=20)
        greeted = False
        step, wait_until = "", time.monotonic() + self.timeouts.wait
        items = self.channel.items(lambda: deadline)
        try:
            for number, item in enumerate(items):
                if number > MAX_ANSWERS:
                    raise flood(self.host)
                if isinstance(item, Output):
                    greeted = greeted or item.line.endswith(_HELLO)
                    output.extend([item.line] if item.line and not item.line.endswith(_HELLO) else [])
                elif item.word == Answer.READY:
                    return
                elif item.word == Answer.BUSY:
                    raise self._busy(item)
                elif item.word == Answer.UNUSABLE:
                    raise unusable(self.host, item.args)
                elif item.word == Answer.WAITING:
                    step = self._tell_step(item, step)
                    # The launcher repeats this report every two seconds.
                    deadline = min(time.monotonic() + self.timeouts.dead, wait_until)
                    if time.monotonic() > wait_until:
                        raise self._still_running(step)
        except TimeoutError:
            if step:
                raise
            output.append(self._no_answer)
        raise self._refused(list(output), greeted=greeted)

    def _send(self, data: bytes) -> None:
        """If the command has ended already, nothing can be sent, but its last words are still to be read."""
        with contextlib.suppress(OSError):
            self.channel.send(data)

    @property
    def _no_answer(self) -> str:
        return f"no answer within {self.timeouts.opening:.0f} s"

    def _busy(self, item: Report) -> LockedError:
        return LockedError(
            f"{self.host}: another run is active on this host: {' '.join(item.args)}",
            "Wait until it has finished, or stop it; this run changed nothing here. [another-run]",
        )

    def _tell_step(self, item: Report, before: str) -> str:
        """Tell the operator, once per step, that we wait for a script. Returns the step."""
        step = " ".join(item.args)[:500]
        if step != before:
            self.notice(f"a script left by an interrupted run is still running, at {step}: waiting for its end")
        return step

    def _still_running(self, step: str) -> LockedError:
        minutes = round(self.timeouts.wait / 60)
        return LockedError(
            f"{self.host}: a script left by an interrupted run is still running after {minutes} min, at {step}",
            "Log in and run `ps -ef --forest` to see what it waits for; its log is in /run/kbootstrap/r-*/. "
            "[another-run]",
        )

    def _answer_sudo(self, deadline: float) -> None:
        """Send the password when sudo asks, and only then. A second prompt means that it was wrong."""
        seen = b""
        asked = False
        prompt = self._prompt.encode()
        while f"{_HELLO}\n".encode() not in seen:
            if prompt in seen:
                if self.sudo_password is None:
                    raise self._refused(["sudo asks for a password, but none is set (ssh.sudo_password or -K)"])
                _, _, seen = seen.partition(prompt)
                self._send(self.sudo_password.reveal().encode() + b"\n")
                asked = True
            try:
                data = self.channel.receive(deadline)
            except TimeoutError:
                data, seen = b"", seen + b"\n" + self._no_answer.encode()
            seen += data
            if not data or (asked and prompt in seen) or len(seen) > MAX_GREETING:
                said = seen.decode("utf-8", "replace").replace(self._prompt, "").splitlines()
                raise self._refused(said, asked=asked)

    def _refused(self, output: list[str], *, greeted: bool = False, asked: bool = False) -> SudoError:
        """The error for a host whose last words were ``output``. ``asked``: sudo got the password."""
        output = [line for line in output if line.strip()]
        said = "\n".join(output)
        about_sudo = asked or (not greeted and self.sudo != "none" and bool(_ABOUT_SUDO.search(said)))
        what = f"cannot become root ({self.sudo})" if about_sudo else "the host does not run our command"
        return SudoError(
            Failure(
                message=f"{self.host}: {what}: " + (output[-1].strip() if output else "no answer"),
                command=" ".join(["sudo"] if self.sudo != "none" else ["sh"]),
                output=tuple(output[-20:]),
                hint=fitting_hint(said) or (_HINTS[self.sudo] if about_sudo else _NO_COMMAND),
            )
        )
