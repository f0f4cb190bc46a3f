"""N OpenSSH servers in a private network, and two links to them: one direct, one with a delay.

There is one network namespace for the clients, one per host, and a router between them. The clients have two links to
the router and no other network: a veth pair (198.18.0.0/16) and the relay's TUN pair (198.19.0.0/16). Both networks are
reserved for benchmarks. Every host has an address in both.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmark import relay
from benchmark.hosts import MAC

HERE = Path(__file__).parent
DIRECT, DELAYED = "198.18", "198.19"
CLIENT = "255.254"
"""The client's end of both links."""
ROUTER = "255.253"
"""The router's own address, from which it sees whether the servers answer."""


class BenchError(Exception):
    """The bench failed. The message has the reason."""


@dataclass(frozen=True)
class Host:
    """A host from the view of a client. ``address`` depends on the link."""

    name: str
    address: str


class Orders:
    """A helper process that answers each line with a line of JSON. It ends when its input ends."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)

    def __call__(self, order: str) -> dict[str, Any]:
        if self.process.stdin is None or self.process.stdout is None:
            raise BenchError("a helper has no pipes")
        self.process.stdin.write(order + "\n")
        answer = self.process.stdout.readline()
        if not answer:
            raise BenchError(f"{self.process.args!r} ended with {self.process.wait()}")
        told: dict[str, Any] = json.loads(answer)
        if "error" in told:
            raise BenchError(str(told["error"]))
        return told

    def close(self) -> None:
        if self.process.stdin is not None:
            self.process.stdin.close()
        self.process.wait(timeout=30)


class Servers:
    """A context manager that runs the servers and sends requests to them."""

    def __init__(self, folder: Path, count: int, script: str) -> None:
        self._folder = folder
        self._count = count
        self._script = script
        self._helpers: list[subprocess.Popen[str]] = []

    @property
    def key(self) -> Path:
        return self._folder / "id_ed25519"

    @property
    def known_hosts(self) -> Path:
        return self._folder / "known_hosts"

    def hosts(self, count: int, rtt_ms: int) -> list[Host]:
        network = DELAYED if rtt_ms else DIRECT
        return [Host(_name(number), _address(network, number)) for number in range(1, count + 1)]

    def client(self, *command: str) -> list[str]:
        """The command, prefixed so that it runs in the clients' network."""
        return ["nsenter", f"--net={_namespace(self._client.process.pid)}", *command]

    # --- starting and ending -----------------------------------------------------------------------------------------

    def __enter__(self) -> Servers:
        sshd = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if sshd is None:
            raise BenchError("sshd is not installed (Debian: apt install openssh-server)")
        keys = self._make_keys()
        python = [sys.executable, "-I"]
        inside = [*python, str(HERE / "hosts.py"), str(self._folder / "sshd.log")]
        # This process does nothing: it keeps the clients' namespace open.
        self._client = Orders(
            ["unshare", "--net", *python, "-c", "import sys\nfor _ in sys.stdin: print('{}', flush=True)"]
        )
        self._hosts = Orders(
            ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", *inside]
        )
        self._client("hello")
        self._order("hello")
        namespaces = [_namespace(helper.process.pid) for helper in (self._client, self._hosts)]
        self._relay = Orders([*python, str(HERE / "relay.py"), *namespaces])
        self.counted(0)
        self._connect(*namespaces)
        hosts = [
            {
                "name": _name(number),
                "addresses": [_address(network, number) for network in (DIRECT, DELAYED)],
                "key": key,
            }
            for number, key in enumerate(keys, start=1)
        ]
        authorized = self.key.with_suffix(".pub").read_text()
        self._order("start", sshd=sshd, authorized=authorized, hosts=hosts, script=self._script)
        self.account()
        return self

    def __exit__(self, *details: object) -> None:
        for helper in (self._relay, self._hosts, self._client):
            helper.close()

    def _make_keys(self) -> list[str]:
        """Host keys, the users' key and known_hosts; returns the private host keys."""
        keys, known = [], []
        _keygen(self.key)
        for number in range(1, self._count + 1):
            path = self._folder / f"host_key_{number}"
            _keygen(path)
            keys.append(path.read_text())
            words = path.with_suffix(".pub").read_text().split()
            known += [f"{_address(network, number)} {words[0]} {words[1]}\n" for network in (DIRECT, DELAYED)]
        self.known_hosts.write_text("".join(known))
        return keys

    def _connect(self, client: str, servers: str) -> None:
        pid = self._hosts.process.pid
        _ip(
            client,
            f"link add direct address {MAC} type veth peer name direct address {MAC} netns {pid}",
            "link set lo up",
            "link set direct txqueuelen 10000 arp off up",
            f"link set {relay.DEVICE} txqueuelen 10000 up",
            f"address add {DIRECT}.{CLIENT}/16 dev direct",
            f"address add {DELAYED}.{CLIENT}/16 dev {relay.DEVICE}",
        )
        _ip(
            servers,
            "link set lo up",
            "link set direct txqueuelen 10000 arp off up",
            f"link set {relay.DEVICE} txqueuelen 10000 up",
            f"address add {DIRECT}.{ROUTER}/32 dev lo",
            f"route add {DIRECT}.{CLIENT} dev direct",
            f"route add {DELAYED}.{CLIENT} dev {relay.DEVICE}",
        )

    # --- requests ----------------------------------------------------------------------------------------------------

    def _order(self, what: str, **values: Any) -> dict[str, Any]:
        return self._hosts(json.dumps({"do": what, **values}))

    def reset(self) -> None:
        """Reset every host to its state before the first run."""
        self._order("reset")

    def verify(self, count: int) -> list[str]:
        """The differences from a prepared host on the first ``count`` hosts."""
        wrong: list[str] = self._order("verify", count=count)["wrong"]
        return wrong

    def account(self) -> dict[str, Any]:
        """The servers' resource use and requests since the last call: cpu_s, connections, execs, sftp."""
        return self._order("account")

    def counted(self, rtt_ms: int) -> dict[str, Any]:
        """The counts of the slow link since the last call. Sets its round-trip time for the next measurement."""
        return self._relay(f"delay {rtt_ms / 2000}")


def _name(number: int) -> str:
    return f"host{number:03d}"


def _address(network: str, number: int) -> str:
    return f"{network}.{number >> 8}.{number & 255}"


def _namespace(pid: int) -> str:
    return f"/proc/{pid}/ns/net"


def _ip(namespace: str, *lines: str) -> None:
    command = ["nsenter", f"--net={namespace}", "ip", "-batch", "-"]
    subprocess.run(command, input="\n".join(lines) + "\n", text=True, check=True)


def _keygen(path: Path) -> None:
    command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "bench", "-f", str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
