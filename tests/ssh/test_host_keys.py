"""Whose key is it: known_hosts, pinned fingerprints, keys that changed."""

from __future__ import annotations

import re
import stat
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ssh.conftest import MakeServer
from ssh.servers import Server, Sshd, inventory_host, known_line, make_key
from ssh.talk import fingerprint, lines, make_session, refusal, say

from kbootstrap.errors import HostKeyError
from kbootstrap.remote.session import Item
from kbootstrap.remote.ssh.shared import SshShared


def test_an_unknown_host_is_refused_with_its_fingerprint(server: Server, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    refused = refusal(inventory_host(tmp_path, server, known_hosts=str(empty)))
    assert fingerprint(server.known_hosts) in refused.message
    assert str(empty) in refused.message
    assert "accept-new" in refused.hint
    assert "ssh.fingerprint" in refused.hint
    assert not empty.exists()


# --- accept-new ------------------------------------------------------------------------------------------------------


def test_accept_new_learns_once(server: Server, tmp_path: Path) -> None:
    learnt = tmp_path / "new folder" / "learnt_known_hosts"
    assert say(inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy="accept-new"), "echo in")
    assert stat.S_IMODE(learnt.stat().st_mode) == 0o600
    assert stat.S_IMODE(learnt.parent.stat().st_mode) == 0o700
    assert learnt.read_text() == server.known_hosts.read_text()
    for policy in ("strict", "accept-new"):
        assert say(inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy=policy), "echo in")
    assert learnt.read_text() == server.known_hosts.read_text()


def test_accept_new_leaves_what_is_there(server: Server, tmp_path: Path) -> None:
    """The operator's file: comments, keys of others, another mode, and no newline at its end."""
    make_key(tmp_path / "other")
    before = "# mine\nother.example " + " ".join((tmp_path / "other.pub").read_text().split()[:2])
    learnt = tmp_path / "learnt_known_hosts"
    learnt.write_text(before)
    learnt.chmod(0o644)
    assert say(inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy="accept-new"), "echo in")
    assert learnt.read_text().splitlines() == [*before.splitlines(), server.known_hosts.read_text().strip()]
    assert stat.S_IMODE(learnt.stat().st_mode) == 0o644
    assert say(inventory_host(tmp_path, server, known_hosts=str(learnt)), "echo in") == ["in"]


def test_accept_new_through_a_link(server: Server, tmp_path: Path) -> None:
    """Dotfiles are often links into a repository; the link stays one."""
    (tmp_path / "target_known_hosts").touch(mode=0o600)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "target_known_hosts")
    assert say(inventory_host(tmp_path, server, known_hosts=str(link), host_key_policy="accept-new"), "echo in")
    assert link.is_symlink()
    assert (tmp_path / "target_known_hosts").read_text() == server.known_hosts.read_text()


def test_accept_new_with_many_at_once(server: Server, tmp_path: Path) -> None:
    """Runs side by side write one file; every line of it stays whole."""
    host = inventory_host(tmp_path, server, known_hosts=str(tmp_path / "known_hosts"), host_key_policy="accept-new")
    shared = SshShared()
    said: list[list[str]] = []
    ways = [shared, shared, shared, SshShared(), SshShared(), SshShared()]
    threads = [threading.Thread(target=lambda way=way: said.append(say(host, "echo in", shared=way))) for way in ways]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert said == [["in"]] * len(ways)
    assert set((tmp_path / "known_hosts").read_text().splitlines()) == {server.known_hosts.read_text().strip()}


