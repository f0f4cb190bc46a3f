"""The same SSH server twice: OpenSSH's sshd on this machine, and the simulated fleet's own."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import yaml
from labs import MakeLab

from kbootstrap.inventory import Host, load
from kbootstrap.lab import simulated


class Server(Protocol):
    """An SSH server with a user who may log in with ``key``; ``known_hosts`` has its host key."""

    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path

    def drop(self) -> None:
        """Break every connection there is."""

    def new_host_key(self) -> None:
        """Show another host key from now on."""

    def stop(self) -> None: ...


@dataclass
class Sshd:
    """A real sshd with a configuration of its own."""

    folder: Path
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path

    @classmethod
    def start(cls, folder: Path) -> Sshd:
        folder.mkdir()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        key, known = folder / "user_key", folder / "known_hosts"
        server = cls(folder, "127.0.0.1", port, getpass.getuser(), key, known)
        make_key(key)
        make_key(folder / "host_key")
        shutil.copy(key.with_suffix(".pub"), folder / "authorized_keys")
        words = (folder / "host_key.pub").read_text().split()
        known.write_text(f"[127.0.0.1]:{port} {words[0]} {words[1]}\n")
        server._run()
        return server

    def _run(self) -> None:
        Path("/run/sshd").mkdir(exist_ok=True)
        config = self.folder / "sshd_config"
        config.write_text(
            f"ListenAddress 127.0.0.1:{self.port}\nHostKey {self.folder / 'host_key'}\nPidFile none\nUsePAM no\n"
            f"AuthorizedKeysFile {self.folder / 'authorized_keys'}\nStrictModes no\nUseDNS no\n"
            "PermitRootLogin prohibit-password\nMaxStartups 100\n"
        )
        program = shutil.which("sshd", path=f"{os.environ['PATH']}:/usr/sbin") or "sshd"
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen([program, "-D", "-e", "-f", str(config)], stderr=log)
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection((self.address, self.port), timeout=1).close()
                return
            except ConnectionRefusedError:
                assert time.monotonic() < deadline, (self.folder / "log").read_text()
                time.sleep(0.02)

    def drop(self) -> None:
        for child in self._sessions():
            with contextlib.suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def _sessions(self) -> list[int]:
        found = subprocess.run(["ps", "-o", "pid=", "--ppid", str(self._process.pid)], capture_output=True, text=True)
        return [int(pid) for pid in found.stdout.split()]

    def new_host_key(self) -> None:
        self.stop()
        for name in ("host_key", "host_key.pub"):
            (self.folder / name).unlink()
        make_key(self.folder / "host_key")
        self._run()

    def stop(self) -> None:
        self.drop()
        self._process.terminate()
        self._process.wait(timeout=10)


@dataclass
class Simulated:
    """A host of the simulated fleet."""

    name: str
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path

    @classmethod
    def start(cls, make: MakeLab, **options: Any) -> Simulated:
        lab = make(1, 0, **options).lab
        host, folder = lab.hosts[0], lab.directory
        return cls(lab.name, host.address, host.port, "kb", folder / "id_ed25519", folder / "known_hosts")

    def drop(self) -> None:
        simulated.fault(self.name, "cp1", "drop")

    def new_host_key(self) -> None:
        simulated.fault(self.name, "cp1", "host-key")

    def stop(self) -> None:
        """The lab goes with its fixture."""


def make_key(path: Path, *options: str) -> None:
    command = ["ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-C", "test", "-f", str(path), *options]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)


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
    path = folder / "inventory.yaml"
    host = {"name": "cp1", "address": address, "internal_address": "192.0.2.1", "role": "master"}
    text = yaml.safe_dump(
        {"cluster": {"name": "test", "kubernetes": "1.34"}, "ssh": {k: v for k, v in settings.items() if v is not None},
         "hosts": [host]}
    )  # fmt: skip
    path.write_text(text)
    path.chmod(0o600)
    return load(path).host("cp1")
