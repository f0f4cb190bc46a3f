"""The facts of this machine, and the progress of a host that follows from its files."""

from __future__ import annotations

import platform
import re
import subprocess
import time
from pathlib import Path
from typing import cast

import pytest

from kbootstrap.distributions import OsRelease
from kbootstrap.errors import KbootstrapError, StepError
from kbootstrap.remote.facts import MAX_LINES, MAX_VALUE, Facts, parse
from kbootstrap.remote.protocol import Status
from kbootstrap.remote.script import facts_script, quote
from kbootstrap.remote.session import Session
from kbootstrap.run.hosts import _gathered
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS

LEAST = ["uid=0", "cpus=2", "memory_kib=2048", "disk_free_kib=4096", "epoch=5"]


@pytest.mark.parametrize(
    "lie",
    [
        "memory_kib=" + "9" * 400,
        "memory_kib=-1",
        "cpus=" + "9" * 4000,
        "cpus=two",
        "cpus=-5",
        "uid=-1",
        "disk_free_kib=1e9",
        "epoch=nan",
        "epoch=inf",
        "epoch=-5",
        "epoch=1e300",
        "epoch=" + "9" * 4000,
        "listening=-1",
        "listening=" + "F" * 4000,
        "address=eth0 not-an-address",
        "address=",
    ],
)
def test_impossible_facts_are_refused(lie: str) -> None:
    with pytest.raises(KbootstrapError, match="are invalid") as caught:
        parse([*LEAST, lie, "complete=1"])
    assert len(str(caught.value)) < 5000


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_facts_of_this_machine_are_right(shell: str) -> None:
    done = subprocess.run([shell, "-s"], input=facts_script(), capture_output=True, text=True, timeout=30)
    facts = parse(done.stdout.splitlines(), received_at=time.time())
    assert done.returncode == 0
    assert (facts.arch, facts.hostname, facts.kernel) == (platform.machine(), platform.node(), platform.release())
    assert facts.cpus > 0
    assert facts.memory_mib > 0
    assert abs(facts.clock_offset) < 30


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_services_of_a_kube_proxy_with_ipvs_are_no_addresses_of_the_host(shell: str) -> None:
    listed = "2: eth0    inet 192.168.1.10/24 scope global\n3: kube-ipvs0    inet 10.96.0.1/32 scope global\n"
    text = f"ip() {{ printf %s {quote(listed)}; }}\n{facts_script()}"
    done = subprocess.run([shell, "-s"], input=text, capture_output=True, text=True, timeout=30)
    assert parse(done.stdout.splitlines()).addresses == {"192.168.1.10": "eth0"}


@pytest.mark.parametrize(
    ("traces", "state"),
    [
        ("", "fresh"),
        ("init_begun", "fresh"),
        ("join_begun", "fresh"),
        ("kubelet_conf", "member"),
        ("admin_conf kubelet_conf manifests etcd_data", "member"),
        ("admin_conf kubelet_conf manifests etcd_data init_begun init_done", "member"),
        ("kubelet_conf join_begun join_done", "member"),
        ("kubelet_conf manifests join_begun", "half"),
        ("manifests init_begun", "half"),
        ("admin_conf kubelet_conf manifests etcd_data init_begun", "half"),
        ("bootstrap_conf join_begun", "half"),
        ("etcd_data", "half"),
    ],
)
def test_where_a_host_stands(traces: str, state: str) -> None:
    said = [f"{name}=1" for name in traces.split()]
    assert parse([*LEAST, *said, "complete=1"]).cluster_state == state


@pytest.mark.parametrize(
    ("os_id", "os_like", "family"),
    [
        ("centos", (), "el"),
        ("openeuler", (), "el"),
        ("ubuntu", ("debian",), "debian"),
        ("linuxmint", ("ubuntu", "debian"), "debian"),
        ("somelinux", ("rhel", "fedora"), "el"),
        ("alpine", (), ""),
        ("", (), ""),
    ],
)
def test_the_family_of_an_os(os_id: str, os_like: tuple[str, ...], family: str) -> None:
    assert Facts(os=OsRelease(os_id, like=os_like)).family == family


@pytest.mark.parametrize(
    ("said", "selinux"),
    [("selinux=0", "permissive"), ("selinux=1", "enforcing"), ("selinux=off", "off"), ("", ""), ("selinux=x", "")],
)
def test_selinux(said: str, selinux: str) -> None:
    assert parse([*LEAST, said, "complete=1"]).selinux == selinux


def test_facts_are_bounded_and_cannot_control_the_terminal() -> None:
    facts = parse([*LEAST, "os_name=\x1b[31m" + "x" * 10_000, "complete=1"])
    assert facts.os_name == "x" * (MAX_VALUE - len("\x1b[31m"))
    with pytest.raises(KbootstrapError, match=f"more than {MAX_LINES} lines"):
        parse([*LEAST, *["has=kubelet"] * (MAX_LINES + 1), "complete=1"])


@pytest.mark.parametrize("said", ["mac=", "route=", "address=", "listening=", "=", "no equals sign"])
def test_an_empty_line_is_no_crash(said: str) -> None:
    try:
        assert parse([*LEAST, said, "complete=1"]).cpus == 2
    except KbootstrapError as error:
        assert "are invalid" in error.message  # noqa: PT017 - an error and no error are both right


