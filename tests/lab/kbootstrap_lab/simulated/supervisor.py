"""Runs the private roots: one process per lab, and a child process per host that is the host's PID 1.

    python -m kbootstrap_lab.simulated.supervisor FD SHARED_DIR [NAME=PATH ...]

The supervisor moves into new user, mount, PID, network and IPC namespaces and builds ``/machine``: the real machine's
programs, the Python that runs the stand-ins, and the stand-ins themselves, all read-only. Then it leaves the real root
with pivot_root, so that it cannot write to the real machine any more. It forks one process per host, and each enters
new namespaces. The network namespace has only loopback, with the addresses of the simulated hosts. The hosts can reach
each other's open ports and nothing else.

FD is a socket to the daemon. Each message to the supervisor is a host's spec, with the control socket of the host. The
host answers requests on that socket (see ``Init``). When the daemon ends, the kernel kills the supervisor and, with its
PID namespace, every process of every host.
"""

from __future__ import annotations

import fcntl
import gc
import json
import os
import select
import signal
import socket
import sys
import termios
from pathlib import Path
from typing import Any, NoReturn

from kbootstrap_lab.simulated import linux, root, standins
from kbootstrap_lab.simulated.paths import LAB, MACHINE
from kbootstrap_lab.simulated.spec import NETWORK, Spec

MAX_MESSAGE = 200 * 1024
"""Longest request, in bytes. The daemon refuses a longer command."""

DISK = "40g"
"""The size of a host's disk, a tmpfs. It takes only as much memory as is written."""

DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
BASE = "/machine"


def main(argv: list[str]) -> int:
    standins.preload()
    control = socket.socket(fileno=int(argv[0]))
    shared, binds = argv[1], dict(pair.split("=", 1) for pair in argv[2:])
    _enter_namespaces()
    child = os.fork()
    if child:
        control.close()
        os.waitpid(child, 0)
        return 0
    linux.die_with_parent(signal.SIGKILL)
    try:
        _build_base(shared, binds)
        control.send(b'{"ready": true}')
    except OSError as error:
        control.send(json.dumps({"error": str(error)}).encode())
        return 1
    _supervise(control)


def _enter_namespaces() -> None:
    uid, gid = os.getuid(), os.getgid()
    linux.unshare(
        linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
    )
    linux.become_root(uid, gid)
    linux.make_local(NETWORK)
    linux.die_with_parent(signal.SIGKILL)


def _build_base(shared: str, binds: dict[str, str]) -> None:
    """Make the root that every host copies: read-only binds below /machine and the lab's shared directory."""
    missing = root.find_tools()
    if missing:
        raise OSError("this machine lacks " + ", ".join(missing))
    linux.mount(None, "/", flags=linux.MS_REC | linux.MS_PRIVATE)
    base = "/tmp"
    keep = os.open(shared, os.O_PATH)
    sources = {name: os.open(path, os.O_PATH) for name, path in binds.items()}
    linux.mount("tmpfs", base, "tmpfs", data="mode=0755")
    for directory in ("machine", "lab", "host", "old", "proc"):
        os.mkdir(f"{base}/{directory}")
    linux.mount("tmpfs", f"{base}/machine", "tmpfs", data="mode=0755")
    linux.mount(f"/proc/self/fd/{keep}", f"{base}/lab", flags=linux.MS_BIND)
    linux.mount("/proc", f"{base}/proc", flags=linux.MS_BIND | linux.MS_REC)
    linux.bind_read_only("/usr", _made(f"{base}/machine/usr"))
    linux.bind_read_only("/proc", _made(f"{base}/machine/proc"))
    for name, fd in sources.items():
        linux.bind_read_only(f"/proc/self/fd/{fd}", _made(f"{base}/machine/{name}"))
    os.mkdir(f"{base}/machine/dev")
    for name in DEVICES:
        Path(f"{base}/machine/dev/{name}").touch()
        linux.bind_read_only(f"/dev/{name}", f"{base}/machine/dev/{name}")
    root.link_unmerged_usr(f"{base}/machine")
    root.write_runtime(f"{base}/machine")
    linux.mount(None, f"{base}/machine", flags=linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY)
    linux.pivot_root(base, f"{base}/old")
    linux.detach("/old")
    for fd in (keep, *sources.values()):
        os.close(fd)


def _made(path: str) -> str:
    os.makedirs(path)
    return path


