"""Builds a host's private root: its directories, programs, identity and the files in /etc.

The functions run as the host's PID 1 after pivot_root, so every path is a path of the host.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import sys
import sysconfig
import tarfile
import time
import uuid
from pathlib import Path

from kbootstrap_lab.simulated import catalogue, distributions, linux, packages
from kbootstrap_lab.simulated.paths import LAB, MACHINE
from kbootstrap_lab.simulated.spec import Spec

_FILES_AND_PROCESSES = """
[ arch awk b2sum base32 base64 basename bash cat chmod cksum cmp comm cp csplit cut dash date dd df diff dir dirname du
echo egrep env expand expr factor false fgrep find findmnt flock fmt fold getopt grep gunzip gzip head hostid hostname
install ionice join kill link ln logger ls md5sum mkdir mkfifo mktemp more mount mountpoint mv nice nl nohup numfmt od
paste pathchk pr printenv printf prlimit pwd readlink realpath renice rm rmdir sed seq setsid sh sha1sum sha224sum
sha256sum sha384sum sha512sum shred shuf sleep sort split stat stdbuf stty sum sync tac tail tar tee test timeout touch
tr true truncate tsort tty umount uname uniq unlink wc which xargs xz yes zcat
"""
TOOLS = _FILES_AND_PROCESSES.split()
"""Programs of the real machine that a host may run: they work on files and processes, nothing else."""

_OWN = "chgrp chown getent id install nproc runuser stat su uname whoami"
OWN_TOOLS = _OWN.split()
"""Programs of every host that are stand-ins, because the real ones would report the real machine."""

_NEEDED = "awk bash cat cmp diff find flock grep hostname mount sed setsid sh sha256sum stat tail timeout umount uname"
NEEDED = _NEEDED.split()
"""Programs that the real machine must have for simulated hosts."""

_DIRECTORIES = """
/dev/shm /etc/systemd/system /etc/sysctl.d /etc/modules-load.d /etc/modprobe.d /etc/sysconfig /home /media /mnt /opt
/proc/sys /root /srv /sys /tmp /usr/bin /usr/sbin /usr/lib/systemd/system /usr/lib/sysctl.d /usr/local/bin
/usr/local/sbin /usr/share /var/cache /var/lib /var/log /var/spool /var/tmp /run/lock /run/systemd/system
"""

_tools: dict[str, str] = {}
_python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
"""The interpreter itself, not the virtual environment's link to it. It is resolved before pivot_root hides the path."""


def find_tools() -> list[str]:
    """Find the tools on the real machine. Returns those of ``NEEDED`` that are missing."""
    for name in (*TOOLS, "perl"):
        for directory in ("/usr/bin", "/bin", "/usr/sbin", "/sbin"):
            path = f"{directory}/{name}"
            if os.access(path, os.X_OK):
                _tools[name] = MACHINE + os.path.realpath(path)
                break
    return [name for name in (*NEEDED, "perl") if name not in _tools]


# --- the part all hosts share, built by the supervisor before it leaves the real root -------------------------------


def link_unmerged_usr(machine: str) -> None:
    """Make /bin, /sbin and /lib* as the real machine has them: links into /usr, or directories."""
    for name in ("bin", "sbin", "lib", "lib32", "lib64", "libx32"):
        real = f"/{name}"
        if os.path.islink(real):
            os.symlink(os.readlink(real).lstrip("/"), f"{machine}/{name}")
        elif os.path.isdir(real):
            os.mkdir(f"{machine}/{name}")
            linux.bind_read_only(real, f"{machine}/{name}")


def write_runtime(machine: str) -> None:
    """Write what the stand-ins run on: /machine/python3, perl, sh (the fastest shell) and tools."""
    home = python_home()
    program = home + _python.removeprefix(os.path.realpath(sys.base_prefix))
    library = "" if sys.base_prefix == "/usr" or not sysconfig.get_config_var("Py_ENABLE_SHARED") else f"{home}/lib"
    text = f"#!{MACHINE}/sh\n"
    if library:
        text += f"LD_LIBRARY_PATH={library}\nexport LD_LIBRARY_PATH\n"
    path = Path(machine, "python3")
    path.write_text(f'{text}exec {program} -I -S "$@"\n')
    path.chmod(0o755)
    os.mkdir(f"{machine}/tools")
    os.symlink(_tools.pop("perl"), f"{machine}/perl")
    for name, target in _tools.items():
        os.symlink(target, f"{machine}/tools/{name}")
    os.symlink(_tools.get("dash") or _tools["sh"], f"{machine}/sh")
    os.symlink("modules/kbootstrap_lab/simulated", f"{machine}/sim")


def python_home() -> str:
    """The place of this Python (its ``sys.base_prefix``) in a host."""
    return f"{MACHINE}/usr" if sys.base_prefix == "/usr" else f"{MACHINE}/python"


# --- one host -------------------------------------------------------------------------------------------------------


def build(spec: Spec) -> None:
    """Fill the root of a new host."""
    distribution = distributions.DISTRIBUTIONS[spec.distribution]
    _directories()
    _programs(distribution)
    _etc(spec, distribution)
    _proc_and_sys(spec, distribution)
    _packages(spec, distribution)
    _users(spec, distribution)
    for path, text in distributions.files(spec).items():
        write(path, text)
    for path in distributions.directories(spec):
        os.makedirs(path, exist_ok=True)
    for path, target in distributions.links(spec).items():
        _link(target, path)
    _host_conf(spec, distribution)


def _directories() -> None:
    for path in _DIRECTORIES.split():
        os.makedirs(path, exist_ok=True)
    os.chmod("/root", 0o700)
    for path in ("/tmp", "/var/tmp", "/dev/shm"):
        os.chmod(path, 0o1777)  # noqa: S103 - as on every host
    for name in ("bin", "sbin"):
        _link(f"usr/{name}", f"/{name}")
    _link("/run", "/var/run")


def _programs(distribution: distributions.Distribution) -> None:
    for name, target in _tools.items():
        _link(target, f"/usr/bin/{name}")
    for name in OWN_TOOLS:
        _link(packages.stand_in(name), f"/usr/bin/{name}")
    shell = _tools.get(distribution.sh) or _tools["sh"]
    _link(shell, "/usr/bin/sh")
    _link("usr/lib", "/lib")
    libraries = os.listdir(f"{MACHINE}/usr/lib") if os.path.isdir(f"{MACHINE}/usr/lib") else []
    for name in libraries:
        if "-linux-" in name:
            _link(f"{MACHINE}/usr/lib/{name}", f"/usr/lib/{name}")
    if os.path.isdir(f"{MACHINE}/usr/lib64"):
        _link(f"{MACHINE}/usr/lib64", "/usr/lib64")
    if os.path.isdir(f"{MACHINE}/lib64"):
        _link(f"{MACHINE}/lib64", "/lib64")
    for name in ("null", "zero", "full", "random", "urandom", "tty"):
        _link(f"{MACHINE}/dev/{name}", f"/dev/{name}")
    for name, target in {"fd": "fd", "stdin": "fd/0", "stdout": "fd/1", "stderr": "fd/2"}.items():
        _link(f"/proc/self/{target}", f"/dev/{name}")


def _etc(spec: Spec, distribution: distributions.Distribution) -> None:
    write("/etc/os-release", distribution.os_release)
    write("/etc/machine-id", _id(spec, "machine-id").hex + "\n", 0o444)
    write("/etc/hosts", "127.0.0.1   localhost localhost.localdomain\n::1         localhost localhost.localdomain\n")
    write("/etc/resolv.conf", "nameserver 192.168.1.1\n")
    write("/etc/shells", "/bin/sh\n/bin/bash\n")
    write("/etc/profile", "# /etc/profile\n")
    write("/etc/sysctl.conf", "# System-wide sysctl settings\n")


def _proc_and_sys(spec: Spec, distribution: distributions.Distribution) -> None:
    """Write /proc and /sys: plain files that a host's scripts read, and links to the real files where those fit."""
    for name in ("self", "thread-self", "uptime", "loadavg"):
        _link(f"{MACHINE}/proc/{name}", f"/proc/{name}")
    _link("self/mounts", "/proc/mounts")
    for path, text in distributions.proc(spec, distribution).items():
        write(path, text)
    for path in ("/sys/class/dmi/id/product_uuid", "/sys/devices/virtual/dmi/id/product_uuid"):
        write(path, f"{_id(spec, 'product')}\n", 0o400)
    write("/sys/class/net/eth0/address", spec.mac + "\n")
    write("/sys/class/net/lo/address", "00:00:00:00:00:00\n")
    for name in ("eth0", "lo"):
        write(f"/sys/class/net/{name}/operstate", "up\n" if name == "eth0" else "unknown\n")
        write(f"/sys/class/net/{name}/mtu", "1500\n" if name == "eth0" else "65536\n")
    if distribution.cgroup == 2:
        write("/sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory hugetlb pids rdma misc\n")
    else:
        for name in ("cpu", "cpuset", "memory", "pids", "systemd"):
            os.makedirs(f"/sys/fs/cgroup/{name}")


def _id(spec: Spec, what: str) -> uuid.UUID:
    """An id that depends only on the host's spec and differs from every other host's."""
    text = f"{what} {spec.name} {spec.index}".encode()
    return uuid.UUID(bytes=hashlib.sha256(text).digest()[:16], version=4)


def _packages(spec: Spec, distribution: distributions.Distribution) -> None:
    os.makedirs(packages.DATABASE[distribution.family])
    now = int(time.time()) - 30 * 24 * 3600
    wanted = {**catalogue.installed(distribution.base), **distributions.more_packages(spec)}
    for name, version in wanted.items():
        packages.install(distribution.family, name, version, distribution.arch, now)


def _users(spec: Spec, distribution: distributions.Distribution) -> None:
    users = {"root": (0, "/root"), "nobody": (65534, "/")}
    if spec.user != "root":
        users[spec.user] = (1000, f"/home/{spec.user}")
        os.makedirs(f"/home/{spec.user}", mode=0o700)
    write("/etc/passwd", "".join(f"{n}:x:{i}:{i}:{n}:{home}:/bin/bash\n" for n, (i, home) in users.items()))
    write("/etc/group", "".join(f"{n}:x:{i}:\n" for n, (i, _home) in users.items()))
    write("/etc/shadow", "".join(f"{name}:*:20000:0:99999:7:::\n" for name in users), 0o600)
    write("/etc/sudoers", "root\tALL=(ALL)\tALL\n", 0o440)
    if spec.sudo != "none":
        tag = "NOPASSWD: " if spec.sudo == "passwordless" else ""
        write(f"/etc/sudoers.d/90-{spec.user}", f"{spec.user} ALL=(ALL) {tag}ALL\n", 0o440)
    if spec.sudo_hash:
        write("/var/lib/sim/sudo", spec.sudo_hash + "\n", 0o600)


def _host_conf(spec: Spec, distribution: distributions.Distribution) -> None:
    """The stand-ins' settings for this host."""
    lines = {
        "DISTRIBUTION": distribution.base,
        "RELEASE": distribution.release,
        "RELEASEVER": distribution.releasever,
        "MODULES_IN_PACKAGE": "1" if distribution.modules_in_package else "",
        "FAMILY": distribution.family,
        "NAME": spec.name,
        "IP": spec.ip,
        "MAC": spec.mac,
        "KERNEL": distribution.kernel,
        "KERNEL_VERSION": distribution.kernel_version,
        "ARCH": distribution.arch,
        "PRETTY_NAME": distribution.pretty_name,
        "SYSTEMD": distribution.systemd,
    }
    write("/var/lib/sim/host", "".join(f"SIM_{key}='{value}'\n" for key, value in lines.items()))
    write("/var/lib/sim/clock-offset", "0\n")
    os.makedirs(f"{LAB}/net/{spec.ip}/listen", exist_ok=True)
    Path(f"{LAB}/net/{spec.ip}/name").write_text(spec.name + "\n")
    _wake_fifo(spec)


def _wake_fifo(spec: Spec) -> None:
    os.mkfifo(f"{LAB}/net/{spec.ip}/wake", 0o600)


OWNERS = "/var/lib/sim/owners"
"""The owners of files, by device and inode."""

SAVE = f"""
set -e
hostname >{LAB}/snapshot/$SIM_NAME.hostname
owners={OWNERS}
[ -e $owners ] || owners=/dev/null
find / /run -xdev -printf '%D:%i\\t%p\\n' |
    awk 'FILENAME != "-" {{ owner[$1] = $2 "\\t" $3; next }}
        {{ key = $1; sub(/^[^\\t]*\\t/, "") }} key in owner {{ print owner[key] "\\t" $0 }}' $owners - \\
        >{LAB}/snapshot/$SIM_NAME.owners
tar --create --one-file-system --numeric-owner --file {LAB}/snapshot/$SIM_NAME.tar --directory / . run
"""
"""The command with which a host saves its disk and its /run."""


def restore(spec: Spec) -> None:
    """Fill the root of a new host with the files that ``SAVE`` kept of a running one."""
    saved = f"{LAB}/snapshot/{spec.name}"
    with tarfile.open(f"{saved}.tar") as archive:
        archive.extractall("/", filter="fully_trusted")  # noqa: S202 - a host's own files
    linux.set_hostname(Path(f"{saved}.hostname").read_text().strip())
    if os.path.exists(OWNERS):
        _own_again(Path(f"{saved}.owners").read_text())
    _wake_fifo(spec)


def _own_again(owners: str) -> None:
    """Restore the recorded owners by path, because the restored files have other inodes."""
    lines = []
    for line in owners.splitlines():
        user, group, path = line.split("\t", 2)
        found = os.stat(path)
        lines.append(f"{found.st_dev}:{found.st_ino} {user} {group}\n")
    write(OWNERS, "".join(lines))


def power_on() -> None:
    """The kernel's part of a boot: reset its state and /proc, and take the name from /etc/hostname."""
    spec_name = Path("/etc/hostname").read_text().strip() if os.path.exists("/etc/hostname") else "localhost"
    linux.set_hostname(spec_name or "localhost")
    clear("/proc/sys")
    for path, text in distributions.fresh_kernel().items():
        write(path, text)
    write("/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n", 0o444)
    for path in ("/run/lock", "/run/systemd/system", "/run/sim/active", "/run/sim/journal"):
        os.makedirs(path, exist_ok=True)
    os.makedirs("/run/user", exist_ok=True)


def clear(directory: str) -> None:
    """Remove everything in a directory."""
    for name in os.listdir(directory):
        path = os.path.join(directory, name)
        if stat.S_ISDIR(os.lstat(path).st_mode):
            shutil.rmtree(path, ignore_errors=True)
        else:
            os.unlink(path)


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file. Makes its directory when it is missing."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)


def _link(target: str, path: str) -> None:
    try:
        os.symlink(target, path)
    except FileExistsError:
        os.unlink(path)
        os.symlink(target, path)
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path))
        os.symlink(target, path)
