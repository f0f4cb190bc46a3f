"""The same SSH server twice: OpenSSH's sshd, in namespaces of its own, and the simulated fleet's."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import yaml
from support.labs import MakeLab

from kbootstrap.inventory import load
from kbootstrap.inventory.models import Host
from kbootstrap.secret import Secret
from kbootstrap_lab import simulated

PASSWORD = "pass wörd"


class Server(Protocol):
    """An SSH server with a user who may log in with ``key`` and PASSWORD; ``known_hosts`` has its host key."""

    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path

    def drop(self) -> None:
        """Break every connection there is."""

    def freeze(self) -> None:
        """Every connection there is stays open, and nothing comes over it any more."""

    def thaw(self) -> None:
        """Take ``freeze`` or ``cut`` back."""

    def cut(self) -> None:
        """Break every connection and accept no other."""

    def new_host_key(self) -> None:
        """Show another host key from now on."""

    def root(self, command: str) -> str:
        """The output of a command on the host, past SSH."""

    def stop(self) -> None:
        """End it, and every process on it."""


# The host sshd is on: this machine, but with its own /run, user and processes, so that nothing it does reaches the
# machine or another test, nothing of the machine's user (a .bashrc) reaches it, and no process outlives it. The shell
# is its init: it starts sshd unless it is to be cut off.
_HOST = """
mount -t tmpfs -o mode=0755 none /run && mkdir /run/sshd && mount --bind "$1/passwd" /etc/passwd &&
mount --bind "$1/shadow" /etc/shadow && mount --bind "$1/pam" /etc/pam.d/sshd || exit 1
eval "$3" || exit 1
while sleep 0.02; do
    [ -e "$1/cut" ] || "$2" -D -e -f "$1/sshd_config"
done
"""


@dataclass
class Sshd:
    """OpenSSH's sshd. ``options`` are lines of sshd_config before ours, ``mounts`` more commands for the host."""

    folder: Path
    options: tuple[str, ...] = ()
    mounts: str = ":"
    address: str = "127.0.0.1"
    user: str = "root"
    port: int = field(init=False)
    key: Path = field(init=False)
    known_hosts: Path = field(init=False)

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True)
        self.key, self.known_hosts = self.folder / "user_key", self.folder / "known_hosts"
        with socket.socket() as free:
            free.bind((self.address, 0))
            self.port = free.getsockname()[1]
        make_key(self.key)
        make_key(self.folder / "host_key")
        self.authorize(self.key)
        self.known_hosts.write_text(known_line(self, self.folder / "host_key.pub"))
        self._write_accounts()
        self._start()

    def _write_accounts(self) -> None:
        (self.folder / "passwd").write_text(
            f"root:x:0:0::{self.folder}:/bin/sh\nsshd:x:100:65534::/run/sshd:/usr/sbin/nologin\n"
            "nobody:x:65534:65534::/:/bin/sh\n"
        )
        (self.folder / "pam").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")
        (self.folder / "shadow").write_text(f"root:{hashed_password()}:19000:0:99999:7:::\nsshd:!:19000::::::\n")

    def authorize(self, key: Path) -> None:
        with (self.folder / "authorized_keys").open("a") as file:
            file.write(key.with_name(key.name + ".pub").read_text())

    def _start(self) -> None:
        lines = [
            *self.options,
            f"ListenAddress {self.address}:{self.port}",
            *(f"HostKey {path}" for path in sorted(self.folder.glob("host_key*")) if path.suffix != ".pub"),
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}",
            "PidFile none",
            "StrictModes no",
            "UseDNS no",
            "UsePAM yes",
            "PermitRootLogin yes",
            "PasswordAuthentication yes",
            "KbdInteractiveAuthentication yes",
            "PrintMotd no",
            "MaxStartups 100",
            "MaxAuthTries 3",
        ]
        (self.folder / "sshd_config").write_text("\n".join(lines) + "\n")
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"
        namespaces = [
            "setpriv",
            "--pdeathsig",
            "KILL",
            "unshare",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
            "--mount-proc",
        ]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [*namespaces, "sh", "-c", _HOST, "sh", self.folder, program, self.mounts], stderr=log
            )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 10
        while not self._listens():
            ended = self._process.poll() is not None
            assert not ended and time.monotonic() < deadline, (self.folder / "log").read_text()  # noqa: PT018
            time.sleep(0.02)

    def _listens(self) -> bool:
        with contextlib.suppress(ConnectionRefusedError):
            socket.create_connection((self.address, self.port), timeout=1).close()
            return True
        return False

    def _init(self) -> int:
        return children(self._process.pid)[0]

    def _listeners(self) -> list[int]:
        """The sshd that waits for connections; scripts whose sshd is gone are children of init as well."""
        return children(self._init(), "[listener]")

    def _sessions(self) -> list[int]:
        """The sshd of every connection."""
        return [session for listener in self._listeners() for session in children(listener)]

    def drop(self) -> None:
        kill(self._sessions(), signal.SIGKILL)

    def freeze(self) -> None:
        kill(self._sessions(), signal.SIGSTOP)

    def thaw(self) -> None:
        kill(self._sessions(), signal.SIGCONT)
        (self.folder / "cut").unlink(missing_ok=True)
        self._wait()

    def cut(self) -> None:
        (self.folder / "cut").touch()
        kill([*self._sessions(), *self._listeners()], signal.SIGKILL)

    def new_host_key(self) -> None:
        self.cut()
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink()
        make_key(self.folder / "host_key")
        self.thaw()

    def root(self, command: str) -> str:
        inside = ["nsenter", "--mount", "--pid", "--target", str(self._init())]
        return subprocess.run([*inside, "sh", "-c", command], capture_output=True, text=True, check=True).stdout

    def stop(self) -> None:
        self._process.kill()
        self._process.wait(timeout=10)


