"""The simulated fleet: hosts with private roots on this machine, a real SSH server each, and stand-ins for the rest.

It needs no root, no Docker and no network. A lab of four hosts starts in about a second. docs/simulated-fleet.md says
what is real and what is a stand-in.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kbootstrap.secret import Secret
from kbootstrap_lab.backend import Say, quiet, refuse
from kbootstrap_lab.errors import LabError, no_such_host, no_such_lab
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS
from kbootstrap_lab.state import create_state_dir, remove_state_dir, state_dir

MAX_HOSTS = 1000
START_TIMEOUT = 180


@dataclass(frozen=True)
class LabHost:
    """One running host: the address of its SSH server, and its address inside the simulation."""

    name: str
    address: str
    port: int
    internal_address: str
    distribution: str
    state: str
    latency_ms: int


@dataclass(frozen=True)
class Lab:
    """A running lab."""

    name: str
    hosts: tuple[LabHost, ...]
    inventory: Path | None
    directory: Path


def up(
    name: str = "demo",
    control_planes: int = 1,
    workers: int = 3,
    distribution: str = "centos9",
    *,
    inventory: Path | None = None,
    user: str = "kb",
    password: Secret | None = None,
    sudo_password: Secret | None = None,
    distributions: tuple[str, ...] = (),
    latency_ms: float = 0,
    image: str | None = None,
    say: Say = quiet,
    state: str = "dirty",
    kubernetes: str | None = None,
    methods: tuple[str, ...] = (),
    snapshot: Path | None = None,
) -> Lab:
    """Start a lab. Returns when every host accepts SSH, and leaves the hosts running.

    ``latency_ms`` is added to every round trip. With ``password`` the user can log in with it, by password and
    keyboard-interactive as well as by key; ``methods`` limits the login to those named. With ``sudo_password`` sudo
    asks for it. ``distributions`` sets the distribution of each host, in order, for mixed clusters. A ``snapshot``
    (see ``save``) of a lab of the same hosts restores their state. Raises LabError.
    """
    refuse("simulated", image=image)
    specs = _specs(
        control_planes,
        workers,
        distributions or (distribution,) * (control_planes + workers),
        user,
        state,
        sudo_password,
    )
    for spec in specs:
        spec["snapshot"] = snapshot is not None
    directory = create_state_dir(name, "simulated")
    try:
        say(f"starting {len(specs)} simulated hosts ({', '.join(sorted({s['distribution'] for s in specs}))})")
        _compile_fakes()
        public = _write_keys(directory, specs)
        (directory / "user").write_text(user + "\n")
        request = {
            "hosts": specs,
            "user": user,
            "latency_ms": latency_ms,
            "password": password.reveal() if password else None,
            "methods": list(methods),
            "snapshot": str(snapshot) if snapshot else "",
        }
        answer = _start_daemon(directory, request)
        lab = _lab(name, answer, inventory)
        _write_known_hosts(directory, lab, public)
        if inventory is not None:
            from kbootstrap_lab.simulated.inventory import text

            inventory.parent.mkdir(parents=True, exist_ok=True)
            inventory.write_text(text(lab, user, password is not None, sudo_password is not None, methods, kubernetes))
            say(f"wrote {inventory}")
    except BaseException:
        down(name)
        raise
    return lab


def save(name: str, snapshot: Path) -> None:
    """Save the hosts of a running lab and their shared state to a new directory, for ``up``. Raises LabError."""
    _ask(name, {"op": "save"})
    shared = state_dir(name) / "shared"
    shutil.copytree(shared, snapshot, ignore=shutil.ignore_patterns("wake"))
    shutil.rmtree(shared / "snapshot")


def down(name: str) -> None:
    """Stop a lab and remove all its files, also after a crash. Raises LabError when there is no such lab."""
    directory = state_dir(name)
    if not directory.is_dir():
        raise no_such_lab(name)
    with contextlib.suppress(LabError):
        _ask(name, {"op": "down"}, timeout=10)
    _end_daemon(directory)
    remove_state_dir(name)


def status(name: str) -> Lab:
    """The lab and the state of its hosts. Raises LabError when the lab does not run."""
    return _lab(name, _ask(name, {"op": "status"}), None)


def fault(name: str, host: str, kind: str, **options: Any) -> str:
    """Inject a fault into a host, or ``heal`` it. Returns its state. docs/simulated-fleet.md lists the faults."""
    answer = _ask(name, {"op": "fault", "host": host, "kind": kind, **options})
    return str(answer["state"])


def run(name: str, host: str, command: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root on a host, without SSH. Tests check a host with it, without kbootstrap."""
    answer = _ask(
        name,
        {"op": "run", "host": host, "command": command, "stdin": stdin, "timeout": timeout},
        timeout=timeout + 10,
    )
    return subprocess.CompletedProcess(command, answer["status"], answer["stdout"], answer["stderr"])


def ssh_command(name: str, host: str) -> list[str]:
    """The ssh command that logs in to a host. Raises LabError when the lab does not run or has no such host."""
    directory = state_dir(name)
    hosts = status(name).hosts
    found = next((known for known in hosts if known.name == host), None)
    if found is None:
        raise no_such_host(name, host, (known.name for known in hosts))
    user = (directory / "user").read_text().strip()
    options = [f"UserKnownHostsFile={directory / 'known_hosts'}", "IdentitiesOnly=yes", "StrictHostKeyChecking=yes"]
    words = [word for option in options for word in ("-o", option)]
    return [
        "ssh",
        "-F",
        "none",
        "-i",
        str(directory / "id_ed25519"),
        *words,
        "-p",
        str(found.port),
        f"{user}@{found.address}",
    ]


