"""Linux system calls that Python's ``os`` module does not have, and the mounts of a private root."""

from __future__ import annotations

import ctypes
import fcntl
import ipaddress
import os
import socket
import struct
from pathlib import Path

CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000

MS_RDONLY = 0x1
MS_NOSUID = 0x2
MS_NODEV = 0x4
MS_NOEXEC = 0x8
MS_REMOUNT = 0x20
MS_BIND = 0x1000
MS_REC = 0x4000
MS_PRIVATE = 0x40000
MNT_DETACH = 0x2
PR_SET_PDEATHSIG = 1

_libc = ctypes.CDLL(None, use_errno=True)


def _check(result: int, what: str) -> None:
    if result != 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")


SYS_PIDFD_GETFD = 438


def descriptors_of(pid: int, wanted: list[int]) -> list[int | None]:
    """Copies of another process's file descriptors; None for one that is not open. See pidfd_getfd(2)."""
    process = os.pidfd_open(pid)
    try:
        found = [_libc.syscall(SYS_PIDFD_GETFD, process, fd, 0) for fd in wanted]
    finally:
        os.close(process)
    return [fd if fd >= 0 else None for fd in found]


def unshare(flags: int) -> None:
    """Leave the given namespaces for new ones."""
    _check(_libc.unshare(flags), "unshare")


def mount(source: str | None, target: str, kind: str | None = None, flags: int = 0, data: str | None = None) -> None:
    """mount(2)."""

    def text(value: str | None) -> bytes | None:
        return None if value is None else os.fsencode(value)

    result = _libc.mount(text(source), text(target), text(kind), ctypes.c_ulong(flags), text(data))
    _check(result, f"mount {target}")


def detach(target: str) -> None:
    """Detach a mount and everything below it. The kernel unmounts it when no process uses it any more."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), f"umount {target}")


def pivot_root(new: str, old: str) -> None:
    """Make ``new`` the root of this mount namespace and move the old root to ``old`` below it."""
    _check(_libc.pivot_root(os.fsencode(new), os.fsencode(old)), "pivot_root")
    os.chdir("/")


def set_hostname(name: str) -> None:
    encoded = name.encode()
    _check(_libc.sethostname(encoded, len(encoded)), "sethostname")


def die_with_parent(signal_number: int) -> None:
    """Have the kernel send this signal to this process when the thread that started it ends."""
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal_number, 0, 0, 0), "prctl")


def become_root(uid: int, gid: int, proc: str = "/proc") -> None:
    """Become user 0 in the new namespace, after ``unshare(CLONE_NEWUSER)``.

    ``uid`` and ``gid`` are ours in the parent namespace. Only this one user is mapped, because the kernel allows an
    ordinary user no more. Root uses the same mapping, so that there is one way for both.
    """
    Path(proc, "self/setgroups").write_text("deny")
    Path(proc, "self/uid_map").write_text(f"0 {uid} 1")
    Path(proc, "self/gid_map").write_text(f"0 {gid} 1")


def bind_read_only(source: str, target: str) -> None:
    """Bind ``source``, with every mount below it, read-only at ``target``.

    A read-only remount changes one mount only, so every mount below is remounted too. Each keeps its restrictions,
    because the kernel refuses to drop them in a user namespace.
    """
    mount(source, target, flags=MS_BIND | MS_REC)
    for point in _mounts_below(target):
        flags = _restrictions(point)
        mount(None, point, flags=MS_REMOUNT | MS_BIND | MS_RDONLY | flags)


def _mounts_below(target: str) -> list[str]:
    points = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == target or point.startswith(target + "/"):
            points.append(point)
    return points


def _restrictions(point: str) -> int:
    have = os.statvfs(point).f_flag
    pairs = ((os.ST_NOSUID, MS_NOSUID), (os.ST_NODEV, MS_NODEV), (os.ST_NOEXEC, MS_NOEXEC))
    return sum(flag for bit, flag in pairs if have & bit)


# --- the network namespace -------------------------------------------------------------------------------------------

_SIOCSIFFLAGS = 0x8914
_IFF_UP_RUNNING = 0x41
_LOOPBACK = 1
"""Index of the loopback interface in every network namespace."""


def make_local(network: ipaddress.IPv4Network) -> None:
    """Bring the loopback interface up and make a whole network local to this namespace.

    Any address of the network can then be bound and reached, and its packets never leave the namespace. Every user may
    bind ports below 1024.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _IFF_UP_RUNNING))
    _add_local_route(network)
    Path("/proc/sys/net/ipv4/ip_unprivileged_port_start").write_text("0")


def _add_local_route(network: ipaddress.IPv4Network) -> None:
    """Do ``ip route add local NETWORK dev lo`` (rtnetlink(7))."""
    destination = struct.pack("=HH4s", 8, 1, network.network_address.packed)  # RTA_DST
    interface = struct.pack("=HHI", 8, 4, _LOOPBACK)  # RTA_OIF
    # family, prefix length, source length, tos, table "local", protocol "boot", scope "host", type "local", flags
    route = struct.pack("=BBBBBBBBI", socket.AF_INET, network.prefixlen, 0, 0, 255, 3, 254, 2, 0)
    payload = route + destination + interface
    # length, RTM_NEWROUTE, NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE, sequence, port
    header = struct.pack("=IHHII", 16 + len(payload), 24, 0x405, 1, 0)
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0) as netlink:
        netlink.send(header + payload)
        answer = netlink.recv(4096)
    error = -struct.unpack_from("=i", answer, 16)[0]
    if error:
        raise OSError(error, f"route to {network}: {os.strerror(error)}")
