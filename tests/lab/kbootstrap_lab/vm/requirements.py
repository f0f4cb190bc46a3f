"""What the machines need of this machine, and what it lacks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from kbootstrap_lab.containers import machine as docker
from kbootstrap_lab.errors import LabError

TOOLS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "mke2fs": "e2fsprogs",
    "mkswap": "util-linux",
    "ip": "iproute2",
    "ssh-keygen": "openssh-client",
}
TUN = Path("/dev/net/tun")
_PATH = f"{os.defpath}:/usr/local/sbin:/usr/sbin:/sbin"


def missing() -> list[str]:
    """The requirements that this machine does not meet, each with a way to get it.

    The packages of the machines are those of the container lab, so its requirements count as well.
    """
    lacks = [
        f"{tool} is not installed (Debian, Ubuntu: apt install {package})"
        for tool, package in TOOLS.items()
        if shutil.which(tool, path=f"{os.environ.get('PATH', '')}:{_PATH}") is None
    ]
    if not TUN.exists():
        lacks.append(f"{TUN} is not there (modprobe tun)")
    return lacks + docker.missing()


def require() -> None:
    """Raises LabError with everything that is missing."""
    lacks = missing()
    if lacks:
        raise LabError(
            "virtual machines cannot run here: " + "; ".join(lacks),
            "In a checkout of kbootstrap: scripts/setup --system --machines",
        )
