"""Retries: which failures are retried and which are not, and the wait for a package manager's lock."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shell import SHELLS, sh, step

from kbootstrap.remote.script import shell_file

pytestmark = pytest.mark.parametrize("shell", SHELLS)


def says(words: str, status: int) -> str:
    return f"tool() {{ echo run >>runs; echo '{words}'; return {status}; }}\n"


def runs(folder: Path) -> int:
    return len((folder / "runs").read_text().splitlines())


def outcome(shell: str, folder: Path, script: str, apply: str, family: str = "el", retries: int = 1) -> list[str]:
    """Run a step with this `apply`. Its pauses take no time."""
    text = f'cd {folder}\nsleep() {{ echo "sleep $1"; }}\n{script}'
    return sh(shell, shell_file(f"shell/os/{family}.sh") + text + step("[ -e done ]", apply, retries), folder=folder)


def test_a_step_ended_by_fail_is_not_retried(shell: str, tmp_path: Path) -> None:
    lines = outcome(shell, tmp_path, says("x", 0), "tool; fail 'no use' 'mend it'")
    assert "@m end s failed 64" in lines
    assert runs(tmp_path) == 1


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("el", "Error: Unable to find a match: kubelet-1.34.9"),
        ("el", "No package kubelet-1.34.9 available."),
        ("el", "  - Status code: 404 for https://mirror.example/repodata/repomd.xml"),
        ("el", "Error: GPG check FAILED"),
        ("el", "repomd.xml GPG signature verification error: Bad GPG signature"),
        ("debian", "E: Unable to locate package kubelet"),
        ("debian", "E: Version '1.34.9-*' for 'kubelet' was not found"),
        ("debian", "W: GPG error: https://mirror.example InRelease: NO_PUBKEY 234654DA9A296436"),
    ],
)
def test_a_permanent_failure_ends_the_step_at_once(shell: str, tmp_path: Path, family: str, words: str) -> None:
    lines = outcome(shell, tmp_path, says(words.replace("'", ""), 1), "run_packages tool", family)
    assert "@m end s failed 64" in lines
    assert lines[lines.index("@m apply s") + 3] == words.replace("'", "")
    assert runs(tmp_path) == 1


@pytest.mark.parametrize(
    "words",
    [
        "  - Status code: 503 for https://mirror.example/repodata/repomd.xml",
        "Curl error (56): Connection reset by peer; Status code: 404 for https://other.example",
        "Connection timed out",
        "something nobody has foreseen",
    ],
)
def test_a_temporary_failure_is_retried(shell: str, tmp_path: Path, words: str) -> None:
    lines = outcome(shell, tmp_path, says(words, 7), "run_packages tool")
    assert "@m retry s 2" in lines
    assert "@m end s failed 7" in lines
    assert runs(tmp_path) == 2


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("el", "metadata already locked by 99999999"),
        ("el", "Existing lock /var/run/yum.pid: another copy is running as pid 99999999."),
        (
            "debian",
            "E: Could not get lock /var/lib/dpkg/lock-frontend. It is held by process 99999999 (unattended-upgr)",
        ),
    ],
)
def test_a_lock_is_waited_for_and_its_holder_named(shell: str, tmp_path: Path, family: str, words: str) -> None:
    script = says(words, 1) + "kb_lock_wait=10\n"
    lines = outcome(shell, tmp_path, script, "run_packages tool", family)
    assert lines.count("sleep 5") == 2
    assert runs(tmp_path) == 3
    assert f"another package manager has been at work for 10 s (process 99999999): {words}" in lines
    assert "@m end s failed 64" in lines
    ending = (
        "tool() { echo run >>runs; if [ -e once ]; then : >done; else : >once; echo '" + words + "'; return 1; fi; }\n"
    )
    lines = outcome(shell, tmp_path, ending, "run_packages tool", family)
    assert lines.count("sleep 5") == 1
    assert "@m end s changed" in lines


@pytest.mark.parametrize(
    ("code", "status", "tried", "ends"),
    [("404", 22, 1, 64), ("503", 22, 2, 22), ("429", 22, 2, 22), ("000", 28, 2, 28)],
)
def test_a_download_is_retried_unless_it_does_not_exist(
    shell: str, tmp_path: Path, code: str, status: int, tried: int, ends: int
) -> None:
    script = f"curl() {{ echo run >>runs; printf {code}; return {status}; }}\n"
    lines = outcome(shell, tmp_path, script, "fetch https://mirror.example/key key")
    assert runs(tmp_path) == tried
    assert f"@m end s failed {ends}" in lines


def test_a_full_disk_is_named(shell: str, tmp_path: Path) -> None:
    full = "df() { echo Filesystem 1024-blocks Used Available Capacity Mounted on; echo /dev/vda1 9 9 0 100% /var; }\n"
    lines = outcome(shell, tmp_path, full, "return 1", retries=0)
    assert [line for line in lines if line.startswith("@m hint The file system at /var is full")]