def test_a_known_hosts_that_cannot_be_written(server: Server, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    place = tmp_path / "file" / "known_hosts"
    refused = refusal(inventory_host(tmp_path, server, known_hosts=str(place), host_key_policy="accept-new"))
    assert str(place) in refused.message


# --- keys that changed -----------------------------------------------------------------------------------------------


def test_a_changed_key_is_refused_with_both_fingerprints(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    learnt = tmp_path / "learnt_known_hosts"
    host = inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy="accept-new")
    assert say(host, "echo in") == ["in"]
    server.new_host_key()
    for policy in ("strict", "accept-new"):
        refused = refusal(inventory_host(tmp_path, server, known_hosts=str(learnt), host_key_policy=policy))
        assert "changed" in refused.message
        shown = set(re.findall(r"SHA256:[\w+/]{43}", refused.message))
        assert len(shown) == 2
        assert fingerprint(learnt) in shown
    assert learnt.read_text() == server.known_hosts.read_text()
    way_out = re.search(r"ssh-keygen -f \S+ -R '[^']+'", refused.hint)
    assert way_out, refused.hint
    subprocess.run(["sh", "-c", way_out[0]], check=True, capture_output=True)
    assert say(host, "echo in") == ["in"]


def test_a_key_of_another_type_is_a_changed_key(server: Server, tmp_path: Path) -> None:
    """The host was known by an RSA key and has none now."""
    make_key(tmp_path / "old", "-t", "rsa", "-b", "2048")
    known = tmp_path / "known"
    known.write_text(known_line(server, tmp_path / "old.pub"))
    for policy in ("strict", "accept-new"):
        refused = refusal(inventory_host(tmp_path, server, known_hosts=str(known), host_key_policy=policy))
        assert "host key" in refused.message
        assert fingerprint(tmp_path / "old.pub") in refused.message
        assert "ssh-keygen" in refused.hint
    assert known.read_text() == known_line(server, tmp_path / "old.pub")


# --- pinned ----------------------------------------------------------------------------------------------------------


def test_a_pinned_fingerprint(make_server: MakeServer, tmp_path: Path) -> None:
    server = make_server()
    pin, empty = fingerprint(server.known_hosts), tmp_path / "empty"
    pinned = inventory_host(tmp_path, server, known_hosts=str(empty), fingerprint=pin)
    assert say(pinned, "echo in") == ["in"]
    assert not empty.exists()
    server.new_host_key()
    refused = refusal(pinned)
    assert pin in refused.message
    assert len(set(re.findall(r"SHA256:[\w+/]{43}", refused.message))) == 2


def test_a_pinned_fingerprint_counts_more_than_known_hosts(server: Server, tmp_path: Path) -> None:
    other = "SHA256:" + "A" * 43
    for policy in ("strict", "accept-new"):
        refused = refusal(inventory_host(tmp_path, server, fingerprint=other, host_key_policy=policy))
        assert other in refused.message
        assert fingerprint(server.known_hosts) in refused.message


# --- what known_hosts may look like ----------------------------------------------------------------------------------


def test_hashed_names(server: Server, tmp_path: Path) -> None:
    hashed = tmp_path / "hashed"
    hashed.write_text(server.known_hosts.read_text())
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(hashed)], check=True, capture_output=True)
    assert server.address not in hashed.read_text()
    assert say(inventory_host(tmp_path, server, known_hosts=str(hashed)), "echo in") == ["in"]