def _supervise(control: socket.socket) -> NoReturn:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.umask(0o022)
    gc.freeze()
    while True:
        data, fds, _flags, _peer = socket.recv_fds(control, MAX_MESSAGE, 1)
        if not data:
            os._exit(0)
        if os.fork() == 0:
            control.close()
            _start_host(Spec.from_json(json.loads(data)), socket.socket(fileno=fds[0]))
        os.close(fds[0])


def _start_host(spec: Spec, control: socket.socket) -> NoReturn:
    try:
        linux.unshare(
            linux.CLONE_NEWUSER | linux.CLONE_NEWNS | linux.CLONE_NEWPID | linux.CLONE_NEWUTS | linux.CLONE_NEWIPC
        )
        linux.become_root(0, 0)
        if os.fork():
            os._exit(0)
        _build_host(spec)
        control.send(b'{"ready": true}')
        Init(control, spec).serve()
    except BaseException as error:
        control.send(json.dumps({"error": f"{type(error).__name__}: {error}"}).encode())
    os._exit(1)


def _build_host(spec: Spec) -> None:
    linux.mount("tmpfs", "/host", "tmpfs", flags=linux.MS_NODEV, data=f"mode=0755,size={DISK}")
    for directory in (MACHINE, LAB, "/.old", "/run"):
        os.mkdir("/host" + directory)
    linux.mount(BASE, "/host" + MACHINE, flags=linux.MS_BIND | linux.MS_REC)
    linux.mount("/lab", "/host" + LAB, flags=linux.MS_BIND)
    linux.pivot_root("/host", "/host/.old")
    linux.detach("/.old")
    os.rmdir("/.old")
    _mount_run()
    if spec.snapshot:
        root.restore(spec)
    else:
        root.build(spec)


def _mount_run() -> None:
    linux.mount("tmpfs", "/run", "tmpfs", flags=linux.MS_NODEV | linux.MS_NOSUID, data="mode=0755,size=800m")


