"""Steps of `prepare` on a used host, in dash and in bash. Each test has its own /etc, /proc and /run."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from support.private_host import CASES, FSTAB, HOSTS, SWAP, Host, with_hosts, with_swap

from kbootstrap.steps import Step


@pytest.fixture(params=["dash", "bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


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


def test_of_many_nodes_only_the_first_are_listed(host: Host) -> None:
    with_hosts(host)
    nodes = "\n".join(f"192.168.1.{number} w{number}" for number in range(1, 61))
    many = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "NODES": nodes})
    told = host.run("plan", many)[1]
    assert "+ 192.168.1.50 w50\n+ ... 10 more\n@" in told
    assert host.run("apply", many)[0] == "changed"
    assert "192.168.1.60 w60\n" in host.read("etc/hosts")


def test_hosts_keeps_the_lines_of_others_and_follows_the_inventory(host: Host) -> None:
    with_hosts(host)
    host.run("apply", HOSTS)
    host.write("etc/hosts", host.read("etc/hosts") + "10.0.0.8 scanner\n")
    smaller = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "NODES": "192.168.1.10 cp1"})
    assert "/etc/hosts:\n- 192.168.1.11 w1\n@" in host.run("plan", smaller)[1]
    assert host.run("apply", smaller)[0] == "changed"
    assert "/etc/hosts:\n+ 192.168.1.11 w1\n@" in host.run("plan", HOSTS)[1]
    lines = host.read("etc/hosts").splitlines()
    assert sorted(line for line in lines if not line.startswith("#")) == [
        "10.0.0.8 scanner",
        "10.0.0.9 printer",
        "127.0.0.1 localhost",
        "192.168.1.10 cp1",
    ]


def test_a_line_that_gives_a_node_another_address_loses_the_name(host: Host) -> None:
    """The first line with a name wins, and Debian's installer writes one: 127.0.1.1 NAME."""
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


def test_as_many_hosts_as_an_inventory_may_have_fit_into_the_file(host: Host) -> None:
    """The kernel limits one argument of a command to 128 KiB, and the list of the nodes is longer."""
    with_hosts(host)
    lines = "\n".join(f"192.168.{n // 250}.{n % 250 + 1} node-{n:05d}.example.com" for n in range(5000))
    assert len(lines) > 128 * 1024
    many = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "demo", "NODES": lines})
    state, said = host.run("apply", many)
    assert state == "changed", said[-500:]
    after = host.read("etc/hosts")
    assert lines in after
    assert "127.0.0.1 localhost" in after


def test_two_clusters_do_not_touch_each_others_lines(host: Host) -> None:
    with_hosts(host)
    host.run("apply", HOSTS)
    other = Step("hosts", "H", "prepare/hosts.sh", "W.", {"CLUSTER": "other", "NODES": "10.9.9.9 far"})
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


# --- disks that cannot be written to ---

READ_ONLY = "mount -o remount,bind,ro /{place}"
FULL = "mount -t tmpfs -o size=4k,nr_inodes=20 none /var/lib; head -c 4096 /dev/zero >/var/lib/fill 2>/dev/null || :"


@pytest.mark.parametrize("first", [READ_ONLY.format(place="etc"), READ_ONLY.format(place="var/lib"), FULL])
@pytest.mark.parametrize(("step", "prepare"), CASES, ids=[step.id for step, _ in CASES])
def test_a_disk_that_cannot_be_written_is_named_and_nothing_is_half_done(
    host: Host, step: Step, prepare: Callable[[Host], None], first: str
) -> None:
    """The step fails before its first change or in it; on a good disk the same command then completes it."""
    prepare(host)
    before = host.files()
    state, said = host.run("apply", step, first)
    if state == "changed":
        assert "/var/lib" in first, "a step that records nothing there"
    else:
        assert state == "failed", said
        named = "is full" if first == FULL else "cannot be written to: is its file system read-only"
        assert (
            f"hint {'The file system at /var/lib ' if first == FULL else '/' + first.partition('ro /')[2] + ' '}{named}"
            in said
        )
        changed = {path for path in host.files().keys() | before.keys() if host.files().get(path) != before.get(path)}
        assert not [path for path in changed if path.startswith("etc/") and not path.endswith(".kb")], changed
    assert host.run("apply", step)[0] in ("changed", "ok")
    assert host.run("plan", step)[0] == "ok"
