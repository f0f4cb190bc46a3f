"""The bench's hosts: the first process of their namespaces. It starts one sshd per host and answers requests.

Every host is a network namespace and a mount namespace with its own /run, /tmp and /root (all of them tmpfs) and an
OpenSSH server with its own configuration and host key. A host has only its own addresses and ports. The network
namespace of this process is the router between them. The steps write below ``NODE``; this process reads and resets it
through /proc/PID/root. Requests are JSON lines on standard input, answers are JSON lines on standard output. This
process ends when the input ends, and the kernel then ends every other process in the namespace.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

NODE = "run/node"
"""The folder the steps prepare, below a host's root."""
BEFORE = {
    "etc/hosts": "127.0.0.1 localhost\n::1 localhost ip6-localhost\n",
    "etc/fstab": "/dev/vda1 / ext4 defaults 0 1\n/dev/vda2 none swap sw 0 0\n",
    "etc/selinux/config": "SELINUX=enforcing\nSELINUXTYPE=targeted\n",
}
"""The files of a host before the first run."""
MAC = "02:00:00:00:00:01"
"""Every device's. Each link has two ends only, so nobody has to be asked who has which (``arp off``): with hundreds of
hosts the kernel's table of neighbours, which all namespaces share, would be full."""
_HOST = """
set -eu
ip link add eth0 address "$MAC" type veth peer name "$NAME" address "$MAC" netns 1
{
    echo 'link set lo up'
    echo 'link set eth0 arp off up'
    printf 'address add %s/32 dev eth0\\n' $ADDRESSES
    echo 'route add default dev eth0'
} | ip -batch -
{
    echo "link set $NAME arp off up"
    printf "route add %s dev $NAME\\n" $ADDRESSES
} | nsenter --net=/proc/1/ns/net ip -batch -
for folder in run tmp root; do mount -t tmpfs -o mode=755 host /$folder; done
mkdir /run/sshd /run/bench
printf '%s' "$CONFIG" >/run/bench/sshd_config
printf '%s\\n' "$HOST_KEY" >/run/bench/host_key
printf '%s\\n' "$AUTHORIZED" >/run/bench/authorized_keys
chmod 600 /run/bench/*
unset NAME ADDRESSES MAC CONFIG HOST_KEY AUTHORIZED
exec "$0" -D -e -f /run/bench/sshd_config
"""
_CONFIG = """Port 22
HostKey /run/bench/host_key
AuthorizedKeysFile /run/bench/authorized_keys
PidFile none
UsePAM no
UseDNS no
StrictModes no
PermitRootLogin prohibit-password
MaxStartups 200
PrintMotd no
Subsystem sftp internal-sftp
LogLevel VERBOSE
"""
TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Sshd:
    name: str
    pid: int

    @property
    def root(self) -> Path:
        return Path(f"/proc/{self.pid}/root")


