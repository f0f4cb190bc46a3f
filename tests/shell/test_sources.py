"""Package repositories as hosts have them: dead ones, and others with the same packages as ours."""

from __future__ import annotations

import os
import re
import subprocess
import time
from hashlib import sha256
from pathlib import Path

import pytest
from support.private_host import Host
from support.shell import sh

from kbootstrap.remote.script import shell_file
from kbootstrap.steps import Step

CENTOS7 = """\
# CentOS-Base.repo

[base]
name=CentOS-$releasever - Base
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=os&infra=$infra
#baseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/
gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-CentOS-7

[updates]
name=CentOS-$releasever - Updates
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=updates&infra=$infra
gpgcheck=1

[centosplus]
name=CentOS-$releasever - Plus
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=centosplus&infra=$infra
enabled=0
"""
CENTOS8 = """\
[appstream]
name=CentOS Linux $releasever - AppStream
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=AppStream&infra=$infra
#baseurl=http://mirror.centos.org/$contentdir/$releasever/AppStream/$basearch/os/
gpgcheck=1
enabled=1

[storage]
name=A special interest group
mirrorlist=http://mirrorlist.centos.org/?release=$releasever&arch=$basearch&repo=storage-gluster-9
enabled=1
gpgcheck=1
"""
GOOGLE = """\
[kubernetes-old]
name=Kubernetes
baseurl=https://packages.cloud.google.com/yum/repos/kubernetes-el7-x86_64
enabled=1

[cloud-sdk]
name=Google Cloud CLI
baseurl=https://packages.cloud.google.com/yum/repos/cloud-sdk-el9-x86_64
enabled=1
"""
ALIVE = """\
[baseos]
metalink=https://mirrors.centos.org/metalink?repo=centos-baseos-9-stream&arch=x86_64
enabled=1

[epel]
baseurl=http://mirror.example.com/centos/7/epel/
"""
VAULT7, VAULT8 = "http://vault.centos.org/7.9.2009", "http://vault.centos.org/8.5.2111"


def sources(vault: str) -> Step:
    return Step("package-sources", "S", "prepare/sources.sh", "W.", {"VAULT": vault})


