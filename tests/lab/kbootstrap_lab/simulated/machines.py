"""The daemon's interface to the private roots: starts the supervisor, makes hosts, runs commands in them."""

from __future__ import annotations

import itertools
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import kbootstrap_lab
from kbootstrap_lab.errors import LabError
from kbootstrap_lab.simulated.paths import MACHINE
from kbootstrap_lab.simulated.spec import Spec

MAX_MESSAGE = 200 * 1024
_USERNS_HINT = (
    "simulated hosts need user namespaces: run as root, or allow them "
    "(sysctl user.max_user_namespaces, kernel.apparmor_restrict_unprivileged_userns=0)"
)


class Process:
    """A command in a host. ``status`` is None while it runs, then its exit status or the negative signal number."""

    def __init__(self) -> None:
        self.pid = 0
        self.status: int | None = None
        self._ended = threading.Event()
        self._on_end: Callable[[int], None] | None = None
        self._lock = threading.Lock()

    def finish(self, status: int) -> None:
        with self._lock:
            self.status = status
            callback = self._on_end
        self._ended.set()
        if callback:
            callback(status)

    def on_end(self, callback: Callable[[int], None]) -> None:
        """Call ``callback`` with the status once, immediately when the command has already ended."""
        with self._lock:
            self._on_end = callback
            status = self.status
        if status is not None:
            callback(status)

    def wait(self, timeout: float | None = None) -> int | None:
        """The status, or None when the command still runs after ``timeout`` seconds."""
        self._ended.wait(timeout)
        return self.status


class Machine:
    """The daemon's connection to one host's PID 1."""

    def __init__(self, spec: Spec, control: socket.socket) -> None:
        self.spec = spec
        self.control = control
        self._ids = itertools.count(1)
        self._answers: dict[int, tuple[threading.Event, dict[str, Any]]] = {}
        self._processes: dict[int, Process] = {}
        self._lock = threading.Lock()
        # A lock of its own: sending waits while PID 1 has ten messages unread, and the receiver needs the other lock.
        self._sending = threading.Lock()
        self._ready = threading.Event()
        self._error = ""

    def wait_ready(self, timeout: float) -> None:
        """Wait until the host's root is built. Raises LabError when that fails."""
        if not self._ready.wait(timeout):
            raise LabError(f"host {self.spec.name} was not built within {timeout:.0f} s")
        if self._error:
            raise LabError(f"host {self.spec.name} cannot be built: {self._error}", _USERNS_HINT)

    def receive(self) -> bool:
        """Receive one message of the host's PID 1. Returns False when PID 1 has ended."""
        data = self.control.recv(MAX_MESSAGE)
        if not data:
            self._lost()
            return False
        message = json.loads(data)
        if "id" not in message:
            self._error = message.get("error", "")
            self._ready.set()
            return True
        number = message["id"]
        if "status" in message:
            with self._lock:
                process = self._processes.pop(number, None)
            if process:
                process.finish(message["status"])
                return True
        with self._lock:
            waiting = self._answers.pop(number, None)
        if waiting:
            waiting[1].update(message)
            waiting[0].set()
        return True

    def _lost(self) -> None:
        self._error = self._error or "its PID 1 ended"
        self._ready.set()
        with self._lock:
            processes, self._processes = list(self._processes.values()), {}
            answers, self._answers = list(self._answers.values()), {}
        for process in processes:
            process.finish(-signal.SIGKILL)
        for event, message in answers:
            message["error"] = self._error
            event.set()

    def request(self, op: str, timeout: float = 60, fds: Sequence[int] = (), **arguments: Any) -> dict[str, Any]:
        """Send a request to PID 1 and wait for the answer. Raises LabError."""
        number = next(self._ids)
        return self._ask(number, op, timeout, fds, arguments)

    def _ask(
        self, number: int, op: str, timeout: float, fds: Sequence[int], arguments: Mapping[str, Any]
    ) -> dict[str, Any]:
        event, answer = threading.Event(), dict[str, Any]()
        message = json.dumps({"id": number, "op": op, **arguments}).encode()
        if len(message) > MAX_MESSAGE:
            raise LabError("the command is too long for a simulated host")
        with self._lock:
            self._answers[number] = (event, answer)
        with self._sending:
            socket.send_fds(self.control, [message], list(fds))
        if not event.wait(timeout):
            raise LabError(f"host {self.spec.name} does not answer")
        if "error" in answer:
            raise LabError(f"host {self.spec.name}: {answer['error']}")
        return answer

    def start(
        self, argv: Sequence[str], env: Mapping[str, str], cwd: str, fds: Sequence[int], terminal: bool = False
    ) -> Process:
        """Start a command with the given stdin, stdout and stderr. ``terminal``: they are a terminal."""
        process, number = Process(), next(self._ids)
        with self._lock:
            self._processes[number] = process
        answer = self._ask(number, "run", 60, fds, {"argv": list(argv), "env": dict(env), "cwd": cwd, "tty": terminal})
        process.pid = answer["pid"]
        return process

    def boot(self) -> None:
        """Power the host on. Its boot script ends before anybody can log in."""
        process, number = Process(), next(self._ids)
        with self._lock:
            self._processes[number] = process
        with self._sending:
            socket.send_fds(self.control, [json.dumps({"id": number, "op": "boot"}).encode()], [])
        if process.wait(60) != 0:
            _status, out, _err = self.output("tail -n 5 /var/log/boot.log")
            raise LabError(f"host {self.spec.name} did not boot: {out.decode('utf-8', 'replace').strip()}")

    def output(self, command: str, stdin: bytes = b"", timeout: float = 60) -> tuple[int, bytes, bytes]:
        """Run a shell command as root without SSH, for tests and faults. Returns status, stdout and stderr."""
        with open(os.devnull, "rb") as null, _temporary(stdin) as source, _temporary() as out, _temporary() as err:
            fds = [source.fileno() if stdin else null.fileno(), out.fileno(), err.fileno()]
            process = self.start(["/bin/sh", "-c", command], environment("root", "/root", False), "/root", fds)
            status = process.wait(timeout)
            if status is None:
                self.request("signal", pid=process.pid, number=int(signal.SIGKILL))
                raise LabError(f"host {self.spec.name}: {command!r} did not end within {timeout:.0f} s")
            out.seek(0)
            err.seek(0)
            return status, out.read(), err.read()


