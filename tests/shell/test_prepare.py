"""Steps of `prepare` on a host that was used before, in dash and in bash: /etc, /proc and /run are a test's own."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from kbootstrap.model import Step
from kbootstrap.script import build

PRIVATE = ("etc", "var/lib", "run", "usr/local/sbin", "usr/lib/systemd", "proc")
COMMANDS = {
    "swapoff": "sed -i '2,$d' /run/swaps && cat /run/swaps >/proc/swaps",
    "modprobe": 'printf "%s 16384 0 - Live 0x0\\n" "$1" >>/proc/modules',
    "sysctl": '[ "$1 $2" = "-q -w" ] && echo "${3#*=}" >"/proc/sys/$(echo "${3%%=*}" | tr . /)"',
    "hostnamectl": '[ "$1" = set-hostname ] && echo "$2" >/etc/hostname && echo "$2" >/run/name',
    "uname": "cat /run/name",
    "systemctl": '[ "$1 $2" = "mask --now" ] && ln -s /dev/null "/etc/systemd/system/$3"',
}
"""What needs a kernel or systemd."""
SWAPS = "Filename\tType\tSize\n/dev/sda2\tpartition\t1024\n"
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

    def run(self, mode: str, step: Step) -> tuple[str, str]:
        """The state a step ends in, and everything it said."""
        mounts = "".join(f"mount --bind {self.root}/{path} /{path}\n" for path in PRIVATE)
        inside = f'set -e\n{mounts}exec "$@"'
        done = subprocess.run(
            ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", inside, "sh", self.shell, "-s", mode],
            input=build([step], "el"),
            capture_output=True,
            text=True,
            timeout=30,
        )
        ends = re.findall(r"^@kbootstrap end \S+ (\S+)", done.stdout, re.M)
        assert len(ends) == 1, done.stdout + done.stderr
        return ends[0], done.stdout + done.stderr


@pytest.fixture(params=["dash", "bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


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


def with_selinux(host: Host) -> None:
    host.write("etc/selinux/config", "# SELINUX= says how\nSELINUX=enforcing\nSELINUXTYPE=targeted\n")


def with_name(host: Host) -> None:
    host.write("etc/hostname", "localhost\n")
    host.write("run/name", "localhost\n")


HOSTS = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "LINES": "192.168.1.10 cp1\n192.168.1.11 w1"})
SWAP = Step("swap", "S", "prepare/swap.sh", "W.")
CASES: list[tuple[Step, Callable[[Host], None]]] = [
    (HOSTS, with_hosts),
    (SWAP, with_swap),
    (Step("sysctl", "S", "prepare/sysctl.sh", "W.", {"SETTINGS": "net.ipv4.ip_forward=1"}), with_settings),
    (Step("modules", "M", "prepare/modules.sh", "W.", {"MODULES": "kb_one kb_two"}), with_name),
    (Step("selinux", "S", "prepare/selinux.sh", "W.", {"MODE": "permissive"}), with_selinux),
    (Step("hostname", "H", "prepare/hostname.sh", "W.", {"NAME": "cp1"}), with_name),
]


@pytest.mark.parametrize(("step", "prepare"), CASES, ids=[step.id for step, _ in CASES])
def test_a_check_writes_nothing_and_a_step_is_applied_once(
    host: Host, step: Step, prepare: Callable[[Host], None]
) -> None:
    prepare(host)
    before = host.files()
    assert host.run("plan", step)[0] == "change"
    assert host.files() == before
    state, said = host.run("apply", step)
    assert state == "changed", said
    after = host.files()
    assert after != before
    assert host.run("plan", step)[0] == "ok"
    assert host.run("apply", step)[0] == "ok"
    assert host.files() == after


def test_hosts_keeps_the_lines_of_others_and_follows_the_inventory(host: Host) -> None:
    with_hosts(host)
    host.run("apply", HOSTS)
    host.write("etc/hosts", host.read("etc/hosts") + "10.0.0.8 scanner\n")
    smaller = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "LINES": "192.168.1.10 cp1"})
    assert host.run("apply", smaller)[0] == "changed"
    lines = host.read("etc/hosts").splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == [
        "10.0.0.8 scanner",
        "10.0.0.9 printer",
        "127.0.0.1 localhost",
        "192.168.1.10 cp1",
    ]


def test_a_line_that_gives_a_node_another_address_loses_the_name(host: Host) -> None:
    """The first line for a name wins, and Debian's installer writes one: 127.0.1.1 NAME."""
    with_hosts(host)
    host.run("apply", HOSTS)
    own = "127.0.1.1 cp1 printer2 # installer\n10.1.1.1\tcp1\n# 10.1.1.1 cp1 was here\n192.168.1.10  cp1\n"
    host.write("etc/hosts", own + host.read("etc/hosts"))
    state, said = host.run("plan", HOSTS)
    assert state == "change"
    assert "- 127.0.1.1 cp1 printer2 # installer" in said
    assert host.run("apply", HOSTS)[0] == "changed"
    lines = host.read("etc/hosts").splitlines()
    assert lines[:3] == ["127.0.1.1 printer2 # installer", "# 10.1.1.1 cp1 was here", "192.168.1.10  cp1"]
    assert host.run("plan", HOSTS)[0] == "ok"


def test_two_clusters_do_not_touch_each_others_lines(host: Host) -> None:
    with_hosts(host)
    host.run("apply", HOSTS)
    other = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "other", "LINES": "10.9.9.9 far"})
    assert host.run("apply", other)[0] == "changed"
    assert host.run("plan", HOSTS)[0] == "ok"


def test_every_way_swap_comes_back_at_boot_is_closed(host: Host) -> None:
    with_swap(host)
    shown = host.run("plan", SWAP)[1]
    for part in ("swap is on: /dev/sda2", "fstab line 2: /dev/sda2", "data.swap", "vendor.swap", "zram-generator"):
        assert part in shown
    host.run("apply", SWAP)
    fstab = host.read("etc/fstab").splitlines()
    assert fstab[0] == "/dev/sda1 / ext4 defaults 0 1"
    assert fstab[1] == "# off by kbootstrap: /dev/sda2 none swap sw 0 0"
    assert fstab[2] == "# /dev/sdb1 none swap sw 0 0", "a line that was off already stays as it is"
    for unit in ("data.swap", "vendor.swap"):
        assert os.readlink(host.root / "etc/systemd/system" / unit) == "/dev/null"
    kept = "var/lib/kbootstrap/before/etc"
    assert host.read(f"{kept}/fstab") == FSTAB
    assert "What=/data/swap" in host.read(f"{kept}/systemd/system/data.swap")


def test_a_file_that_only_root_may_read_stays_so(host: Host) -> None:
    """/etc/fstab can hold the password of a network share."""
    with_swap(host)
    (host.root / "etc/fstab").chmod(0o600)
    host.run("apply", SWAP)
    assert stat.S_IMODE((host.root / "etc/fstab").stat().st_mode) == 0o600


def test_a_command_that_fails_is_named_with_its_status(host: Host) -> None:
    host.write("usr/local/sbin/swapoff", "#!/bin/sh\necho no memory >&2\nexit 4\n", 0o755)
    with_swap(host)
    state, said = host.run("apply", SWAP)
    assert state == "failed"
    assert "@kbootstrap command swapoff -a\n" in said
    assert "@kbootstrap end swap failed 4\n" in said
    assert "no memory" in said
