"""The hosts of a run: connect, gather facts, drop a host, disconnect."""

from __future__ import annotations

import getpass
import os
import re
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from kbootstrap.errors import ConnectError, Failure, InventoryError, KbootstrapError, StepError
from kbootstrap.events import Notice, StepEnded, StepStarted
from kbootstrap.inventory import private_keys
from kbootstrap.inventory.models import Host
from kbootstrap.phases.builtin import FACTS, SSH
from kbootstrap.remote import facts, script
from kbootstrap.remote.facts import Facts
from kbootstrap.remote.protocol import Status
from kbootstrap.remote.session import Item, LockedError, Session
from kbootstrap.remote.ssh.shared import LockedKeyError, SshShared
from kbootstrap.remote.ssh.transport import SshTransport
from kbootstrap.remote.transport import Transport
from kbootstrap.run.options import Control, Options
from kbootstrap.run.phase_run import failure_of
from kbootstrap.run.scheduler import Post, Task
from kbootstrap.run.state import RunState
from kbootstrap.steps import Mode, State, Step
from kbootstrap.text import counted

FACTS_S = 60
"""Time limit for the facts of a host, in seconds."""
CLOSE_S = 10
"""Time limit to disconnect from all hosts, in seconds."""


def builtin_step(post: Post, host: str, phase: str, step: Step, work: Callable[[], tuple[str, ...]]) -> int:
    """Run a step in Python; ``work`` returns the lines to show. Returns the exit code: 0 is success."""
    began = time.time()
    post(StepStarted(began, host, phase, step.id, step.title))
    failure: Failure | None = None
    lines: tuple[str, ...] = ()
    exit_code = 0
    try:
        lines = work()
    except KbootstrapError as error:
        exit_code, failure = error.exit_code, failure_of(error)
    now = time.time()
    state: State = "failed" if failure else "ok"
    post(StepEnded(now, host, phase, step.id, step.title, state, now - began, lines, failure))
    return exit_code


@dataclass
class Hosts:
    """Opens one session per host and gathers its facts.

    ``busy`` are the hosts on which another run is active. ``exit_codes`` are the exit codes of the failures here.
    """

    command: str
    mode: Mode
    options: Options
    control: Control
    state: RunState
    sessions: dict[str, Session] = field(default_factory=dict)
    busy: set[str] = field(default_factory=set)
    exit_codes: set[int] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._shared = SshShared(self.control.timeouts, trusted=self.state.given.inventory.trusted)

    def check_keys(self, hosts: Iterable[Host]) -> None:
        """Read the private keys that the inventory names. Raises InventoryError that names every one that is no use.

        A key with a passphrase that the inventory does not have is left to the login: an agent may have it.
        """
        wrong = []
        for (key, passphrase), place in private_keys(self.state.given.inventory, hosts).items():
            try:
                self._shared.key(key, passphrase)
            except LockedKeyError:
                continue
            except ConnectError as error:
                wrong.append(f"{place}: {error.message}")
        if wrong:
            raise InventoryError(
                "\n".join(wrong), "Correct the path of the private key, the file, or its passphrase. [ssh-key]"
            )

    def open_task(self, host: Host, post: Post) -> Task:
        """The task that connects to the host and gathers its facts. The session's notices go to ``post``."""

        def work(_post: Post) -> bool:
            session = self._session(host, post)
            exit_code = builtin_step(post, host.name, "connect", SSH, lambda: self._connect(host.name, session, post))
            if exit_code == 0:
                exit_code = builtin_step(
                    post, host.name, "facts", FACTS, lambda: self._gather(host.name, session, post)
                )
            if exit_code:
                post(lambda: self.exit_codes.add(exit_code))
            return exit_code == 0

        return Task(("connect", host.name), lambda: work)

    def lose(self, name: str) -> None:
        """The host takes no further part in the run."""
        self.state.lost.add(name)
        session = self.sessions.pop(name, None)
        if session is not None:
            session.close()

    def close(self) -> None:
        """Disconnect from all hosts in parallel."""
        threads = [threading.Thread(target=session.close, daemon=True) for session in self.sessions.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=CLOSE_S)
        self._shared.close()

    def _session(self, host: Host, post: Post) -> Session:
        return Session(
            host.name,
            self._transport(host),
            mode=self.mode,
            run_id=self.control.run_id,
            owner=f"{_operator()} since {time.strftime('%H:%M:%S %Z')} ({self.command})",
            sudo=host.ssh.sudo,
            sudo_password=self.options.sudo_password or host.ssh.sudo_password,
            notice=lambda text: post(Notice(time.time(), "warning", text, host.name)),
            timeouts=self.control.timeouts,
        )

    def _transport(self, host: Host) -> Transport:
        if self.options.ssh_password is not None:
            ssh = host.ssh.model_copy(update={"password": self.options.ssh_password})
            host = host.model_copy(update={"ssh": ssh})
        return SshTransport(host, self._shared)

    def _connect(self, name: str, session: Session, post: Post) -> tuple[str, ...]:
        try:
            session.open(ahead=("facts", script.facts_script()))
        except LockedError:
            post(lambda: self.busy.add(name))
            raise
        post(lambda: self.sessions.update({name: session}))
        return ()

    def _gather(self, name: str, session: Session, post: Post) -> tuple[str, ...]:
        found = _gathered(name, session)
        post(lambda: self.state.facts.update({name: found}))
        size = f"{counted(found.cpus, 'CPU')}, {found.memory_mib / 1024:.1f} GiB"
        return (f"{(found.os_name or found.os.id)[:100]} ({found.arch[:20]}, {size})",)


def _operator() -> str:
    """Who runs this, as plain words: they are part of a command line for shells of every kind."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return re.sub(r"[^A-Za-z0-9@._-]", "?", f"{user}@{socket.gethostname()}")


def _gathered(name: str, session: Session) -> Facts:
    lines: list[str] = []

    def keep(item: Item) -> None:
        if isinstance(item, script.Output):
            lines.append(item.line[: 2 * facts.MAX_VALUE])
        if len(lines) > facts.MAX_LINES:
            raise KbootstrapError(
                f"the host's facts have more than {facts.MAX_LINES} lines",
                "Run kbootstrap/shell/facts.sh (in the installed package) on that host to see its output. "
                "[login-shell]",
            )

    deadline = time.monotonic() + FACTS_S
    status = session.run_inline("facts", script.facts_script(), keep, lambda: time.monotonic() > deadline)
    if status != Status.OK:
        late = status == Status.TIMED_OUT
        text = f"gathering facts did not end within {FACTS_S} s" if late else "gathering facts failed"
        hint = (
            "Log in and check for a hanging file system (df), a full disk (df -h) or no free memory (free -m). "
            "[host-hangs]"
        )
        raise StepError(Failure(text, "facts.sh", int(status), tuple(lines[-20:]), hint))
    return facts.parse(lines, received_at=time.time())
