"""A host of a test's own: its /etc, /var/lib, /run, /proc ... are folders seen through a mount namespace."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kbootstrap.phases.catalogue import everything
from kbootstrap.remote.script import build
from kbootstrap.steps import Step

LIBRARIES = {step.script: step.libraries for _phase, steps in everything() for step in steps}

PRIVATE = (
    "etc",
    "var/lib",
    "var/log",
    "run",
    "usr/local/sbin",
    "usr/local/lib",
    "usr/lib/systemd",
    "usr/libexec",
    "sys/class/net",
    "proc",
)
SYSTEMCTL = """
verb=$1
for unit; do :; done
unit=${unit%.service}
state=/run/units/$unit
enabled='' active=''
[ ! -e "$state" ] || read -r enabled active <"$state"
keep() {
    [ -e "$state" ] || { echo "Unit file $unit.service does not exist." >&2; exit 1; }
    echo "$1 $2" >"$state"
}
start() { keep "$enabled" active; [ ! -e "$state.start" ] || . "$state.start"; }
stop() { keep "$enabled" inactive; [ ! -e "$state.stop" ] || . "$state.stop"; }
case "$verb" in
    mask) mkdir -p /etc/systemd/system && ln -s /dev/null "/etc/systemd/system/$unit" ;;
    unmask) rm -f "/etc/systemd/system/$unit" ;;
    daemon-reload) ;;
    reload) echo "reload $unit" >>/run/told ;;
    is-active) [ "$2" = --quiet ] || echo "${active:-inactive}"; [ "$active" = active ] || exit 3 ;;
    is-enabled) [ "$2" = --quiet ] || echo "$enabled"; [ "$enabled" = enabled ] ;;
    enable) keep enabled "$active" ;;
    disable) keep disabled "$active"; enabled=disabled; [ "$2" != --now ] || stop ;;
    start | restart) start ;;
    stop) stop ;;
    *) exit 1 ;;
