"""This machine: missing requirements of the lab, the Docker daemon, and the permissions of a host container."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

from kbootstrap_lab.backend import Say
from kbootstrap_lab.errors import LabError
from kbootstrap_lab.state import labs_dir

TOOLS = {"docker": "docker.io", "mmdebstrap": "mmdebstrap"}
VOLUMES = ("/var/lib/containerd", "/var/lib/kubelet", "/var/lib/etcd")
TMPFS = {"/run": "exec,mode=755", "/tmp": "exec,mode=1777"}
DAEMON_SECONDS = 60
"""Longest wait for dockerd to answer, in seconds."""

_CAPABILITIES = (
    "CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE"
    " NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN"
    " SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE"
    " MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ"
).split()
"""Capabilities by number, from linux/capability.h, up to the last one that Docker 20.10 knows."""


def missing() -> list[str]:
    """The lab's requirements that this machine does not meet, each with a way to get it."""
    lacks = [
        f"{tool} is not installed (Debian, Ubuntu: apt install {package})"
        for tool, package in TOOLS.items()
        if shutil.which(tool) is None
    ]
    if os.geteuid() != 0:
        lacks.append("the container lab builds a root file system and must run as root")
    if not lacks and not docker_answers() and shutil.which("dockerd") is None:
        lacks.append("no Docker daemon answers and dockerd is not installed (Debian: apt install docker.io)")
    return lacks


def require() -> None:
    """Raises LabError with everything that is missing."""
    lacks = missing()
    if lacks:
        raise LabError(
            "the container lab cannot run here: " + "; ".join(lacks),
            "In a checkout of kbootstrap: scripts/setup --system",
        )


def docker_answers() -> bool:
    return subprocess.run(["docker", "info"], capture_output=True, check=False).returncode == 0


def start_docker(say: Say) -> None:
    """Use the running Docker daemon, or start one in the background. Raises LabError when it does not answer."""
    require()
    if docker_answers():
        return
    say("starting dockerd")
    _forget_dead_daemon()
    log = labs_dir().parent / "dockerd.log"
    log.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with log.open("ab") as output:
        daemon = subprocess.Popen(["dockerd"], stdout=output, stderr=output, start_new_session=True)
    # The daemon outlives this process on purpose. Without this line Popen warns that it still runs.
    daemon.returncode = 0
    deadline = time.monotonic() + DAEMON_SECONDS
    while not docker_answers():
        if time.monotonic() > deadline:
            raise LabError(f"dockerd does not answer after {DAEMON_SECONDS} s", f"Its log is {log}.")
        time.sleep(0.3)


def _forget_dead_daemon() -> None:
    """Remove a stale pid file. Its pid may now belong to another process, and dockerd would then refuse to start."""
    pid_file = Path("/var/run/docker.pid")
    with contextlib.suppress(OSError):
        comm = Path("/proc") / pid_file.read_text(encoding="ascii").strip() / "comm"
        if not comm.exists() or comm.read_text(encoding="utf-8").strip() != "dockerd":
            pid_file.unlink()


def host_options() -> dict[str, Any]:
    """Options of the Docker API that let systemd, containerd and the kubelet run in a container.

    Like ``--privileged``, but with only the capabilities of this process. ``--privileged`` fails as a whole when
    Docker cannot grant one of them (CAP_SYS_RESOURCE in many sandboxes).
    """
    return {
        "cap_drop": ["ALL"],
        "cap_add": own_capabilities(),
        "security_opt": ["seccomp=unconfined", "apparmor=unconfined"],
        "device_cgroup_rules": ["a *:* rwm"],
        "cgroupns": "private",
        "stop_signal": "SIGRTMIN+3",
    }


def docker_arguments() -> list[str]:
    """The same options as arguments of ``docker run``, for a tool that starts the containers itself."""
    options = host_options()
    flags = {
        "cap-drop": options["cap_drop"],
        "cap-add": options["cap_add"],
        "security-opt": options["security_opt"],
        "device-cgroup-rule": options["device_cgroup_rules"],
        "cgroupns": [options["cgroupns"]],
        "tmpfs": [f"{path}:{how}" for path, how in TMPFS.items()],
        "volume": VOLUMES,
    }
    return [f"--{flag}={value}" for flag, values in flags.items() for value in values]


def own_capabilities() -> list[str]:
    """The names of the capabilities in this process's bounding set."""
    status = Path("/proc/self/status").read_text(encoding="ascii")
    bits = int(next(line.split()[1] for line in status.splitlines() if line.startswith("CapBnd:")), 16)
    return [name for number, name in enumerate(_CAPABILITIES) if bits >> number & 1]