@pytest.fixture(params=["dash", "bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


def applied(host: Host, step: Step, family: str = "el") -> str:
    """Apply a step, which then holds and changes nothing more. Returns what it said."""
    before = host.files()
    assert host.run("plan", step, family=family)[0] == "change"
    assert host.files() == before
    state, said = host.run("apply", step, family=family)
    assert state == "changed", said
    after = host.files()
    assert host.run("apply", step, family=family)[0] == "ok"
    assert host.files() == after
    return said


def test_centos_7_gets_its_packages_from_the_archive(host: Host) -> None:
    host.write("etc/yum.repos.d/CentOS-Base.repo", CENTOS7)
    host.write("etc/yum.repos.d/other.repo", ALIVE)
    applied(host, sources(VAULT7))
    text = host.read("etc/yum.repos.d/CentOS-Base.repo")
    assert re.findall(r"^baseurl=(.*)", text, re.M) == [
        f"{VAULT7}/{part}/$basearch/" for part in ("os", "updates", "centosplus")
    ]
    assert "\nmirrorlist=" not in text
    assert text.count("gpgcheck=1") == CENTOS7.count("gpgcheck=1")
    assert host.read("var/lib/kbootstrap/before/etc/yum.repos.d/CentOS-Base.repo") == CENTOS7
    assert host.read("etc/yum.repos.d/other.repo") == ALIVE


def test_what_the_archive_does_not_have_is_switched_off(host: Host) -> None:
    host.write("etc/yum.repos.d/CentOS-Linux-AppStream.repo", CENTOS8)
    host.write("etc/yum.repos.d/google.repo", GOOGLE)
    applied(host, sources(VAULT8))
    text = host.read("etc/yum.repos.d/CentOS-Linux-AppStream.repo")
    assert f"\nbaseurl={VAULT8}/AppStream/$basearch/os/\n" in text
    assert "[storage]\nenabled=0\n" in text
    assert text.count("enabled=1") == 1
    google = host.read("etc/yum.repos.d/google.repo")
    assert "[kubernetes-old]\nenabled=0\n" in google
    assert google.endswith(GOOGLE[GOOGLE.index("[cloud-sdk]") :])


def test_an_address_without_a_list_of_mirrors_is_replaced_too(host: Host) -> None:
    host.write("etc/yum.repos.d/a.repo", "[base]\nbaseurl=http://mirror.centos.org/centos/$releasever/os/$basearch/\n")
    applied(host, sources(VAULT7))
    assert host.read("etc/yum.repos.d/a.repo") == f"[base]\nbaseurl={VAULT7}/os/$basearch/\n"


def test_a_file_stays_when_its_new_text_cannot_be_made(host: Host) -> None:
    host.write("etc/yum.repos.d/a.repo", CENTOS7)
    awk = host.root / "usr/local/sbin/awk"
    real = os.readlink(awk)
    awk.unlink()
    host.write("usr/local/sbin/awk", f'#!/bin/sh\ncase "$*" in *vault*) exit 2 ;; esac\nexec {real} "$@"\n', 0o755)
    assert host.run("apply", sources(VAULT7))[0] == "failed"
    assert host.read("etc/yum.repos.d/a.repo") == CENTOS7


@pytest.mark.parametrize("text", [ALIVE, "", "[off]\nenabled=0\nbaseurl=https://yum.kubernetes.io/x\n", "# nothing\n"])
def test_files_without_a_dead_repository_stay_as_they_are(host: Host, text: str) -> None:
    host.write("etc/yum.repos.d/a.repo", text)
    assert host.run("plan", sources(VAULT7))[0] == "ok"
    assert host.run("plan", sources(""))[0] == "ok"


def test_where_there_is_no_archive_dead_repositories_are_switched_off(host: Host) -> None:
    host.write("etc/yum.repos.d/a.repo", CENTOS7)
    applied(host, sources(""))
    assert host.read("etc/yum.repos.d/a.repo").count("enabled=0") == 3


LIST = """\
deb http://deb.debian.org/debian bookworm main
deb [signed-by=/usr/share/keyrings/k.gpg arch=amd64] https://apt.kubernetes.io/ kubernetes-xenial main
deb https://packages.cloud.google.com/apt cloud-sdk main
"""
STANZAS = """\
Types: deb
URIs: https://packages.cloud.google.com/apt
Suites: kubernetes-jammy
Components: main

Types: deb
Enabled: yes
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
"""


def test_googles_kubernetes_packages_are_switched_off_for_apt(host: Host) -> None:
    host.write("etc/apt/sources.list", LIST)
    host.write("etc/apt/sources.list.d/k.sources", STANZAS)
    applied(host, sources(""), "debian")
    lines = host.read("etc/apt/sources.list").splitlines()
    assert lines == [
        line if "kubernetes.io" not in line else f"# off by kbootstrap: {line}" for line in LIST.splitlines()
    ]
    assert host.read("etc/apt/sources.list.d/k.sources") == "Enabled: no\n" + STANZAS
    host.write("etc/apt/sources.list.d/k.sources", "Enabled: no\n" + STANZAS)
    assert host.run("plan", sources(""), family="debian")[0] == "ok"


# --- another file with the repository that we add ---

URL = "https://download.docker.com/linux/debian"
RIVALS = {
    "docker.sources": f"Types: deb\nURIs: {URL}/\nSuites: bookworm\nComponents: stable\nSigned-By: /a.asc\n",
    "mine.list": f"deb [arch=amd64 signed-by=/usr/share/keyrings/docker.gpg] {URL} bookworm stable\n",
    "src.list": f"deb-src {URL}// bookworm stable\n",
}
FRIENDS = {
    "other-suite.list": f"deb {URL} bullseye stable\n",
    "ubuntu.list": "deb https://download.docker.com/linux/debianx bookworm stable\n",
    "dots.list": "deb https://downloadXdocker.com/linux/debian bookworm stable\n",
    "off.list": f"# deb {URL} bookworm stable\n",
    "off.sources": f"Enabled: no\nTypes: deb\nURIs: {URL}\nSuites: bookworm\n",
}


def repository(url: str, suite: str = "") -> Step:
    params = {"ID": "docker", "NAME": "containerd", "URL": url, "SUITE": suite, "EXCLUDE": "", "SIGNED": "0"}
    keys = {"KEY_URLS": f"{url}/gpg", "FINGERPRINTS": "A" * 40}
    return Step("docker-repository", "D", "repository/repository.sh", "W.", {**params, **keys})


def test_another_file_with_the_same_source_is_switched_off_for_apt(host: Host) -> None:
    for name, text in {**RIVALS, **FRIENDS}.items():
        host.write(f"etc/apt/sources.list.d/{name}", text)
    said = host.run("plan", repository(URL, "bookworm stable"), family="debian")[1]
    for name in RIVALS:
        assert f"--- /etc/apt/sources.list.d/{name}" in said
    for name in FRIENDS:
        assert name not in said
    assert f"+# off by kbootstrap: {RIVALS['mine.list']}" in said
    assert "+Enabled: no" in said


def test_another_section_of_the_same_name_is_switched_off_for_dnf(host: Host) -> None:
    host.write(
        "etc/yum.repos.d/docker-ce.repo", "[docker]\nbaseurl=https://old.example\n\n[docker-ce-stable]\nenabled=1\n"
    )
    said = host.run("plan", repository("https://download.docker.com/linux/centos/9/x86_64/stable/"))[1]
    assert "--- /etc/yum.repos.d/docker-ce.repo" in said
    assert "+enabled=0\n" in said
    assert "-[docker-ce-stable]" not in said


# --- the key of a repository ---

DAY = 86400


@pytest.mark.parametrize(
    ("expires", "age", "state"),
    [(0, 400, "ok"), (31, 400, "ok"), (29, 3, "change"), (29, 0, "ok"), (-1, 3, "change"), (-400, 0, "ok")],
)
def test_a_key_is_fetched_again_before_it_expires_but_once_a_day(
    host: Host, expires: int, age: int, state: str
) -> None:
    """``expires`` and ``age`` (since it was fetched) are days; an expiry of 0 is none."""
    url = "https://download.docker.com/linux/centos/9/x86_64/stable/"
    step = repository(url)
    host.write("etc/pki/rpm-gpg/RPM-GPG-KEY-docker", "key\n")
    text = subprocess.run(
        ["dash", "-c", shell_file("shell/os/el.sh") + f"repo_text docker containerd {url} '' '' 0"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    host.write("etc/yum.repos.d/docker.repo", text)
    key_state = f"{sha256(b'key' + bytes([10])).hexdigest()} {'A' * 40} exported"
    at = int(time.time()) + expires * DAY if expires else 0
    host.write("var/lib/kbootstrap/keys/docker", f"{key_state}\n{at}\n")
    fetched = time.time() - age * DAY - 60
    os.utime(host.root / "var/lib/kbootstrap/keys/docker", (fetched, fetched))
    found, said = host.run("plan", step)
    assert found == state, said
    assert ("its key expires in less than 30 days" in said) is (state == "change")


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_the_newest_copy_of_a_key_is_taken_and_where_there_is_none_the_next(shell: str, tmp_path: Path) -> None:
    curl = """
curl() {
    for last in "$@"; do :; done
    case $last in
        *new*) printf 404; return 22 ;;
        *busy*) printf 503; return 22 ;;
        *) echo key >"$KB_DIR/k"; printf 200 ;;
    esac
}
"""
    lines = sh(
        shell, curl + 'fetch_first "$KB_DIR/k" https://a/new https://a/old && echo "$KB_FETCHED"', folder=tmp_path
    )
    assert "https://a/old" in lines
    lines = sh(
        shell, curl + 'fetch_first "$KB_DIR/k" https://a/busy https://a/old; echo "ended with $?"', folder=tmp_path
    )
    assert "ended with 22" in lines
    assert not any("curl -fsSL https://a/old" in line for line in lines)
    lines = sh(shell, curl + 'fetch_first "$KB_DIR/k" https://a/new1 https://a/new2; echo not reached', folder=tmp_path)
    assert "https://a/new2: the server answers with status 404" in lines
    assert "not reached" not in lines