esac
"""
"""systemd with the units of ``Host.unit``: their state is in /run/units."""
COMMANDS = {
    "swapoff": "sed -i '2,$d' /run/swaps && cat /run/swaps >/proc/swaps",
    "modprobe": '[ "$1" = -n ] || printf "%s 16384 0 - Live 0x0\\n" "$1" >>/proc/modules',
    "sysctl": '[ "$1 $2" = "-q -w" ] && echo "${3#*=}" >"/proc/sys/$(echo "${3%%=*}" | tr . /)"',
    "hostnamectl": '[ "$1" = set-hostname ] && echo "$2" >/etc/hostname && echo "$2" >/run/name',
    "uname": "cat /run/name",
    "swapon": 'priority=-2; [ "$1" != -p ] || { priority=$2; shift 2; }; '
    'printf "%s\\tpartition\\t1024\\t0\\t%s\\n" "$1" "$priority" >>/proc/swaps',
    "iptables-save": "cat /run/rules 2>/dev/null",
    "ip": "exit 0",
    "systemctl": SYSTEMCTL,
}
"""What needs a kernel or systemd."""
SWAPS = "Filename\tType\tSize\tUsed\tPriority\n/dev/sda2\tpartition\t1024\t0\t-2\n"
FSTAB = "/dev/sda1 / ext4 defaults 0 1\n/dev/sda2 none swap sw 0 0\n# /dev/sdb1 none swap sw 0 0\n"


class Host:
    """A machine whose private files lie below ``root``."""

    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell = root, shell
        for path in PRIVATE:
            (root / path).mkdir(parents=True)
        self.write("proc/swaps", SWAPS.splitlines()[0] + "\n")
        self.write("proc/modules", "")
        for name, text in COMMANDS.items():
            self.write(f"usr/local/sbin/{name}", f"#!/bin/sh\n{text}\n", 0o755)
        # Debian's awk is a link through /etc/alternatives, which is not here.
        awk = shutil.which("awk")
        assert awk is not None
        (root / "usr/local/sbin/awk").symlink_to(os.path.realpath(awk))

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        target = self.root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        target.chmod(mode)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def files(self) -> dict[str, tuple[str, str]]:
        """Every file with its mode and content (or what it links to)."""
        found = {}
        for folder, _, names in os.walk(self.root):
            for path in (Path(folder, name) for name in names):
                content = os.readlink(path) if path.is_symlink() else path.read_text()
                found[str(path.relative_to(self.root))] = (stat.filemode(path.lstat().st_mode), content)
        return found

    def unit(self, name: str, state: str = "enabled active", start: str = "", stop: str = "") -> None:
        """A service of this host, with what its start and its stop do."""
        self.write(f"usr/lib/systemd/system/{name}.service", f"[Unit]\nDescription={name}\n")
        self.write(f"run/units/{name}", state + "\n")
        for verb, does in (("start", start), ("stop", stop)):
            if does:
                self.write(f"run/units/{name}.{verb}", does + "\n")

    def state(self, unit: str) -> str:
        return self.read(f"run/units/{unit}").strip()

    def run(self, mode: str, step: Step, first: str = "", family: str = "el") -> tuple[str, str]:
        """The state a step ends in, and everything it said; ``first`` are commands for the host before it."""
        mounts = "".join(f"mount --bind {self.root}/{path} /{path}\n" for path in PRIVATE)
        inside = f'set -e\n{mounts}{first}\nexec "$@"'
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh", self.shell, "-s", mode],
            input=build([replace(step, libraries=LIBRARIES[step.script])], family),
            capture_output=True,
            text=True,
            timeout=30,
        )
        ends = re.findall(r"^@kbootstrap end \S+ (\S+)", done.stdout, re.M)
        assert len(ends) == 1, done.stdout + done.stderr
        return ends[0], done.stdout + done.stderr


# --- hosts as they are found, and a step for each ---


def with_swap(host: Host) -> None:
    host.write("proc/swaps", SWAPS)
    host.write("run/swaps", SWAPS)
    host.write("etc/fstab", FSTAB)
    host.write("etc/systemd/system/data.swap", "[Swap]\nWhat=/data/swap\n")
    host.write("usr/lib/systemd/system/vendor.swap", "[Swap]\nWhat=/dev/vendor\n")
    host.write("usr/lib/systemd/system-generators/zram-generator", "#!/bin/sh\n", 0o755)


def with_hosts(host: Host) -> None:
    host.write("etc/hosts", "127.0.0.1 localhost\n10.0.0.9 printer\n")


def with_settings(host: Host) -> None:
    host.write("proc/sys/net/ipv4/ip_forward", "0\n")
    host.write("proc/sys/fs/inotify/max_user_instances", "128\n")
    host.write("etc/sysctl.conf", "net.ipv4.ip_forward = 0\nkernel.panic = 10\n")


def with_selinux(host: Host) -> None:
    host.write("etc/selinux/config", "# SELINUX= says how\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")


def with_name(host: Host) -> None:
    host.write("etc/hostname", "localhost\n")
    host.write("run/name", "localhost\n")


HOSTS = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "NODES": "192.168.1.10 cp1\n192.168.1.11 w1"})
SWAP = Step("swap", "S", "prepare/swap.sh", "W.")
SYSCTL = {"SETTINGS": "net.ipv4.ip_forward=1", "MINIMUMS": "fs.inotify.max_user_instances=8192"}
CASES: list[tuple[Step, Callable[[Host], None]]] = [
    (HOSTS, with_hosts),
    (SWAP, with_swap),
    (Step("sysctl", "S", "prepare/sysctl.sh", "W.", SYSCTL), with_settings),
    (Step("modules", "M", "prepare/modules.sh", "W.", {"MODULES": "kb_one kb_two", "NEEDED": "kb_one"}), with_name),
    (Step("selinux", "S", "prepare/selinux.sh", "W.", {"MODE": "permissive", "PACKAGE": ""}), with_selinux),
    (Step("hostname", "H", "prepare/hostname.sh", "W.", {"NAME": "cp1"}), with_name),
]
