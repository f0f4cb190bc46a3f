"""Runs a host's Python stand-ins as forks of its PID 1, which has imported their modules already.

The program of such a stand-in, ``bin/python-stand-in``, is a few lines of Perl. It connects to ``SOCKET``, sends what a
new process would inherit, and waits for the exit status. Starting Python and importing the modules for each of the 50
stand-ins that one `up` calls on a host took a third of all its CPU time.

A request is its length (4 bytes, native order) and these fields, separated by NUL: the umask, the descriptor of the
working directory, the number of arguments, the command's name, the arguments, and the environment as NAME=VALUE. The
descriptors themselves are taken from the calling process. The answer is one byte, the exit status. When the caller dies
first, its stand-in is killed.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import select
import signal
import socket
import struct
import sys
import traceback
from pathlib import Path
from typing import NoReturn

from kbootstrap_lab.simulated import linux, root

SOCKET = "/var/lib/sim/stand-ins"

MODULES = {
    "apt-cache": "apt",
    "apt-get": "apt",
    "apt-mark": "apt",
    "gpg2": "gpg",
    "yum": "dnf",
}
"""The module of a command, where it is not named as the command."""

FAKES = "kbootstrap_lab.simulated.fakes"


def preload() -> None:
    """Import every stand-in. Called once per lab, before its hosts are forked."""
    importlib.import_module("yaml")
    for path in (Path(__file__).parent / "fakes").glob("[!_]*.py"):
        importlib.import_module(f"{FAKES}.{path.stem}")


class StandIns:
    """The part of a host's PID 1 that starts stand-ins. ``poll`` is told which sockets to watch."""

    def __init__(self, poll: select.poll) -> None:
        self._poll = poll
        self._callers: dict[int, socket.socket] = {}
        with contextlib.suppress(FileNotFoundError):
            os.unlink(SOCKET)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(SOCKET)
        self._listener.listen(64)
        poll.register(self._listener, select.POLLIN)

    def handles(self, fd: int) -> bool:
        """Whether an event of this descriptor was for the stand-ins. If so, it has been dealt with."""
        if fd == self._listener.fileno():
            self._accept()
            return True
        for pid, caller in self._callers.items():
            if caller.fileno() == fd:
                if not _is_gone(caller):  # the event was for an earlier descriptor of this number
                    return True
                self._poll.unregister(caller)
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
                return True
        return False

    def ended(self, pid: int, status: int) -> None:
        """Tell the caller, if this process was a stand-in."""
        caller = self._callers.pop(pid, None)
        if caller is None:
            return
        with contextlib.suppress(KeyError):
            self._poll.unregister(caller)
        code = os.waitstatus_to_exitcode(status)
        with caller, contextlib.suppress(OSError):
            caller.send(bytes([code if code >= 0 else 128 - code]))

    def _accept(self) -> None:
        caller, _address = self._listener.accept()
        try:
            caller.settimeout(10)
            request = _received(caller)
            pid, _uid, _gid = struct.unpack("3i", caller.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
            descriptors = linux.descriptors_of(pid, [0, 1, 2, int(request[1])])
        except (OSError, ValueError):
            caller.close()
            return
        child = os.fork()
        if child == 0:
            _run(request, descriptors)
        for fd in descriptors:
            if fd is not None:
                os.close(fd)
        self._callers[child] = caller
        self._poll.register(caller, select.POLLIN)


def _is_gone(caller: socket.socket) -> bool:
    try:
        return caller.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def _received(caller: socket.socket) -> list[str]:
    with caller.makefile("rb") as file:
        (length,) = struct.unpack("I", file.read(4))
        return os.fsdecode(file.read(length)).split("\0")


def _run(request: list[str], descriptors: list[int | None]) -> NoReturn:
    """Become the process that the caller would have been, and run its stand-in. Never returns."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGCHLD, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        os.setsid()
        _inherit(descriptors)
        umask, _cwd, count, name, *rest = request
        os.umask(int(umask))
        os.environ.clear()
        os.environ.update(pair.partition("=")[::2] for pair in rest[int(count) :])
        status = _main(name, rest[: int(count)])
    finally:
        os._exit(status)


def _inherit(descriptors: list[int | None]) -> None:
    *standard, cwd = descriptors
    for target, fd in enumerate(standard):
        if fd is None:
            os.close(target)
        else:
            os.dup2(fd, target)
    if cwd is not None:
        os.fchdir(cwd)
    os.closerange(3, 4096)
    sys.stdin = open(0, encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", encoding="utf-8", errors="surrogateescape", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115


def _main(name: str, arguments: list[str]) -> int:
    """Run the stand-in's ``main`` with this host's settings. Returns its exit status."""
    from kbootstrap_lab.simulated.fakes import common

    sys.argv = [name, *arguments]
    sys.path[:] = [path.replace(sys.base_prefix, root.python_home(), 1) for path in sys.path]
    common.read_host()
    module = importlib.import_module(f"{FAKES}.{MODULES.get(name, name)}")
    try:
        status: int = module.main(name, arguments)
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stdout.flush()
    return status & 0xFF
