"""Private keys are read before the first connection: each wrong one is named by its place in the inventory."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.examples import document, written

from kbootstrap.cli import cli
from kbootstrap.errors import InventoryError
from kbootstrap.inventory import load


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    for name, passphrase in (("good", ""), ("locked", "sesame")):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", tmp_path / name], check=True)
    (tmp_path / "junk").write_text("junk")
    (tmp_path / "putty").write_text("PuTTY-User-Key-File-3: ssh-ed25519\n")
    (tmp_path / "torn").write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n")
    (tmp_path / "folder").mkdir()
    return tmp_path


def refused(folder: Path, **ssh: Any) -> str:
    """What a plan says; the host is at an address where nobody answers, and is never asked."""
    data = document(1, 0)
    data["hosts"][0]["ssh"] = ssh
    ended = CliRunner().invoke(cli, ["plan", str(written(folder, data))])
    assert isinstance(ended.exception, InventoryError)
    assert ended.exception.exit_code == 2
    assert "[ssh-key]" in ended.exception.hint
    return ended.exception.message.replace(f"{folder}/", "")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("nosuch", "the SSH key nosuch does not exist"),
        ("junk", "the SSH key junk is not a private key"),
        ("putty", "puttygen KEY -O private-openssh -o NEW"),
        ("torn", "the SSH key torn cannot be read"),
        ("folder", "the SSH key folder cannot be read: Is a directory"),
    ],
)
def test_a_file_that_is_no_use(keys: Path, name: str, words: str) -> None:
    said = refused(keys, key=name)
    assert said.startswith("inventory.yaml:9: hosts[0].ssh.key: ")
    assert words in said


def test_a_wrong_passphrase_and_the_key_of_a_bastion(keys: Path) -> None:
    said = refused(keys, key="locked", passphrase="open", bastions=[{"address": "10.0.0.9", "key": "nosuch"}])
    assert "hosts[0].ssh.key: the SSH key locked does not open with this passphrase" in said
    assert "hosts[0].ssh.bastions[0].key: the SSH key nosuch does not exist" in said
    assert "open" not in said.replace("does not open", "")


def test_the_key_of_all_hosts_is_named_once_and_those_of_other_hosts_not(keys: Path) -> None:
    data = {"ssh": {"key": "nosuch"}, **document(1, 2)}
    data["hosts"][2]["ssh"] = {"key": "nosuch2"}
    ended = CliRunner().invoke(cli, ["plan", str(written(keys, data)), "--limit", "w1"])
    assert isinstance(ended.exception, InventoryError)
    assert ended.exception.message.count("\n") == 0
    assert "inventory.yaml:2: ssh.key: " in ended.exception.message


def test_a_key_that_others_can_read_is_a_warning(keys: Path) -> None:
    (keys / "good").chmod(0o644)
    data = document(1, 0)
    data["ssh"] = {"key": "good"}
    (warning,) = (text for text in load(written(keys, data), env={}).warnings if "chmod" in text)
    assert "ssh.key: other users can access the private key" in warning
    data["ssh"] = {"key": "good.pub"}
    assert not [text for text in load(written(keys, data), env={}).warnings if "chmod" in text]