def _temporary(content: bytes = b"") -> Any:
    file = os.fdopen(os.memfd_create("kbootstrap"), "w+b")
    file.write(content)
    file.flush()
    file.seek(0)
    return file


def environment(user: str, home: str, debian: bool) -> dict[str, str]:
    """The environment that sshd gives a command. Debian's PATH has no sbin for ordinary users."""
    path = "/usr/local/bin:/usr/bin:/bin:/usr/games"
    if user == "root" or not debian:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    return {"USER": user, "LOGNAME": user, "HOME": home, "SHELL": "/bin/bash", "PATH": path, "SIM_USER": user}


class Supervisor:
    """The supervisor process and its hosts. One thread receives the messages of all hosts."""

    def __init__(self, shared: Path) -> None:
        self.machines: dict[str, Machine] = {}
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket = ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", "kbootstrap_lab.simulated.supervisor", str(theirs.fileno()), str(shared), *_binds()],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        theirs.close()
        self._selector = selectors.DefaultSelector()
        self._await_ready(shared.parent / "log")
        threading.Thread(target=self._receive, name="supervisor", daemon=True).start()

    def _await_ready(self, log: Path) -> None:
        self._socket.settimeout(30)
        try:
            data = self._socket.recv(MAX_MESSAGE)
        except TimeoutError:
            raise LabError("the supervisor of the simulated hosts did not start") from None
        if b"ready" not in data:
            detail = json.loads(data)["error"] if data else _last_words(log)
            raise LabError(f"simulated hosts cannot be made on this machine: {detail}", _USERNS_HINT)
        self._socket.settimeout(None)
        self._wake_read, self._wake_write = os.pipe()
        self._selector.register(self._wake_read, selectors.EVENT_READ)

    def add(self, spec: Spec) -> Machine:
        """Start making a host. ``wait_ready`` waits until it is made."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            socket.send_fds(self._socket, [json.dumps(spec.to_json()).encode()], [theirs.fileno()])
        machine = Machine(spec, ours)
        self.machines[spec.name] = machine
        self._selector.register(ours, selectors.EVENT_READ, machine)
        os.write(self._wake_write, b".")
        return machine

    def _receive(self) -> None:
        while True:
            for key, _events in self._selector.select():
                if key.data is None:
                    os.read(self._wake_read, 4096)
                elif not key.data.receive():
                    self._selector.unregister(key.fileobj)

    def close(self) -> None:
        """End the supervisor. The kernel then ends every process of every host, with the PID namespace."""
        self._socket.close()
        self._process.kill()
        self._process.wait()


def _last_words(log: Path) -> str:
    """The last line that the supervisor printed before it ended."""
    lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
    return lines[-1] if lines else "the supervisor ended without a word"


def _binds() -> list[str]:
    """The paths of the real machine below a host's ``MACHINE``, besides /usr, /proc and a few devices."""
    import yaml  # the stand-in of kubeadm reads YAML documents

    binds = {
        "modules/kbootstrap_lab": Path(kbootstrap_lab.__file__).parent,
        "modules/yaml": Path(yaml.__file__).parent,
    }
    if sys.base_prefix != "/usr":
        binds["python"] = Path(sys.base_prefix)
    return [f"{name}={path.resolve()}" for name, path in binds.items()]


__all__ = ["MACHINE", "Machine", "Process", "Supervisor", "environment"]
