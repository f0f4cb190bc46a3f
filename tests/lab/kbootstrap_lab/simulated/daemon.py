"""The lab's daemon: runs the hosts and their SSH servers, and answers requests of ``kbootstrap lab``.

    python -m kbootstrap_lab.simulated.daemon STATE_DIR READY_FD       (the lab's description as JSON on stdin)

READY_FD gets one line when the hosts accept SSH: ``{"ready": ...}``, or ``{"error": ..., "hint": ...}``.
Control requests are JSON lines on the Unix socket ``control`` in the state directory, which only its owner can open.
"""

from __future__ import annotations

import json
import logging
import os
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import paramiko

from kbootstrap.secret import Secret
from kbootstrap_lab.errors import LabError, no_such_host
from kbootstrap_lab.simulated import root
from kbootstrap_lab.simulated.machines import Machine, Supervisor
from kbootstrap_lab.simulated.network import Network, Port
from kbootstrap_lab.simulated.spec import Spec
from kbootstrap_lab.simulated.ssh import METHODS, Login, Server

SSH_PORT = 2222
RESERVED_PORT = 2221
"""The port at the first address of a lab's subnet that reserves the subnet. It serves nothing."""
SUBNETS = range(70, 127)
"""The range of the second number of a lab's loopback addresses. A lab takes the first free one: 127.70.0.1."""

START_TIMEOUT = 120.0
IDLE_TIMEOUT = 60.0
BOOTS_AT_ONCE = 4


def address(subnet: int, index: int) -> str:
    """The loopback address of a host's SSH server."""
    return f"127.{subnet}.{index // 250}.{index % 250 + 1}"


class Host:
    """A simulated host with its SSH server."""

    def __init__(self, machine: Machine, port: Port, server: Server) -> None:
        self.machine = machine
        self.port = port
        self.server = server
        self.state = "up"
        self.delay = port.delay


