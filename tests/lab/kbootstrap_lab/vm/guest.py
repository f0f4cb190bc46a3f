"""Runs commands as root inside a machine, through the QEMU guest agent: without network, without SSH."""

from __future__ import annotations

import base64
import contextlib
import fcntl
import itertools
import json
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from kbootstrap_lab.errors import LabError

SYNC_SECONDS = 10
"""Longest wait for the agent to say that it listens, in seconds."""
_numbers = itertools.count(os.getpid() * 1000)


class Silent(Exception):
    """The agent does not answer: the machine is off, boots, or hangs."""


def connect(path: Path) -> socket.socket:
    """Connect to a Unix socket, however long its path is (the kernel takes 107 bytes)."""
    connection = socket.socket(socket.AF_UNIX)
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY)
    try:
        connection.connect(f"/proc/self/fd/{folder}/{path.name}")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(folder)
    return connection


def run(path: Path, command: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a shell command. Raises Silent, or LabError when it does not end in time."""
    with _agent(path) as agent:
        arguments: dict[str, Any] = {"path": "/bin/sh", "arg": ["-c", command], "capture-output": True}
        if stdin:
            arguments["input-data"] = base64.b64encode(stdin.encode()).decode()
        pid = agent.ask("guest-exec", **arguments)["pid"]
        deadline, pause = time.monotonic() + timeout, 0.02
        while not (state := agent.ask("guest-exec-status", pid=pid))["exited"]:
            if time.monotonic() > deadline:
                agent.ask("guest-exec", path="/bin/kill", arg=["-9", str(pid)])
                raise LabError(f"a command did not end within {timeout} s:\n{command.strip()}")
            time.sleep(pause)
            pause = min(pause * 1.5, 0.5)
    code = state.get("exitcode", -state.get("signal", 0))
    return subprocess.CompletedProcess(command, code, _decode(state, "out-data"), _decode(state, "err-data"))


def _decode(state: dict[str, Any], key: str) -> str:
    return base64.b64decode(state.get(key, "")).decode(errors="replace")


class _Agent:
    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._replies = connection.makefile("rb")

    def ask(self, command: str, **arguments: Any) -> Any:
        self._send(b"", command, arguments)
        return self._read(self._replies.readline())

    def synchronise(self) -> None:
        """Skip what is left of an earlier conversation: the agent puts a byte 0xFF before the reply to this one."""
        number = next(_numbers)
        self._send(b"\xff", "guest-sync-delimited", {"id": number})
        while True:
            while (byte := self._replies.read(1)) != b"\xff":
                if not byte:
                    raise Silent
            with contextlib.suppress(ValueError, LabError):
                if self._read(self._replies.readline()) == number:
                    return

    def _send(self, before: bytes, command: str, arguments: dict[str, Any]) -> None:
        self._connection.sendall(before + json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")

    @staticmethod
    def _read(line: bytes) -> Any:
        if not line:
            raise Silent
        reply = json.loads(line)
        if "error" in reply:
            raise LabError(f"the guest agent says: {reply['error'].get('desc')}")
        return reply["return"]


@contextlib.contextmanager
def _agent(path: Path) -> Iterator[_Agent]:
    """The agent, for one conversation: it has a single connection."""
    with contextlib.ExitStack() as stack:
        lock = stack.enter_context(path.with_suffix(".lock").open("w"))
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            connection = stack.enter_context(connect(path))
            connection.settimeout(SYNC_SECONDS)
            agent = _Agent(connection)
            agent.synchronise()
            yield agent
        except OSError as error:
            raise Silent(str(error)) from None
