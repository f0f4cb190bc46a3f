"""A host's package database and the files of its packages, shared by the stand-ins of the package managers.

The database is one small text file per package (``/var/lib/rpm/NAME`` or ``/var/lib/dpkg/status.d/NAME``), so that the
shell stand-ins of ``rpm`` and ``dpkg-query`` can answer from it without Python.
"""

from __future__ import annotations

import os

from kbootstrap_lab.simulated import catalogue
from kbootstrap_lab.simulated.paths import MACHINE

DATABASE = {"el": "/var/lib/rpm", "debian": "/var/lib/dpkg/status.d"}
_PYTHON = "apt-cache apt-get apt-mark crictl ctr curl dnf gpg gpg2 kubeadm kubectl yum"
PYTHON_COMMANDS = frozenset(_PYTHON.split())
"""Stand-ins written in Python. Each of the others is a shell file."""


_SHARED = {
    "chgrp": "chown",
    "firewall-offline-cmd": "present",
    "ip6tables": "iptables",
    "ip6tables-restore": "iptables-restore",
    "ip6tables-save": "iptables-save",
    "rpmkeys": "rpm",
    "runuser": "su",
}
_VERSION_ONLY = (
    "chronyd conntrack containerd-shim-runc-v2 ebtables ethtool haproxy ipset ipvsadm keepalived runc socat tc"
)
_PRESENT = frozenset(_VERSION_ONLY.split())
"""Commands that only need to exist: they print their version and refuse everything else."""


def stand_in(command: str) -> str:
    """The path of a command's stand-in. One program can stand in for several; it reads the name it is called by."""
    name = os.path.basename(command)
    if name in PYTHON_COMMANDS:
        return f"{MACHINE}/sim/bin/python-stand-in"
    return f"{MACHINE}/sim/bin/" + ("present" if name in _PRESENT else _SHARED.get(name, name))


def read(family: str) -> dict[str, dict[str, list[str]]]:
    """Every installed package with its fields."""
    directory = DATABASE[family]
    names = os.listdir(directory) if os.path.isdir(directory) else []
    return {name: _fields(_text(f"{directory}/{name}")) for name in names}


def _fields(text: str) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for line in text.splitlines():
        key, _, value = line.partition(": ")
        fields.setdefault(key, []).append(value)
    return fields


def version_of(family: str, name: str) -> str | None:
    """The installed version of a package, or None."""
    path = f"{DATABASE[family]}/{name}"
    return _fields(_text(path))["Version"][0] if os.path.exists(path) else None


def install(family: str, name: str, version: str, arch: str, now: int) -> list[str]:
    """Install a package's files. An existing configuration file is kept. Returns the package's units."""
    what = catalogue.content(name, family, version)
    files = []
    for command in what.commands:
        _link(stand_in(command), command)
        files.append(command)
    for unit, text in what.units.items():
        path = f"/usr/lib/systemd/system/{unit}"
        write(path, text)
        files.append(path)
    for path, text in what.files.items():
        if not (path.startswith("/etc/") and os.path.exists(path)):
            write(path, text)
            if (not path.startswith("/etc/") and "/system-generators/" in path) or path.startswith("/opt/cni/bin/"):
                os.chmod(path, 0o755)  # noqa: S103 - programs
        files.append(path)
    lines = [f"Package: {name}", "Status: install ok installed", f"Version: {version}", f"Architecture: {arch}"]
    lines += [f"Installed: {now}", *(f"File: {path}" for path in files)]
    write(f"{DATABASE[family]}/{name}", "\n".join(lines) + "\n")
    return list(what.units)


def remove(family: str, name: str) -> None:
    """Remove a package and its files. A changed configuration file stays (EL renames it to ``.rpmsave``)."""
    record = f"{DATABASE[family]}/{name}"
    what = catalogue.content(name, family)
    for path in _fields(_text(record)).get("File", []):
        if not os.path.lexists(path):
            continue
        changed = path.startswith("/etc/") and _text(path) != what.files.get(path)
        if changed and family == "debian":
            continue
        if changed:
            os.replace(path, path + ".rpmsave")
        else:
            os.unlink(path)
        _remove_empty(os.path.dirname(path))
    os.unlink(record)


def _text(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


_BASE = frozenset(
    "/ /etc /etc/sysconfig /opt /usr /usr/bin /usr/sbin /usr/lib/systemd/system /usr/share /var/lib".split()
)
"""Directories of the system itself. They stay when they are empty."""


def _remove_empty(directory: str) -> None:
    while directory not in _BASE and not os.listdir(directory):
        os.rmdir(directory)
        directory = os.path.dirname(directory)


def _link(target: str, path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    if os.path.lexists(path):
        os.unlink(path)
    os.symlink(target, path)


def write(path: str, text: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