class Daemon:
    """One lab."""

    def __init__(self, directory: Path, request: dict[str, Any]) -> None:
        self.directory = directory
        self.request = request
        self.network = Network()
        self.hosts: dict[str, Host] = {}
        self.done = threading.Event()
        self.shared = directory / "shared"
        if request.get("snapshot"):
            shutil.copytree(request["snapshot"], self.shared)
        else:
            (self.shared / "clusters").mkdir(parents=True)
        self.supervisor = Supervisor(self.shared)

    # --- start ---

    def start(self) -> None:
        """Make every host, boot it, and open its SSH port."""
        specs = [Spec.from_json(data) for data in self.request["hosts"]]
        machines = [self.supervisor.add(spec) for spec in specs]
        for machine in machines:
            machine.wait_ready(START_TIMEOUT)
        with ThreadPoolExecutor(max_workers=BOOTS_AT_ONCE) as pool:
            list(pool.map(_begin, machines))
        shutil.rmtree(self.shared / "snapshot", ignore_errors=True)
        subnet = self._free_subnet()
        for machine in machines:
            self._open(machine, subnet)

    def _free_subnet(self) -> int:
        """Reserve a subnet while the daemon runs, so that a host keeps its address while it is powered off."""
        for subnet in SUBNETS:
            reservation = socket.socket()
            reservation.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                reservation.bind((address(subnet, 0), RESERVED_PORT))
                reservation.listen(1)
            except OSError:
                reservation.close()
                continue
            self.reservation = reservation
            return subnet
        raise LabError("there are too many labs on this machine", "`kbootstrap lab status` lists them.")

    def _open(self, machine: Machine, subnet: int) -> None:
        name = machine.spec.name
        host_key = paramiko.Ed25519Key.from_private_key_file(str(self.directory / "host-keys" / name))
        server = Server(machine, self._login(), host_key)
        port = Port(address(subnet, machine.spec.index), SSH_PORT, server.connected)
        port.delay = self.request["latency_ms"] / 2000
        self.network.open(port)
        self.hosts[name] = Host(machine, port, server)

    def _login(self) -> Login:
        password = self.request.get("password")
        return Login(
            user=self.request["user"],
            keys=(paramiko.Ed25519Key.from_private_key_file(str(self.directory / "id_ed25519")),),
            password=Secret(password) if password is not None else None,
            methods=tuple(self.request.get("methods") or METHODS),
            forward=self._forward,
        )

    def _forward(self, host: str, port: int) -> tuple[str, int] | None:
        """The addresses that a bastion forwards to: the SSH ports of this lab's hosts, loopback or simulated."""
        for other in self.hosts.values():
            if host in (other.port.address, other.machine.spec.ip, other.machine.spec.name) and port in (22, SSH_PORT):
                return other.port.address, other.port.port
        return None

    # --- control ---

    def serve(self) -> None:
        """Answer control requests until one of them stops the lab."""
        listener = socket.socket(socket.AF_UNIX)
        directory = os.open(self.directory, os.O_PATH)
        listener.bind(f"/proc/self/fd/{directory}/control")
        listener.listen(16)
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            connection, _peer = listener.accept()
            threading.Thread(target=self._answer, args=(connection,), daemon=True).start()

    def _answer(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rwb") as file:
            request = json.loads(file.readline())
            try:
                answer = getattr(self, "_op_" + request.pop("op"))(**request)
            except LabError as error:
                answer = {"error": error.message, "hint": error.hint}
            except OSError as error:
                answer = {"error": str(error), "hint": f"{self.directory}/log may tell more"}
            file.write(json.dumps(answer).encode() + b"\n")
            file.flush()
        if answer.get("down"):
            self.done.set()

    def _op_down(self) -> dict[str, Any]:
        return {"down": True}

    def _op_status(self) -> dict[str, Any]:
        hosts = [
            {
                "name": host.machine.spec.name,
                "state": host.state,
                "address": host.port.address,
                "port": host.port.port,
                "internal_address": host.machine.spec.ip,
                "distribution": host.machine.spec.distribution,
                "latency_ms": round(host.port.delay * 2000),
                "connections": len(host.port.connections),
            }
            for host in self.hosts.values()
        ]
        return {"hosts": hosts, "pid": os.getpid()}

    def _op_run(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> dict[str, Any]:
        status, out, err = self._host(host).machine.output(command, stdin.encode(), timeout)
        return {"status": status, "stdout": out.decode("utf-8", "replace"), "stderr": err.decode("utf-8", "replace")}

    def _op_save(self) -> dict[str, Any]:
        """Have every host write its files to the shared directory ``snapshot``. No command may run on the hosts."""
        (self.shared / "snapshot").mkdir(exist_ok=True)
        for host in self.hosts.values():
            self._wait_idle(host.machine)
            status, _out, err = host.machine.output(f"SIM_NAME={host.machine.spec.name}\n{root.SAVE}")
            if status != 0:
                raise LabError(err.decode("utf-8", "replace").strip())
        return {}

    @staticmethod
    def _wait_idle(machine: Machine) -> None:
        deadline = time.monotonic() + IDLE_TIMEOUT
        while not machine.request("idle")["idle"]:
            if time.monotonic() > deadline:
                raise LabError(f"host {machine.spec.name} is still busy")
            time.sleep(0.02)

    def _host(self, name: str) -> Host:
        try:
            return self.hosts[name]
        except KeyError:
            raise no_such_host(self.directory.name, name, self.hosts) from None

    # --- faults ---

    def _op_fault(self, host: str, kind: str, **options: Any) -> dict[str, Any]:
        target = self._host(host)
        function = getattr(self, "_fault_" + kind.replace("-", "_"), None)
        if function is None:
            raise LabError(f"there is no fault {kind!r}")
        function(target, **options)
        return {"state": target.state}

    def _fault_cut(self, host: Host) -> None:
        self.network.close(host.port)
        self.network.drop(host.port)
        host.state = "cut"

    def _fault_drop(self, host: Host) -> None:
        self.network.drop(host.port)

    def _fault_drop_udp(self, host: Host, port: int = 8472) -> None:
        """A device before the host drops UDP to this port, like a security group of a cloud. Nobody is told."""
        (self.shared / "net" / host.machine.spec.ip / "drop-udp").write_text(f"{port}\n")

    def _fault_slow(self, host: Host, latency_ms: float = 500) -> None:
        host.port.delay = latency_ms / 2000
        host.state = "slow"

    def _fault_stop(self, host: Host) -> None:
        self.network.freeze(host.port, True)
        host.machine.request("freeze")
        self._set_reachable(host, False)
        host.state = "stopped"

    def _fault_kill(self, host: Host) -> None:
        self.network.close(host.port)
        self.network.drop(host.port)
        self._set_reachable(host, False)
        host.machine.request("halt")
        host.state = "off"

    def _fault_reboot(self, host: Host, seconds: float = 0.5) -> None:
        """Power a host off, and on again after ``seconds``. Returns when it is off."""
        self._fault_kill(host)
        host.state = "booting"
        threading.Thread(target=self._power_on, args=(host, seconds), daemon=True).start()

    def _power_on(self, host: Host, seconds: float) -> None:
        time.sleep(seconds)
        if host.state == "booting":
            self._start(host)

    def _start(self, host: Host) -> None:
        self._set_reachable(host, True)
        host.machine.boot()
        self.network.open(host.port)
        host.state = "up"

    def _fault_disk_full(self, host: Host) -> None:
        status, out, _err = host.machine.output("df --output=used -B1 / | tail -n 1")
        if status != 0:
            raise LabError(f"the disk of {host.machine.spec.name} cannot be measured")
        host.machine.request("size", bytes=int(out) // 4096 * 4096)
        host.state = "disk-full"

    def _fault_clock_skew(self, host: Host, seconds: int = 300) -> None:
        host.machine.output(f"/.machine/sim/bin/skew {int(seconds)}")
        host.state = "clock-skew"

    def _fault_fail_command(self, host: Host, command: str, times: int = 1, status: int = 1, message: str = "") -> None:
        text = message or f"{command}: simulated failure"
        words = shlex.join(["/.machine/sim/bin/fail-command", "set", command, str(times), str(status), text])
        result, _out, err = host.machine.output(words)
        if result != 0:
            raise LabError(err.decode("utf-8", "replace").strip())

    def _fault_watch(self, host: Host) -> None:
        """Record every moment of later runs in the host's /run/sim/moments."""
        self._breakpoint(host, "watch")

    def _fault_breakpoint(self, host: Host, moment: str) -> None:
        """Hold the next run at this moment; /run/sim/held then exists. bin/breakpoint lists the moments."""
        self._breakpoint(host, "set", moment)

    def _fault_release(self, host: Host) -> None:
        self._breakpoint(host, "release")

    def _breakpoint(self, host: Host, *words: str) -> None:
        status, _out, err = host.machine.output(shlex.join(["/.machine/sim/bin/breakpoint", *words]))
        if status != 0:
            raise LabError(err.decode("utf-8", "replace").strip())

    def _fault_host_key(self, host: Host) -> None:
        """Use another host key from the next connection on, like a reinstalled host or an impostor."""
        path = self.directory / "host-keys" / host.machine.spec.name
        other = path.with_suffix(".other")
        if not other.exists():
            from kbootstrap_lab.simulated import keys

            keys.write_key(other)
        host.server.host_key = paramiko.Ed25519Key.from_private_key_file(str(other))

    def _fault_hostile_host(self, host: Host, manner: str) -> None:
        """Run bin/hostile-host instead of the launcher from the next connection on."""
        host.server.manner = shlex.quote(manner)
        host.state = "hostile"

    def _fault_heal(self, host: Host) -> None:
        """Undo every fault. A host that was killed boots."""
        host.port.delay = host.delay
        host.machine.request("size", bytes=0)
        (self.shared / "net" / host.machine.spec.ip / "drop-udp").unlink(missing_ok=True)
        path = self.directory / "host-keys" / host.machine.spec.name
        host.server.host_key = paramiko.Ed25519Key.from_private_key_file(str(path))
        host.server.manner = ""
        if host.state in ("off", "booting"):
            self._start(host)
            return
        if host.state == "stopped":
            host.machine.request("thaw")
            self._set_reachable(host, True)
            self.network.freeze(host.port, False)
        host.machine.output("cd /.machine/sim/bin && ./skew 0; ./fail-command clear; ./breakpoint clear")
        self.network.open(host.port)
        host.state = "up"

    def _set_reachable(self, host: Host, reachable: bool) -> None:
        down = self.shared / "net" / host.machine.spec.ip / "down"
        if reachable:
            down.unlink(missing_ok=True)
        else:
            down.touch()


def _begin(machine: Machine) -> None:
    """Boot a new host. A host from a snapshot only opens its ports again."""
    if machine.spec.snapshot:
        machine.request("open")
    else:
        machine.boot()


def main(argv: list[str]) -> int:
    directory, ready = Path(argv[0]), os.fdopen(int(argv[1]), "w")
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("paramiko").setLevel(logging.CRITICAL)
    sys.setswitchinterval(0.001)
    request = json.load(sys.stdin)
    daemon = None
    try:
        daemon = Daemon(directory, request)
        daemon.start()
        daemon.serve()
    except LabError as error:
        ready.write(json.dumps({"error": error.message, "hint": error.hint}) + "\n")
        ready.close()
        if daemon:
            daemon.supervisor.close()
        return 1
    signal.signal(signal.SIGTERM, lambda *_: daemon.done.set())
    ready.write(json.dumps({"ready": True, **daemon._op_status()}) + "\n")
    ready.close()
    daemon.done.wait()
    daemon.supervisor.close()
    shutil.rmtree(directory, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
