"""What a step says about a package manager that cannot do its work, and what preflight finds before it has to."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.private_host import Host
from support.shell import SHELLS, sh, step

from kbootstrap.remote.script import shell_file
from kbootstrap.steps import Step

FINAL = [
    ("el", "  - package containerd.io-1.7.2 conflicts with runc provided by runc-1.1", "dnf remove runc"),
    ("el", "Problem: conflicting requests", "Remove the package that conflicts"),
    ("el", "All matches were filtered out by exclude filtering for argument: kubelet", "versionlock"),
    ("el", "Error: Cannot prepare internal mirrorlist: No URLs in mirrorlist", "cluster.os_repository"),
    ("el", "Could not resolve host: mirrorlist.centos.org; Unknown error", "the phase prepare replaces them"),
    (
        "el",
        "Couldn't resolve host name for http://mirrorlist.centos.org/?release=8&arch=x86_64",
        "cluster.os_repository",
    ),
    ("el", "This system is not registered with an entitlement server.", "subscription-manager register"),
    ("el", "Error: There are no enabled repositories in /etc/yum.repos.d", "subscription-manager register"),
    ("el", "error: rpmdb open failed", "rpm --rebuilddb"),
    ("el", "error: cannot open Packages database in /var/lib/rpm", "rpm --rebuilddb"),
    ("el", "Failed to resolve the transaction:", "Check the addresses, versions"),
    ("el", "No match for argument: kubelet-1.34.9", "Check the addresses, versions"),
    ("debian", "E: Release file for https://a.example/InRelease is not valid yet (invalid for 3h)", "clock is behind"),
    ("debian", "E: Repository changed its 'Suite' value from 'stable' to 'oldstable'", "--allow-releaseinfo-change"),
    ("debian", "E: Conflicting values set for option Signed-By regarding source https://a.example", "apt-get update"),
    ("debian", "E: Unable to correct problems, you have held broken packages.", "apt-mark showhold"),
    ("debian", "Certificate verification failed: The certificate is NOT trusted.", "proxy that opens TLS"),
    ("debian", "  Signature Packet v3 is not considered secure since 2026-02-01T00:00:00Z", "newer Kubernetes minor"),
    ("debian", "W: GPG error: EXPKEYSIG 234654DA9A296436", "fetches a newer copy"),
]


def outcome(shell: str, folder: Path, words: str, family: str = "el", before: str = "") -> list[str]:
    """Run a step whose package manager says these words and fails."""
    tool = f"tool() {{\ncat <<'X'\n{words}\nX\nreturn 1\n}}\n"
    script = shell_file(f"shell/os/{family}.sh") + tool + before
    return sh(shell, script + step("[ -e /no/file ]", "run_packages tool"), folder=folder)


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("family", "words", "hint"), FINAL)
def test_a_final_error_has_a_hint_of_its_own(shell: str, tmp_path: Path, family: str, words: str, hint: str) -> None:
    lines = outcome(shell, tmp_path, words, family)
    assert "@m end s failed 64" in lines
    assert hint in next(line for line in lines if line.startswith("@m hint"))


NAMES = [
    ("Could not resolve host: mirrorlist.example; Unknown error", "mirrorlist.example"),
    ("Curl error (6): Couldn't resolve host name for http://a.example/x/repodata/repomd.xml [...]", "a.example"),
    ("Failed to fetch http://a.example/x  Temporary failure resolving 'a.example'", "a.example"),
    ("W: Failed to fetch http://a.example/x  Could not resolve 'a.example'", "a.example"),
    ("dial tcp: lookup registry.example on 127.0.0.53:53: no such host", "registry.example"),
    ("dial tcp: lookup registry.example: no such host", "registry.example"),
]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(("words", "name"), NAMES)
def test_the_name_that_does_not_resolve_is_named(shell: str, tmp_path: Path, words: str, name: str) -> None:
    """resolv.conf is blamed only where other names do not resolve either."""
    for found, said in ((0, ", but other names"), (2, ": see /etc/resolv.conf")):
        lines = outcome(shell, tmp_path, words, before=f"getent() {{ return {found}; }}\n")
        assert any(line.startswith(f"@m hint This host cannot resolve {name}{said}") for line in lines), lines


# --- preflight ---

YUM = """#!/bin/sh
[ "$1" != --version ] || { cat /run/version; exit; }
echo "$*" >>/run/asked
[ ! -e /run/answer ] || { cat /run/answer; exit 1; }
"""
PARAMS = {"NAMES": "containerd.io kubelet kubeadm", "ARCHIVE": "", "VAULT": "", "KEEP": "0", "WARN": ""}
DEAD = "[base]\nmirrorlist=http://mirrorlist.centos.org/?release=7&arch=x86_64&repo=os\n[other]\nenabled=1\n"


@pytest.fixture(params=["dash", "bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    made = Host(tmp_path, request.param)
    made.write("usr/local/sbin/yum", YUM, 0o755)
    made.write("run/version", "3.4.3\n  Installed: rpm-4.11.3\n")
    made.write("usr/local/sbin/rpm", '#!/bin/sh\ngrep -qxs "$4" /run/installed && echo 1.0\n', 0o755)
    return made


def asked(host: Host, **params: str) -> tuple[str, str]:
    return host.run("plan", Step("packages", "P", "preflight/packages.sh", "W.", {**PARAMS, **params}))


def test_the_package_manager_is_asked_once_without_what_is_replaced_later(host: Host) -> None:
    host.write("etc/yum.repos.d/base.repo", DEAD)
    assert asked(host, VAULT="http://vault.centos.org/7.9.2009")[0] == "ok"
    said = host.read("run/asked").splitlines()
    assert len(said) == 1
    assert "--disablerepo=base --disablerepo=other" in said[0]
    assert said[0].endswith(" makecache fast")


def test_a_yum_that_is_dnf_does_not_know_fast(host: Host) -> None:
    host.write("run/version", "4.14.0\n")
    assert asked(host)[0] == "ok"
    assert host.read("run/asked").endswith(" makecache\n")


def test_a_repository_that_cannot_be_used_is_found_before_any_change(host: Host) -> None:
    host.write("run/answer", "Loaded plugins\n\nCannot find a valid baseurl for repo: internal/7\n")
    said = asked(host)[1]
    assert "requirement_failed the package manager cannot use its repositories" in said
    assert "Cannot find a valid baseurl for repo: internal/7" in said
    said = asked(host, WARN="clock package-sources")[1]
    assert "requirement_failed" not in said
    assert "warning the package manager cannot use" in said
    assert "(a warning only: preflight.warn has package-sources)" in said


def test_another_package_manager_at_work_is_no_problem_here(host: Host) -> None:
    host.write("run/answer", "Existing lock /var/run/yum.pid: another copy is running as pid 77.\n")
    assert "requirement_failed" not in asked(host)[1]


def test_dead_repositories_that_are_to_stay_are_named(host: Host) -> None:
    host.write("etc/yum.repos.d/base.repo", DEAD)
    said = asked(host, KEEP="1")[1]
    assert "requirement_failed the servers of these repositories are gone: /etc/yum.repos.d/base.repo" in said
    assert "cluster.os_repository" in said
    assert not (host.root / "run/asked").exists()


def test_settings_and_packages_that_are_in_the_way_are_named(host: Host) -> None:
    host.write("etc/yum.conf", "[main]\nexclude=kernel* kube*,containerd.io\n")
    host.write("run/installed", "runc\npodman\n")
    said = asked(host)[1]
    assert "a setting keeps packages of Kubernetes back: exclude=kube* in /etc/yum.conf" in said
    assert "exclude=containerd.io in /etc/yum.conf" in said
    assert "exclude=kernel*" not in said
    assert "cannot be installed beside: runc podman" in said
    host.write("run/installed", "runc\ncontainerd.io\n")
    host.write("etc/yum.conf", "[main]\n")
    assert asked(host)[0] == "ok"


def test_a_kernel_without_the_modules_is_found_before_any_change(host: Host) -> None:
    host.write("usr/local/sbin/modprobe", '#!/bin/sh\n[ "$3" = kb_there ]\n', 0o755)
    host.write("usr/local/sbin/uname", "#!/bin/sh\necho 6.12.0\n", 0o755)
    step = Step("modules", "M", "preflight/modules.sh", "W.", {"MODULES": "kb_there kb_gone", "WARN": ""})
    assert host.run("plan", step)[0] == "ok", "yum has a package with modules"
    assert "list --available kernel-modules-extra-6.12.0" in host.read("run/asked")
    host.write("run/answer", "Error: No matching Packages to list\n")
    said = host.run("plan", step)[1]
    assert "requirement_failed kernel 6.12.0 has no module kb_gone" in said
    assert "reboot" in said


def test_modules_in_a_package_are_installed_where_there_is_one(host: Host) -> None:
    host.write("usr/local/sbin/uname", "#!/bin/sh\necho 6.12.0\n", 0o755)
    host.write("usr/local/sbin/modprobe", '#!/bin/sh\n[ "$1" = -n ] && [ "$3" = kb_there ] || [ -e /run/has ]\n', 0o755)
    host.write(
        "usr/local/sbin/yum", YUM + 'case "$*" in *"install kernel-modules-extra"*) touch /run/has ;; esac\n', 0o755
    )
    host.write("proc/modules", "kb_there 1 0 - Live 0x0\n")
    step = Step("modules", "M", "prepare/modules.sh", "W.", {"MODULES": "kb_there", "NEEDED": "kb_there kb_gone"})
    assert "the kernel has no module kb_gone" in host.run("plan", step)[1]
    state, said = host.run("apply", step)
    assert state == "changed", said
    assert "install kernel-modules-extra-6.12.0" in host.read("run/asked")
    (host.root / "run/has").unlink()
    host.write("run/answer", "Error: No matching Packages to list\n")
    assert host.run("plan", step)[0] == "ok", "preflight.warn was told that they are not needed"