def logs(name: str, host: str) -> str:
    """A host's journal since it was powered on, and the end of its boot log."""
    return run(name, host, "journalctl --no-pager; tail -n 20 /var/log/boot.log").stdout


# --- private ---------------------------------------------------------------------------------------------------------


def _specs(
    control_planes: int,
    workers: int,
    distributions: tuple[str, ...],
    user: str,
    state: str,
    sudo_password: Secret | None,
) -> list[dict[str, Any]]:
    count = control_planes + workers
    if control_planes < 1 or workers < 0 or count > MAX_HOSTS:
        raise LabError(f"a lab has 1 to {MAX_HOSTS} hosts, at least one of them a control plane host")
    if len(distributions) != count or not set(distributions) <= set(DISTRIBUTIONS):
        raise LabError(f"{', '.join(distributions)}: distributions are {', '.join(DISTRIBUTIONS)}, one per host")
    if state not in ("dirty", "clean"):
        raise LabError(f"the state of a host is dirty or clean, not {state!r}")
    names = [f"cp{n + 1}" for n in range(control_planes)] + [f"w{n + 1}" for n in range(workers)]
    sudo = "none" if user == "root" else "password" if sudo_password else "passwordless"
    salt = secrets.token_hex(8)
    digest = hashlib.sha256((salt + (sudo_password.reveal() if sudo_password else "")).encode()).hexdigest()
    return [
        {
            "name": name,
            "index": index,
            "distribution": distributions[index],
            "state": state,
            "user": user,
            "sudo": sudo,
            "sudo_hash": f"{salt}:{digest}" if sudo_password else "",
        }
        for index, name in enumerate(names)
    ]


def _compile_fakes() -> None:
    """Compile the stand-ins to byte code. Hosts see the package read-only, so they cannot do it themselves."""
    import compileall

    here = Path(__file__).parent
    compileall.compile_dir(here / "fakes", maxlevels=0, quiet=2)
    for name in ("catalogue.py", "packages.py", "spec.py"):
        compileall.compile_file(here / name, quiet=2)


def _write_keys(directory: Path, specs: list[dict[str, Any]]) -> dict[str, str]:
    from kbootstrap_lab.simulated import keys

    keys.write_key(directory / "id_ed25519")
    return {spec["name"]: keys.write_key(directory / "host-keys" / spec["name"]) for spec in specs}


def _write_known_hosts(directory: Path, lab: Lab, public: dict[str, str]) -> None:
    from kbootstrap_lab.simulated import keys

    keys.write_known_hosts(directory / "known_hosts", [(h.address, h.port, public[h.name]) for h in lab.hosts])


def _start_daemon(directory: Path, request: dict[str, Any]) -> dict[str, Any]:
    """Start the detached daemon and wait until it is ready. Its settings, with the secrets, go to its stdin."""
    ready, theirs = os.pipe()
    with open(directory / "log", "ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kbootstrap_lab.simulated.daemon", str(directory), str(theirs)],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            pass_fds=[theirs],
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": os.pathsep.join(os.path.abspath(path) for path in sys.path if path)},
        )
    os.close(theirs)
    (directory / "pid").write_text(f"{process.pid} {_start_time(process.pid)}\n")
    with os.fdopen(ready) as file:
        assert process.stdin is not None
        process.stdin.write(json.dumps(request).encode())
        process.stdin.close()
        line = file.readline()
    _forget_child(process)
    if not line:
        tail = (directory / "log").read_text(errors="replace").strip().splitlines()[-3:]
        raise LabError("the lab's daemon did not start: " + " / ".join(tail))
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise LabError(answer["error"], answer["hint"])
    return answer


def _forget_child(process: subprocess.Popen[bytes]) -> None:
    """Keep Popen from warning that the daemon still runs. The daemon outlives this process on purpose."""
    process.returncode = 0


def _lab(name: str, answer: dict[str, Any], inventory: Path | None) -> Lab:
    hosts = [LabHost(**{key: host[key] for key in LabHost.__dataclass_fields__}) for host in answer["hosts"]]
    return Lab(name, tuple(hosts), inventory, state_dir(name))


def _ask(name: str, request: dict[str, Any], timeout: float = 120) -> dict[str, Any]:
    directory = os.open(state_dir(name), os.O_PATH) if state_dir(name).is_dir() else -1
    if directory < 0:
        raise no_such_lab(name)
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(timeout)
            # The path goes through /proc, because a socket's path has at most 107 bytes.
            connection.connect(f"/proc/self/fd/{directory}/control")
            connection.sendall(json.dumps(request).encode() + b"\n")
            with connection.makefile("rb") as file:
                line = file.readline()
    except OSError:
        raise LabError(f"lab {name} does not run", f"`kbootstrap lab down --name {name}` removes it.") from None
    finally:
        os.close(directory)
    answer: dict[str, Any] = json.loads(line) if line else {"error": f"lab {name} ended", "hint": ""}
    if "error" in answer:
        raise LabError(answer["error"], answer["hint"])
    return answer


def _start_time(pid: int) -> str:
    """The start time of a process, in clock ticks since boot; empty when it has ended. With the pid it is unique."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]


def _end_daemon(directory: Path) -> None:
    try:
        pid, started = (directory / "pid").read_text().split()
    except (OSError, ValueError):
        return
    deadline = time.monotonic() + 10
    while _runs(int(pid), started):
        if time.monotonic() > deadline:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.01)


def _runs(pid: int, started: str) -> bool:
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    return bool(started) and _start_time(pid) == started