def hashed_password() -> str:
    """PASSWORD as shadow has it."""
    command = ["openssl", "passwd", "-6", "-stdin"]
    return subprocess.run(command, input=PASSWORD.encode(), capture_output=True, check=True).stdout.decode().strip()


@dataclass
class Simulated:
    """A host of the simulated fleet."""

    lab: simulated.Lab
    number: int = 0

    def __post_init__(self) -> None:
        host = self.lab.hosts[self.number]
        self.name, self.address, self.port, self.user = host.name, host.address, host.port, "kb"
        self.key, self.known_hosts = self.lab.directory / "id_ed25519", self.lab.directory / "known_hosts"

    @classmethod
    def start(cls, make: MakeLab, **options: Any) -> Simulated:
        return cls(make(1, 0, **{"password": Secret(PASSWORD), **options}).lab)

    def _fault(self, kind: str) -> None:
        simulated.fault(self.lab.name, self.name, kind)

    def drop(self) -> None:
        self._fault("drop")

    def freeze(self) -> None:
        self._fault("stop")

    def thaw(self) -> None:
        self._fault("heal")

    def cut(self) -> None:
        self._fault("cut")

    def new_host_key(self) -> None:
        self._fault("host-key")

    def root(self, command: str) -> str:
        return simulated.run(self.lab.name, self.name, command).stdout

    def stop(self) -> None:
        """The lab goes with its fixture."""


def kill(pids: list[int], number: signal.Signals) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


def children(pid: int, word: str = "") -> list[int]:
    """The child processes of one, or only those whose command line has this word."""
    command = ["ps", "-ww", "-o", "pid=,args=", "--ppid", str(pid)]
    found = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return [int(line.split()[0]) for line in found.splitlines() if word in line]


def connections(server: Server) -> int:
    """How many connections to the server are open on this machine."""
    address = socket.inet_aton(server.address)[::-1].hex().upper() + f":{server.port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return sum(1 for line in lines if line.split()[2] == address and line.split()[3] == "01")


def make_key(path: Path, *options: str) -> None:
    """A key pair; ``options`` of ssh-keygen may ask for another type than Ed25519 or a passphrase (-N)."""
    command = ["ssh-keygen", "-q", *([] if "-N" in options else ["-N", ""]), "-t", "ed25519", "-C", "test"]
    subprocess.run([*command, "-f", str(path), *options], check=True, stdin=subprocess.DEVNULL)


def known_line(server: Server, public_key: Path) -> str:
    """The line of known_hosts that says: this server has this key."""
    kind, key = public_key.read_text().split()[:2]
    return f"[{server.address}]:{server.port} {kind} {key}\n"


def inventory_host(folder: Path, server: Server, **ssh: Any) -> Host:
    """An inventory host for the server; keywords replace or (None) remove keys of its ``ssh`` section."""
    address = ssh.pop("address", server.address)
    settings = {
        "user": server.user,
        "port": server.port,
        "key": str(server.key),
        "known_hosts": str(server.known_hosts),
        "config": str(folder / "no-ssh-config"),
        "sudo": "none" if server.user == "root" else "passwordless",
        "connect_timeout": 5,
    } | ssh
    document = {
        "cluster": {"name": "test", "kubernetes": "1.34"},
        "ssh": {name: value for name, value in settings.items() if value is not None},
        "hosts": [{"name": "cp1", "address": address, "internal_address": "192.0.2.1", "role": "control-plane"}],
    }
    path = folder / "inventory.yaml"
    path.write_text(yaml.safe_dump(document, allow_unicode=True))
    path.chmod(0o600)
    return load(path).host("cp1")


def hop(server: Server, **settings: Any) -> dict[str, Any]:
    """A server as an entry of ``ssh.bastions``."""
    return {
        "address": server.address,
        "port": server.port,
        "user": server.user,
        "key": str(server.key),
    } | settings
