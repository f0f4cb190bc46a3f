"""Measurements for the targets beyond the matrix: start-up, one connection, plan and a second up, a large file."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from benchmark.servers import HERE, Servers

if TYPE_CHECKING:
    from benchmark.bench import Bench

TIMES = 15
BULK_HOSTS = 4
BULK_BYTES = 300_000_000


def run(bench: Bench, servers: Servers, options: argparse.Namespace) -> dict[str, Any]:
    return {
        "startup_cpu_s": startup(),
        "connect_s": {str(rtt): connect(servers, rtt) for rtt in options.rtt},
        "plan": [plan(bench, hosts, options.repeat) for hosts in options.hosts],
        "bulk": bulk(servers, options.repeat) if max(options.hosts) >= BULK_HOSTS else {},
    }


def startup() -> dict[str, float]:
    """CPU seconds of bare Python and of our command line: medians of interleaved runs."""
    commands = {
        "python": [sys.executable, "-c", "pass"],
        "help": [sys.executable, "-m", "kbootstrap", "--help"],
        "up_help": [sys.executable, "-m", "kbootstrap", "up", "--help"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for _ in range(TIMES):
        for name, command in commands.items():
            taken[name].append(cpu_of(command))
    return {name: round(statistics.median(values), 4) for name, values in taken.items()}


def cpu_of(command: list[str]) -> float:
    """CPU seconds of one run of a command, which must succeed."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def connect(servers: Servers, rtt_ms: int) -> float:
    """Seconds to connect to one host, log in and run `true`, in a process that has everything imported."""
    servers.counted(rtt_ms)
    (host,) = servers.hosts(1, rtt_ms)
    times: list[float] = _probe(servers, "connect_probe.py", host.address, servers.key, servers.known_hosts)
    return round(statistics.median(times), 4)


def bulk(servers: Servers, repeat: int) -> dict[str, float]:
    """Seconds to put a file on a few hosts at once: with kbootstrap, with it again, and with OpenSSH's cat."""
    servers.counted(0)
    addresses = [host.address for host in servers.hosts(BULK_HOSTS, 0)]
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as file:
        file.write(os.urandom(BULK_BYTES))
        file.flush()
        taken = _probe(servers, "bulk_probe.py", file.name, servers.key, servers.known_hosts, repeat, *addresses)
    return {name: round(statistics.median(times), 4) for name, times in taken.items()}


def _probe(servers: Servers, script: str, *arguments: object) -> Any:
    """The output of one of the bench's scripts in the clients' network."""
    command = servers.client(sys.executable, str(HERE / script), *map(str, arguments))
    env = os.environ | {"PYTHONPATH": str(HERE.parent)}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=env)
    servers.account()
    return json.loads(done.stdout)


def plan(bench: Bench, hosts: int, repeat: int) -> dict[str, Any]:
    """Seconds of a plan that finds nothing to change, and of an up that changes nothing, in turn."""
    bench.prepare("kbootstrap", hosts)
    walls: dict[str, list[float]] = {"kbootstrap-plan": [], "kbootstrap": []}
    for _ in range(repeat):
        for tool, taken in walls.items():
            taken.append(bench.once(tool, hosts, 0)["wall_s"])
    plan_s, up_s = (round(statistics.median(taken), 4) for taken in walls.values())
    return {"hosts": hosts, "plan_s": plan_s, "up_s": up_s}