class Hosts:
    """All hosts of a bench, and the resource use and logs of their servers."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._hosts: list[Sshd] = []
        self._reference: dict[str, str] = {}
        self._seen = 0
        self._cpu = 0.0

    def start(self, sshd: str, authorized: str, hosts: list[dict[str, Any]], script: str) -> dict[str, Any]:
        """Start the servers and wait until they answer. Prepare one host as the reference for ``verify``."""
        Path("/proc/sys/net/ipv4/ip_forward").write_text("1")
        for host in hosts:
            self._hosts.append(Sshd(host["name"], self._listen(sshd, authorized, host)))
        for host in hosts:
            for address in host["addresses"]:
                _wait_for(address)
        self.reset()
        self._learn(script)
        self.reset()
        return {}

    def _listen(self, sshd: str, authorized: str, host: dict[str, Any]) -> int:
        env = {
            "PATH": os.environ["PATH"],
            "NAME": host["name"],
            "ADDRESSES": " ".join(host["addresses"]),
            "MAC": MAC,
            "CONFIG": _CONFIG,
            "HOST_KEY": host["key"],
            "AUTHORIZED": authorized,
        }
        with self._log.open("ab") as log:
            command = ["unshare", "--mount", "--net", "sh", "-c", _HOST, sshd]
            return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env).pid

    def _learn(self, script: str) -> None:
        host = self._hosts[0]
        subprocess.run(
            ["nsenter", f"--mount=/proc/{host.pid}/ns/mnt", "sh", "-s"],
            input=script,
            text=True,
            check=True,
            env={"PATH": os.environ["PATH"], "NAME": host.name},
            stdout=subprocess.DEVNULL,
        )
        self._reference = _snapshot(host)

    def reset(self) -> dict[str, Any]:
        """Reset every host to its state before the first run."""
        for host in self._hosts:
            for name in ("tmp", "root"):
                for path in (host.root / name).iterdir():
                    shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
            node = host.root / NODE
            shutil.rmtree(node, ignore_errors=True)
            for name, text in BEFORE.items():
                (node / name).parent.mkdir(parents=True, exist_ok=True)
                (node / name).write_text(text)
        return {}

    def verify(self, count: int) -> dict[str, Any]:
        """The differences from a prepared host on the first ``count`` hosts after a run."""
        wrong = []
        for host in self._hosts[:count]:
            found = _snapshot(host)
            for name in sorted(found.keys() | self._reference.keys()):
                if found.get(name) != self._reference.get(name):
                    wrong.append(f"{host.name}:{name}")
        return {"wrong": wrong}

    def account(self) -> dict[str, Any]:
        """CPU seconds, connections and execs since the last call. Waits until every session has ended."""
        deadline = time.monotonic() + 30
        while left := self._others():
            if time.monotonic() > deadline:
                return {"error": f"processes are left on the hosts: {left[:5]}"}
            time.sleep(0.01)
        cpu = sum(_cpu(host.pid, "self and children") for host in self._hosts) + _cpu(os.getpid(), "children")
        with self._log.open("rb") as log:
            log.seek(self._seen)
            said = log.read().decode("utf-8", "replace")
            self._seen = log.tell()
        used, self._cpu = cpu - self._cpu, cpu
        return {
            "cpu_s": used,
            "connections": len(re.findall(r"^Accepted \w+ for ", said, re.MULTILINE)),
            "execs": len(re.findall(r"^Starting session: ", said, re.MULTILINE)),
            "sftp": len(re.findall(r"^Starting session: subsystem 'sftp'", said, re.MULTILINE)),
        }

    def _others(self) -> list[str]:
        """Processes that are neither this one nor a listening sshd. Reaps orphans that have ended."""
        ours = {host.pid for host in self._hosts} | {os.getpid()}
        _reap(ours)
        return [name for name in os.listdir("/proc") if name.isdigit() and int(name) not in ours]


def _reap(ours: set[int]) -> None:
    while True:
        try:
            pid, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in ours:
            raise RuntimeError("an SSH server has ended; see its log")


def _wait_for(address: str) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection((address, 22), timeout=5).close()
            return
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def _cpu(pid: int, whose: str) -> float:
    """User and system seconds of a process and of the children that it has reaped."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    first, last = (13, 15) if whose == "children" else (11, 15)
    return sum(map(int, fields[first:last])) / TICK


def _snapshot(host: Sshd) -> dict[str, str]:
    """Every path below the node's folder with its mode and content, without the host's name."""
    return dict(_entries(host.root / NODE, host.name))


def _entries(top: Path, name: str) -> Iterator[tuple[str, str]]:
    for folder, folders, files in os.walk(top):
        for entry in sorted(folders + files):
            path = Path(folder, entry)
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                what = os.readlink(path)
            elif stat.S_ISREG(mode):
                content = path.read_text().replace(name, "NAME")
                what = f"{stat.S_IMODE(mode):o} {hashlib.sha256(content.encode()).hexdigest()}"
            else:
                what = f"{stat.S_IMODE(mode):o}"
            yield str(path.relative_to(top)), what


def main() -> None:
    hosts = Hosts(Path(sys.argv[1]))
    orders: dict[str, Callable[..., dict[str, Any]]] = {
        "start": hosts.start,
        "reset": hosts.reset,
        "verify": hosts.verify,
        "account": hosts.account,
        "hello": dict,
    }
    for line in sys.stdin:
        order = json.loads(line)
        answer = orders[order.pop("do")](**order)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
