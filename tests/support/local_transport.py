"""A transport to a shell on this machine, for tests of everything above SSH."""

from __future__ import annotations

import os
import select
import subprocess
from collections.abc import Mapping, Sequence
from typing import IO

from kbootstrap.remote.transport import Pipe


class LocalPipe:
    def __init__(self, argv: Sequence[str], env: Mapping[str, str] | None) -> None:
        self._process = subprocess.Popen(
            argv,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=env,
            bufsize=0,
        )

    def send(self, data: bytes) -> None:
        stdin = self._open_end(self._process.stdin)
        view = memoryview(data)
        while view:
            view = view[stdin.write(view) :]

    def recv(self, timeout: float) -> bytes:
        stdout = self._open_end(self._process.stdout)
        ready, _, _ = select.select([stdout], [], [], timeout)
        if not ready:
            raise TimeoutError
        return os.read(stdout.fileno(), 65536)

    @staticmethod
    def _open_end(stream: IO[bytes] | None) -> IO[bytes]:
        if stream is None or stream.closed:
            raise ConnectionError("closed")
        return stream

    def close(self) -> None:
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class LocalTransport:
    """A shell on this machine; ``shell`` is the command that takes the shell text as its last argument."""

    def __init__(self, shell: Sequence[str] = ("/bin/sh", "-c"), env: Mapping[str, str] | None = None) -> None:
        self._shell = tuple(shell)
        self._env = env

    def connect(self) -> None:
        """Nothing to connect."""

    def execute(self, command: str) -> Pipe:
        return LocalPipe((*self._shell, command), self._env)

    def close(self) -> None:
        """Nothing to close."""
