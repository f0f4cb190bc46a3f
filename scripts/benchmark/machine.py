"""The machine and the versions of the software with which the figures were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from benchmark.peers import PACKAGES


def describe() -> dict[str, str | int]:
    return {
        "cpu": _field("/proc/cpuinfo", "model name"),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(int(_field("/proc/meminfo", "MemTotal").split()[0]) / 1024 / 1024),
        "kernel": platform.release(),
        "os": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
    }


def versions() -> dict[str, str]:
    openssh = subprocess.run(["ssh", "-V"], capture_output=True, text=True, check=True).stderr.split()[0]
    ours = {name: metadata.version(name) for name in ("kbootstrap", "fabric", "paramiko", "cryptography")}
    peers = {package.partition("==")[0]: package.partition("==")[2] for name in PACKAGES for package in PACKAGES[name]}
    theirs = {name: peers[name] for name in ("ansible-core", "mitogen", "pyinfra")}
    return {"python": platform.python_version(), "openssh": openssh.rstrip(","), **ours, **theirs}


def _field(path: str, name: str) -> str:
    for line in Path(path).read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""