class Hangs:
    """A session whose host never ends the script."""

    def run_inline(self, *_arguments: object) -> int:
        return Status.TIMED_OUT


def test_a_facts_script_that_hangs_says_so_and_what_to_do() -> None:
    with pytest.raises(StepError, match="did not end within 60 s") as failed:
        _gathered("cp1", cast(Session, Hangs()))
    assert "Log in" in failed.value.failure.hint


# --- distributions ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("found", "family", "release", "base"),
    [
        (OsRelease("centos", "7", ("rhel", "fedora")), "el", "7", "el"),
        (OsRelease("centos", "8", ("rhel", "fedora"), "platform:el8"), "el", "8", "el"),
        (OsRelease("rhel", "9.6", ("fedora",), "platform:el9"), "el", "9", "el"),
        (OsRelease("rhel", "10.0", ("centos", "fedora"), "platform:el10"), "el", "10", "el"),
        (OsRelease("ol", "8.10", ("fedora",), "platform:el8"), "el", "8", "el"),
        (OsRelease("amzn", "2023", ("fedora",), "platform:al2023"), "el", "9", "el"),
        (OsRelease("amzn", "2", ("centos", "rhel", "fedora")), "el", "", "el"),
        (OsRelease("fedora", "43", (), "platform:f43"), "el", "43", "fedora"),
        (OsRelease("openEuler", "22.03"), "el", "9", "el"),
        (OsRelease("openEuler", "20.03"), "el", "8", "el"),
        (OsRelease("openEuler", "26.09"), "el", "", "el"),
        (OsRelease("anolis", "8.9", ("rhel", "fedora", "centos"), "platform:an8"), "el", "8", "el"),
        (OsRelease("anolis", "7.9", ("rhel",)), "el", "7", "el"),
        (OsRelease("anolis", "23", (), "platform:an23"), "el", "9", "el"),
        (OsRelease("alinux", "3", ("rhel", "fedora"), "platform:al8"), "el", "8", "el"),
        (OsRelease("alinux", "2.1903", ("rhel", "fedora")), "el", "7", "el"),
        (OsRelease("tencentos", "4.2", ("rhel",), "platform:ts4"), "el", "9", "el"),
        (OsRelease("opencloudos", "9.2"), "el", "9", "el"),
        (OsRelease("kylin", "V10"), "el", "8", "el"),
        (OsRelease("kylin", "v10", ("debian",)), "debian", "", "debian"),
        (OsRelease("virtuozzo", "8.10", ("rhel", "fedora"), "platform:el8"), "el", "8", "el"),
        (OsRelease("debian", "13", codename="trixie"), "debian", "trixie", "debian"),
        (OsRelease("ubuntu", "24.04", ("debian",), "", "noble", "noble"), "debian", "noble", "ubuntu"),
        (
            OsRelease("linuxmint", "22.1", ("ubuntu", "debian"), "", "xia", "noble"),
            "debian",
            "noble",
            "ubuntu",
        ),
        (OsRelease("linuxmint", "6", ("debian",), "", "faye", "", "bookworm"), "debian", "bookworm", "debian"),
        (OsRelease("kali", "2026.1", ("debian",), "", "kali-rolling"), "debian", "", "debian"),
        (OsRelease("alpine", "3.22"), "", "", "el"),
    ],
    ids=lambda value: f"{value.id}-{value.version}" if isinstance(value, OsRelease) else "",
)
def test_which_packages_fit_a_distribution(found: OsRelease, family: str, release: str, base: str) -> None:
    assert (found.family, found.release, found.base) == (family, release, base)


def test_every_simulated_distribution_is_known() -> None:
    for name, distribution in DISTRIBUTIONS.items():
        fields = dict(re.findall(r'^(\w+)="(.*)"$', distribution.os_release, re.M))
        lines = [f"os_{key.lower()}={fields.get(field, '')}" for key, field in FIELDS.items()]
        facts = parse([*LEAST, *lines, "complete=1"])
        assert (facts.family, facts.os.release) == (distribution.family, distribution.release), name


FIELDS = {
    "id": "ID",
    "version": "VERSION_ID",
    "like": "ID_LIKE",
    "platform": "PLATFORM_ID",
    "codename": "VERSION_CODENAME",
    "ubuntu_codename": "UBUNTU_CODENAME",
    "debian_codename": "DEBIAN_CODENAME",
}


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    ("file", "text", "on"),
    [
        ("cgroup.controllers", "cpuset cpu io memory pids\n", True),
        ("cgroup.controllers", "cpuset cpu io pids\n", False),
        ("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t10\t1\nmemory\t0\t10\t0\n", False),
        ("cgroups", "#subsys_name\thierarchy\tnum_cgroups\tenabled\nmemory\t5\t10\t1\n", True),
        ("none", "", True),
    ],
)
def test_a_memory_controller_that_is_off_is_seen(tmp_path: Path, shell: str, file: str, text: str, on: bool) -> None:
    (tmp_path / file).write_text(text)
    script = facts_script().replace("/sys/fs/cgroup/cgroup.controllers", f"{tmp_path}/cgroup.controllers")
    script = script.replace("/proc/cgroups", f"{tmp_path}/cgroups")
    done = subprocess.run([shell, "-s"], input=script, capture_output=True, text=True, timeout=30)
    assert parse(done.stdout.splitlines()).memory_cgroup is on
