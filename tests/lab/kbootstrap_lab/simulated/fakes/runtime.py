"""containerd's images and the state of its CRI. Shared by crictl, ctr and kubeadm."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import glob
import hashlib
import os
import re

from kbootstrap_lab.simulated.fakes import internet
from kbootstrap_lab.simulated.fakes.common import Failed, active, read, write

IMAGES = "/var/lib/containerd/simulated-images"
CONFIG = "/run/sim/containerd.toml"
"""The configuration with which containerd was started."""


def check_cri() -> None:
    """Raises Failed, with a CRI client's message, when the runtime cannot be used."""
    prefix = 'validate service connection: validate CRI v1 runtime API for endpoint "unix:///run/containerd/containerd.sock": rpc error: '
    if not active("containerd"):
        raise Failed(
            prefix + 'code = Unavailable desc = connection error: desc = "transport: Error while dialing: dial unix '
            '/run/containerd/containerd.sock: connect: no such file or directory"'
        )
    if re.search(r'^\s*disabled_plugins\s*=.*"(io\.containerd\.grpc\.v1\.)?cri"', read(CONFIG), re.MULTILINE):
        raise Failed(prefix + "code = Unimplemented desc = unknown service runtime.v1.RuntimeService")


def images() -> list[str]:
    """Every image on this host."""
    return read(IMAGES).splitlines()


def add(references: list[str]) -> None:
    write(IMAGES, "".join(f"{name}\n" for name in sorted({*images(), *references})))


def remove(references: list[str]) -> None:
    write(IMAGES, "".join(f"{name}\n" for name in images() if name not in references))


def image_id(reference: str) -> str:
    return hashlib.sha256(reference.encode()).hexdigest()


def full_name(reference: str) -> str:
    """An image's full name: ``busybox`` is ``docker.io/library/busybox:latest``."""
    host, slash, rest = reference.partition("/")
    if not slash or not ("." in host or ":" in host or host == "localhost"):
        host, rest = "docker.io", reference if slash else f"library/{reference}"
    return f"{host}/{rest}" if ":" in rest.rpartition("/")[2] or "@" in rest else f"{host}/{rest}:latest"


def pull(reference: str) -> str:
    """Pull an image. Returns its full name. Raises Failed with containerd's message."""
    name = full_name(reference)
    if name in images():
        return name
    problem = internet.image_problem(name)
    if problem and not _mirrored(name):
        raise Failed(
            f'failed to pull image "{name}": rpc error: code = NotFound desc = failed to pull and unpack image "{name}": '
            f'failed to resolve reference "{name}": {problem}'
        )
    add([name])
    return name


def _mirrored(name: str) -> bool:
    """Whether a mirror of this registry is up and has the image."""
    if "certs.d" not in read(CONFIG):
        return False
    registry, _, rest = name.partition("/")
    for path in glob.glob(f"/etc/containerd/certs.d/{registry}/hosts.toml"):
        for url in re.findall(r'^\[host\."([^"]+)"\]', read(path), re.MULTILINE):
            host = internet.host_of(url)
            up = internet.known_host(url) and not os.path.exists(f"/.lab/internet/{host}")
            if up and not internet.image_problem(f"mirror.example/google_containers/{rest}"):
                return True
            if up and internet.image_exists(name):
                return True
    return False