def test_the_port_is_part_of_the_name(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known"
    right = server.known_hosts.read_text()
    make_key(tmp_path / "other")
    neighbour = known_line(server, tmp_path / "other.pub").replace(f":{server.port}", ":22022")
    known.write_text(neighbour + neighbour.replace(f"[{server.address}]:22022", server.address) + right)
    assert say(inventory_host(tmp_path, server, known_hosts=str(known)), "echo in") == ["in"]
    known.write_text(neighbour)
    assert "not in" in refusal(inventory_host(tmp_path, server, known_hosts=str(known))).message


def test_several_names_and_comments_on_a_line(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known"
    name, kind, key = server.known_hosts.read_text().split()
    known.write_text(f"# all of them\n\n  other.example,{name},192.0.2.7\t{kind}  {key} added by ann\n")
    assert say(inventory_host(tmp_path, server, known_hosts=str(known)), "echo in") == ["in"]


def test_several_keys_of_one_type(server: Server, tmp_path: Path) -> None:
    """While a host's key is exchanged, and behind an address that several hosts share, either key is right."""
    known = tmp_path / "known"
    make_key(tmp_path / "other")
    known.write_text(known_line(server, tmp_path / "other.pub") + server.known_hosts.read_text())
    assert say(inventory_host(tmp_path, server, known_hosts=str(known)), "echo in") == ["in"]


def test_a_host_known_by_one_of_its_keys(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """The server prefers another key than the one we know; it is asked for the one we know."""
    make_key(tmp_path / "rsa", "-t", "rsa", "-b", "2048")
    sshd = make_sshd(f"HostKey {tmp_path / 'rsa'}")
    known = tmp_path / "known"
    for public in (tmp_path / "rsa.pub", sshd.folder / "host_key.pub"):
        known.write_text(known_line(sshd, public))
        assert say(inventory_host(tmp_path, sshd, known_hosts=str(known)), "echo in") == ["in"]


@pytest.mark.parametrize(
    "line",
    [
        "half a line",
        "other.example ssh-ed25519 AAAA",
        "other.example ssh-ed25519 not/base64!",
        "other.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA==",
        "other.example ssh-rsa AAAAB3NzaC1yc2EAAAABIwAAAAEA",
        "other.example sk-ssh-ed25519@openssh.com AAAAGnNrLXNzaC1lZDI1NTE5QG9wZW5zc2guY29t",
        "@cert-authority *.example ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        "|1|bad-hash ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
        "caf\u00e9 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",
    ],
)
def test_lines_that_make_no_sense_are_passed_over(server: Server, tmp_path: Path, line: str) -> None:
    """As OpenSSH does it: one bad line of a file with a thousand does not lock the operator out."""
    known = tmp_path / "known"
    known.write_text(f"{line}\n{server.known_hosts.read_text()}", encoding="latin-1")
    assert say(inventory_host(tmp_path, server, known_hosts=str(known)), "echo in") == ["in"]


def test_a_revoked_key_is_refused(server: Server, tmp_path: Path) -> None:
    known = tmp_path / "known"
    right = server.known_hosts.read_text()
    known.write_text(f"{right}@revoked {right}")
    for policy in ("strict", "accept-new"):
        refused = refusal(inventory_host(tmp_path, server, known_hosts=str(known), host_key_policy=policy))
        assert "revoked" in refused.message


@pytest.mark.parametrize("pattern", ["*", "[127.*]:*", "!192.0.2.*,*"])
def test_patterns_are_names_too(server: Server, tmp_path: Path, pattern: str) -> None:
    """A host that a pattern covers is known: it is neither new to accept-new nor unknown to strict."""
    make_key(tmp_path / "other")
    known = tmp_path / "known"
    _name, kind, key = server.known_hosts.read_text().split()
    known.write_text(f"{pattern} {kind} {key}\n")
    assert say(inventory_host(tmp_path, server, known_hosts=str(known)), "echo in") == ["in"]
    known.write_text(f"{pattern} {' '.join((tmp_path / 'other.pub').read_text().split()[:2])}\n")
    assert (
        "changed"
        in refusal(inventory_host(tmp_path, server, known_hosts=str(known), host_key_policy="accept-new")).message
    )


# --- every connection ------------------------------------------------------------------------------------------------


def test_the_key_is_looked_at_again_after_a_break(make_server: MakeServer, tmp_path: Path) -> None:
    """Whoever takes over the address during a run gets neither the password nor the script."""
    server = make_server()
    items: list[Item] = []
    notices: list[str] = []
    opened = make_session(inventory_host(tmp_path, server), "apply", notice=notices.append)
    opened.open()

    def swap(item: Item) -> None:
        items.append(item)
        server.new_host_key()
        server.drop()

    began = time.monotonic()
    with pytest.raises(HostKeyError, match="changed") as refused:
        opened.run_detached("phase", "echo begun; sleep 600", swap, lambda: False)
    opened.close()
    # At once: another key does not become the right one by trying again.
    assert time.monotonic() - began < 60
    assert refused.value.exit_code == 4
    assert lines(items) == ["begun"]


@pytest.mark.parametrize(
    ("name", "there"),
    [
        ("authorized_keys", "restrict ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA mine\n"),
        ("authorized_keys", ""),
        (".bash_profile", "export EDITOR=vi\n"),
        ("not_yet_there", None),
        ("known_hosts", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA me@laptop\n"),
        ("known_hosts", "alias ll='ls -l'\n"),
        ("known_hosts_link", None),
    ],
)
def test_a_key_is_added_to_known_hosts_files_only(server: Server, tmp_path: Path, name: str, there: str | None) -> None:
    """The inventory chooses the path: it must not make kbootstrap add a line to any other file."""
    path = tmp_path / name
    if there is not None:
        path.write_text(there)
    if name == "known_hosts_link":
        path.symlink_to(tmp_path / "authorized_keys")
    refused = refusal(inventory_host(tmp_path, server, known_hosts=str(path), host_key_policy="accept-new"))
    assert "is not a known_hosts file" in refused.message
    assert (path.read_text() if path.exists() else None) == there
    assert not (tmp_path / "authorized_keys").exists() or name == "authorized_keys"