class Init:
    """PID 1 of a host: starts commands, reaps every process, and answers requests of the daemon.

    Requests are JSON objects with an ``id`` and an ``op``. Each is answered by one message with that id, ``run`` by two
    (``pid`` at once, ``status`` when the command has ended; a negative status is the signal that ended it).

    run      argv, env, cwd, tty; with three file descriptors: stdin, stdout, stderr
    signal   pid, number
    boot     run the boot script, before the first login
    halt     kill every process and clear /run and the host's name, like a power cut
    freeze, thaw   stop and continue every process
    size     bytes: the disk's new size (0: the usual one)
    open     open the ports that the host offers
    idle     answers whether the work of the kubelet is done
    """

    def __init__(self, control: socket.socket, spec: Spec) -> None:
        self._control = control
        self._ip = spec.ip
        self._net = f"{LAB}/net/{spec.ip}"
        self._running: dict[int, int] = {}
        self._listeners: dict[int, socket.socket] = {}
        self._pods = 0
        self._pods_again = False
        self._wake = os.open(f"{self._net}/wake", os.O_RDWR | os.O_NONBLOCK)
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_read, False)
        os.set_blocking(self._wake_write, False)

    def serve(self) -> NoReturn:
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        os.setsid()
        gc.freeze()
        self._poll = select.poll()
        for fd in (self._control.fileno(), self._wake_read, self._wake):
            self._poll.register(fd, select.POLLIN)
        self._stand_ins = standins.StandIns(self._poll)
        while True:
            for fd, _event in self._poll.poll():
                if fd == self._wake_read:
                    os.read(self._wake_read, 4096)
                    self._reap()
                elif fd == self._wake:
                    os.read(self._wake, 4096)
                    self._update()
                elif fd == self._control.fileno():
                    self._answer()
                elif not self._stand_ins.handles(fd):
                    self._accept(fd)

    # --- the work of the kubelet and the kernel: pods and open ports ---

    def _update(self) -> None:
        """Open ports and run pods after a change of the host's state or its cluster's."""
        self._open_ports()
        if os.path.exists("/var/lib/sim/cluster"):
            self._run_pods()

    def _open_ports(self) -> None:
        ports = {int(name) for name in os.listdir(f"{self._net}/listen")}
        for port in set(self._listeners) - ports:
            self._close(port)
        for port in ports - set(self._listeners):
            self._listen(port)

    def _listen(self, port: int) -> None:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((self._ip, port))
        listener.listen(16)
        listener.setblocking(False)
        self._listeners[port] = listener
        self._poll.register(listener, select.POLLIN)

    def _close(self, port: int) -> None:
        listener = self._listeners.pop(port)
        self._poll.unregister(listener)
        listener.close()

    def _accept(self, fd: int) -> None:
        """Accept a connection, which shows that the port is open, and close it."""
        for listener in self._listeners.values():
            if listener.fileno() == fd:
                try:
                    listener.accept()[0].close()
                except OSError:
                    return

    def _run_pods(self) -> None:
        if self._pods:
            self._pods_again = True
            return
        null = os.open("/dev/null", os.O_RDWR)
        self._pods = self._spawn([MACHINE + "/sim/bin/kubelet-pods"], {"PATH": "/usr/sbin:/usr/bin"}, "/", [null] * 3)
        os.close(null)

    def _send(self, **message: Any) -> None:
        self._control.send(json.dumps(message).encode())

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._ended(pid, status)

    def _ended(self, pid: int, status: int) -> None:
        request = self._running.pop(pid, None)
        if request is not None:
            self._send(id=request, status=os.waitstatus_to_exitcode(status))
        self._stand_ins.ended(pid, status)
        if pid == self._pods:
            self._pods = 0
            if self._pods_again:
                self._pods_again = False
                self._run_pods()

    def _answer(self) -> None:
        data, fds, _flags, _peer = socket.recv_fds(self._control, MAX_MESSAGE, 3)
        if not data:
            os._exit(0)
        request = json.loads(data)
        try:
            getattr(self, "_op_" + request["op"])(request, fds)
        except OSError as error:
            self._send(id=request["id"], error=str(error))
        finally:
            for fd in fds:
                os.close(fd)

    def _op_run(self, request: dict[str, Any], fds: list[int]) -> None:
        pid = self._spawn(request["argv"], request["env"], request["cwd"], fds, request["tty"])
        self._running[pid] = request["id"]
        self._send(id=request["id"], pid=pid)

    def _spawn(self, argv: list[str], env: dict[str, str], cwd: str, fds: list[int], tty: bool = False) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            signal.set_wakeup_fd(-1)
            for number in (signal.SIGCHLD, signal.SIGPIPE, signal.SIGINT):
                signal.signal(number, signal.SIG_DFL)
            os.setsid()
            for target, fd in enumerate(fds):
                os.dup2(fd, target)
            if tty:
                fcntl.ioctl(0, termios.TIOCSCTTY, 0)
            try:
                os.chdir(cwd)
            except OSError:
                os.chdir("/")
            os.execve(argv[0], argv, env)  # noqa: S606 - starting commands is what an init does
        except BaseException as error:
            os.write(2, f"{argv[0]}: {error}\n".encode())
        os._exit(127)

    def _op_signal(self, request: dict[str, Any], _fds: list[int]) -> None:
        os.kill(request["pid"], request["number"])
        self._send(id=request["id"])

    def _op_freeze(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._kill_all(signal.SIGSTOP)
        self._send(id=request["id"])

    def _op_thaw(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._kill_all(signal.SIGCONT)
        self._send(id=request["id"])

    def _op_halt(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._pods_again = False
        self._kill_all(signal.SIGKILL)
        self._reap_killed()
        for name in os.listdir(f"{self._net}/listen"):
            os.unlink(f"{self._net}/listen/{name}")
        for port in list(self._listeners):
            self._close(port)
        linux.detach("/run")
        _mount_run()
        root.clear("/tmp")
        self._send(id=request["id"])

    def _op_boot(self, request: dict[str, Any], _fds: list[int]) -> None:
        root.power_on()
        null = os.open("/dev/null", os.O_RDWR)
        log = os.open("/var/log/boot.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        pid = self._spawn([MACHINE + "/sim/bin/boot"], {"PATH": "/usr/sbin:/usr/bin"}, "/", [null, log, log])
        os.close(null)
        os.close(log)
        self._running[pid] = request["id"]

    def _op_size(self, request: dict[str, Any], _fds: list[int]) -> None:
        size = request["bytes"] or DISK
        linux.mount(None, "/", flags=linux.MS_REMOUNT | linux.MS_NODEV, data=f"size={size}")
        self._send(id=request["id"])

    def _op_open(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._open_ports()
        self._send(id=request["id"])

    def _op_idle(self, request: dict[str, Any], _fds: list[int]) -> None:
        self._send(id=request["id"], idle=not self._pods)

    def _kill_all(self, number: int) -> None:
        """Signal every other process of this host. The host's PID namespace limits this to its own processes."""
        if os.getpid() != 1:
            raise OSError("not PID 1 of a host")
        try:
            os.kill(-1, number)
        except ProcessLookupError:
            return

    def _reap_killed(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, 0)
            except ChildProcessError:
                return
            self._ended(pid, status)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
