"""The private network of a lab: a bridge in a network namespace that has no way out.

Only the packages of the machines go there. The namespace has no link to this machine's own network, so every lab uses
the same addresses. A tap device is opened inside the namespace and handed to QEMU, which stays outside: so the SSH
ports that it forwards are on this machine's 127.0.0.1.
"""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import struct
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from kbootstrap_lab.containers.artifacts import run
from kbootstrap_lab.vm.requirements import TUN

SUBNET = ipaddress.IPv4Network("10.200.0.0/24")
GATEWAY = str(SUBNET[1])
"""The bridge: package server, time server, and a default route that leads nowhere."""
FIRST_HOST = 11
BRIDGE = "lan"

_CLONE_NEWNET = 0x40000000
_TUNSETIFF = 0x400454CA
_IFF_TAP, _IFF_NO_PI, _IFF_VNET_HDR = 0x0002, 0x1000, 0x4000


def create(namespace: str) -> None:
    """Make the namespace and its bridge. Raises LabError."""
    run("ip", "netns", "add", namespace)
    run("ip", "-n", namespace, "link", "set", "lo", "up")
    run("ip", "-n", namespace, "link", "add", BRIDGE, "type", "bridge", "forward_delay", "0")
    run("ip", "-n", namespace, "address", "add", f"{GATEWAY}/{SUBNET.prefixlen}", "dev", BRIDGE)
    run("ip", "-n", namespace, "link", "set", BRIDGE, "up")


def remove(namespace: str) -> None:
    """Remove the namespace; does nothing when there is none."""
    if Path("/run/netns", namespace).exists():
        run("ip", "netns", "delete", namespace)


def serve(namespace: str, folders: Sequence[Path], log: Path) -> int:
    """Start the package and time server inside the namespace; returns its pid."""
    command = ["ip", "netns", "exec", namespace, sys.executable, "-m", "kbootstrap_lab.vm.server"]
    with log.open("ab") as output:
        server = subprocess.Popen(
            [*command, namespace, GATEWAY, *map(str, folders)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    # The server outlives this process on purpose. Without this line Popen warns that it still runs.
    server.returncode = 0
    return server.pid


@contextmanager
def taps(namespace: str, names: Sequence[str]) -> Iterator[list[int]]:
    """Open tap devices on the bridge of a namespace. They are gone when the last program has closed them."""
    opened: list[int] = []
    try:
        for name in names:
            opened.append(_tap(namespace, name))
            run("ip", "-n", namespace, "link", "set", name, "master", BRIDGE, "up")
        yield opened
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _tap(namespace: str, name: str) -> int:
    with _inside(namespace):
        descriptor = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    try:
        request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI | _IFF_VNET_HDR)
        fcntl.ioctl(descriptor, _TUNSETIFF, request)
    except OSError:
        os.close(descriptor)
        raise
    return descriptor


@contextmanager
def _inside(namespace: str) -> Iterator[None]:
    """This thread is in the namespace. (``os.setns`` came with Python 3.12.)"""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{namespace}") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
