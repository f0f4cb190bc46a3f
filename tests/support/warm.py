"""A process that has kbootstrap imported and forks one for every run: a run starts in 20 ms of CPU instead of 450.

Every run is a process of its own with the environment, the folder and the files it was given, and a child of the test's
process. `start` is `subprocess.Popen` for it. The server runs nothing itself and ends with the test's process.
"""

from __future__ import annotations

import array
import atexit
import ctypes
import functools
import importlib
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

MODULES = """
kbootstrap.cli kbootstrap.run kbootstrap.inventory.generate kbootstrap.remote.ssh.connection
kbootstrap.ui.jsonlines kbootstrap.ui.lines kbootstrap.ui.plan kbootstrap.ui.status kbootstrap.phases.catalogue fabric
paramiko
"""
"""What a run imports. One that is missing here is imported by the run itself."""
MAX_REQUEST = 1024 * 1024
PR_SET_CHILD_SUBREAPER = 36


class Run(subprocess.Popen[str]):
    """A run of kbootstrap that the server forks."""

    def _execute_child(self, *details: Any) -> None:  # what Popen calls to start the program
        words, folder, environment = details[0], details[5], details[6]
        read_in, write_in, read_out, write_out, read_err, write_err = details[10:16]
        request = {"words": words, "folder": folder or os.getcwd(), "environment": environment}
        self.pid = _server().fork(request, [read_in, write_out, write_err])
        self._child_created = True
        self._close_pipe_fds(  # type: ignore[attr-defined]
            read_in, write_in, read_out, write_out, read_err, write_err
        )


def start(words: list[str], environment: dict[str, str]) -> Run:
    """`kbootstrap WORDS` with an empty input; its output and errors are pipes."""
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    return Run(words, stdin=null, stdout=pipe, stderr=pipe, text=True, env=environment)


class _Server:
    def __init__(self) -> None:
        # The server's grandchildren become ours when their parent ends, so that we can wait for them.
        if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        tests = str(Path(__file__).parents[1])
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.warm", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": os.pathsep.join([tests, os.environ.get("PYTHONPATH", "")])},
            )
        atexit.register(self._end)

    def fork(self, request: dict[str, Any], files: list[int]) -> int:
        data = json.dumps(request).encode()
        self._socket.sendmsg([data], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", files))])
        answer = self._socket.recv(100)
        assert answer, "the server of warm runs ended"
        return int(answer)

    def _end(self) -> None:
        self._socket.close()
        self._process.communicate()


@functools.cache
def _server() -> _Server:
    return _Server()


# --- the server ------------------------------------------------------------------------------------------------------


def _serve(control: socket.socket) -> list[str] | None:
    """The words of a run, in a process that is to run it; None when the server is done."""
    while True:
        data, files, _flags, _peer = socket.recv_fds(control, MAX_REQUEST, 3)
        if not data:
            return None
        request = json.loads(data)
        if (number := _fork_twice()) == 0:
            control.close()
            return _become(request, files)
        for file in files:
            os.close(file)
        control.send(str(number).encode())


def _fork_twice() -> int:
    """0 in a process whose parent has ended; its number here."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(read)
        grandchild = os.fork()
        if grandchild == 0:
            os.close(write)
            return 0
        os.write(write, str(grandchild).encode())
        os._exit(0)
    os.close(write)
    os.waitpid(child, 0)
    with os.fdopen(read) as file:
        return int(file.read())


def _become(request: dict[str, Any], files: list[int]) -> list[str]:
    for target, file in enumerate(files):
        os.dup2(file, target)
        os.close(file)
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["folder"])
    words: list[str] = request["words"]
    return words


def main() -> None:
    for name in MODULES.split():
        importlib.import_module(name)
    words = _serve(socket.socket(fileno=int(sys.argv[1])))
    if words is not None:
        from kbootstrap import __main__, cli

        sys.modules["__main__"] = __main__
        sys.argv = [__main__.__file__, *words]
        cli.main()


if __name__ == "__main__":
    main()
