"""Logging in: keys, passphrases, passwords, agents; and what a refused login looks like."""

from __future__ import annotations

import socket
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ssh.servers import PASSWORD, Server, Simulated, Sshd, inventory_host, make_key
from ssh.talk import eventually, refusal, say, session
from support.labs import MakeLab

from kbootstrap.remote.session import SudoError
from kbootstrap.secret import Secret


@pytest.fixture
def agent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Path], None]]:
    """An SSH agent of the operator's; the function adds a key to it."""
    address = tmp_path / "agent"
    process = subprocess.Popen(["ssh-agent", "-D", "-a", str(address)], stdout=subprocess.DEVNULL)
    eventually(address.exists)
    monkeypatch.setenv("SSH_AUTH_SOCK", str(address))

    def add(key: Path) -> None:
        subprocess.run(["ssh-add", "-q", str(key)], check=True)

    yield add
    process.terminate()
    process.wait(timeout=10)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An operator's home folder without SSH keys, and no agent."""
    (tmp_path / "home" / ".ssh").mkdir(parents=True, mode=0o700)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    return tmp_path / "home"


def copy_key(source: Path, target: Path, passphrase: str = "") -> Path:
    target.write_bytes(source.read_bytes())
    target.chmod(0o600)
    if passphrase:
        subprocess.run(["ssh-keygen", "-q", "-p", "-P", "", "-N", passphrase, "-f", str(target)], check=True)
    return target


# --- keys ------------------------------------------------------------------------------------------------------------


def test_a_key_opens_and_the_session_is_root(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server), "id -u") == ["0"]


@pytest.mark.parametrize("options", [("-t", "rsa", "-b", "2048"), ("-t", "ecdsa")], ids=["rsa", "ecdsa"])
def test_keys_of_other_types(make_sshd: Callable[[], Sshd], tmp_path: Path, options: tuple[str, ...]) -> None:
    """Only OpenSSH: the fleet's hosts know the one key the lab made."""
    sshd = make_sshd()
    make_key(tmp_path / "other", *options)
    sshd.authorize(tmp_path / "other")
    assert say(inventory_host(tmp_path, sshd, key=str(tmp_path / "other")), "echo in") == ["in"]


def test_a_key_with_a_passphrase(server: Server, tmp_path: Path) -> None:
    key = str(copy_key(server.key, tmp_path / "locked", "open sesame"))
    assert say(inventory_host(tmp_path, server, key=key, passphrase="open sesame"), "echo in") == ["in"]


def test_an_rsa_key_with_a_passphrase_in_the_old_format(make_sshd: Callable[[], Sshd], tmp_path: Path) -> None:
    sshd = make_sshd()
    make_key(tmp_path / "old", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "open sesame")
    sshd.authorize(tmp_path / "old")
    key = str(tmp_path / "old")
    assert say(inventory_host(tmp_path, sshd, key=key, passphrase="open sesame"), "echo in") == ["in"]
    assert "protected by a passphrase" in refusal(inventory_host(tmp_path, sshd, key=key)).message


def test_a_wrong_or_missing_passphrase(server: Server, tmp_path: Path) -> None:
    key = str(copy_key(server.key, tmp_path / "locked", "open sesame"))
    missing = refusal(inventory_host(tmp_path, server, key=key))
    assert "protected by a passphrase" in missing.message
    assert "ssh.passphrase" in missing.hint
    wrong = refusal(inventory_host(tmp_path, server, key=key, passphrase="open barley"))
    assert "does not open with this passphrase" in wrong.message
    assert "barley" not in wrong.message + wrong.hint


def test_a_wrong_key_is_refused(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    refused = refusal(inventory_host(tmp_path, server, key=str(tmp_path / "other")))
    assert "login refused" in refused.message
    assert f"{server.user}@{server.address}:{server.port}" in refused.message
    assert "authorized_keys" in refused.hint


def test_a_wrong_user_is_refused(server: Server, tmp_path: Path) -> None:
    assert "login refused" in refusal(inventory_host(tmp_path, server, user="nobody")).message


@pytest.mark.parametrize("content", [None, "", "no key at all\n"])
def test_a_key_file_that_is_none(server: Server, tmp_path: Path, content: str | None) -> None:
    key = tmp_path / "key"
    if content is not None:
        key.write_text(content)
    refused = refusal(inventory_host(tmp_path, server, key=str(key)))
    assert str(key) in refused.message


# --- keys that the inventory does not name ---------------------------------------------------------------------------


def test_a_key_of_the_agent(server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None]) -> None:
    agent(copy_key(server.key, tmp_path / "mine"))
    assert say(inventory_host(tmp_path, server, key=None), "echo in") == ["in"]
    assert "ssh.key" in refusal(inventory_host(tmp_path, server, key=None, agent=False)).hint


def fill(agent: Callable[[Path], None], folder: Path) -> None:
    """Other keys in the agent: they use up the server's patience (MaxAuthTries) before the right one comes."""
    for number in range(7):
        make_key(folder / f"other-{number}")
        agent(folder / f"other-{number}")


def test_the_agent_is_not_asked_when_a_key_is_named(
    server: Server, tmp_path: Path, agent: Callable[[Path], None]
) -> None:
    fill(agent, tmp_path)
    assert say(inventory_host(tmp_path, server), "echo in") == ["in"]


def test_a_key_in_the_home_folder(server: Server, tmp_path: Path, home: Path) -> None:
    copy_key(server.key, home / ".ssh" / "id_ed25519")
    assert say(inventory_host(tmp_path, server, key=None), "echo in") == ["in"]


def test_a_locked_key_in_the_home_folder_does_not_keep_others_out(
    server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None]
) -> None:
    """The usual desk: ~/.ssh/id_ed25519 has a passphrase and the agent has it open."""
    copy_key(server.key, home / ".ssh" / "id_ed25519", "open sesame")
    assert "ssh.key" in refusal(inventory_host(tmp_path, server, key=None)).hint
    agent(copy_key(server.key, tmp_path / "opened"))
    assert say(inventory_host(tmp_path, server, key=None), "echo in") == ["in"]


def test_a_locked_key_that_the_agent_has_open(
    server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None]
) -> None:
    """Named by the inventory or, among many others of the agent, by ssh_config: only this one is offered."""
    fill(agent, tmp_path)
    agent(copy_key(server.key, tmp_path / "opened"))
    locked = copy_key(server.key, tmp_path / "locked", "open sesame")
    (tmp_path / "locked.pub").write_bytes(server.key.with_name(server.key.name + ".pub").read_bytes())
    assert say(inventory_host(tmp_path, server, key=str(locked)), "echo in") == ["in"]
    refused = refusal(inventory_host(tmp_path, server, key=str(locked), agent=False))
    assert "protected by a passphrase" in refused.message
    config = tmp_path / "config"
    config.write_text(f"Host *\n  IdentityFile {locked}\n")
    assert say(inventory_host(tmp_path, server, key=None, config=str(config)), "echo in") == ["in"]


def test_a_public_key_stands_for_that_of_the_agent(
    server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None]
) -> None:
    """Of hardware keys and of a password manager, only the public half is a file."""
    fill(agent, tmp_path)
    agent(copy_key(server.key, tmp_path / "opened"))
    public = server.key.with_name(server.key.name + ".pub")
    config = tmp_path / "config"
    config.write_text(f"Host *\n  IdentityFile {public} # of the agent\n  IdentitiesOnly yes\n")
    assert say(inventory_host(tmp_path, server, key=None, config=str(config)), "echo in") == ["in"]
    assert say(inventory_host(tmp_path, server, key=str(public)), "echo in") == ["in"]
    refused = refusal(inventory_host(tmp_path, server, key=str(tmp_path / "other-1.pub"), agent=False))
    assert "is a public key" in refused.message
    assert "ssh-add" in refused.hint


def test_the_agent_that_ssh_config_names(
    server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    agent(copy_key(server.key, tmp_path / "mine"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setenv("OTHER_AGENT", str(tmp_path / "agent"))
    config = tmp_path / "config"
    for name, gets_in in ((str(tmp_path / "agent"), True), ("$OTHER_AGENT", True), ("none", False)):
        config.write_text(f"Host *\n  IdentityAgent {name}\n")
        host = inventory_host(tmp_path, server, key=None, config=str(config))
        if gets_in:
            assert say(host, "echo in") == ["in"]
        else:
            assert "login refused" in refusal(host).message


@pytest.mark.parametrize("named", [False, True])
def test_a_certificate(make_sshd: Callable[..., Sshd], tmp_path: Path, home: Path, named: bool) -> None:
    """It lies beside the key, or CertificateFile names it."""
    make_key(tmp_path / "ca")
    sshd = make_sshd(f"TrustedUserCAKeys {tmp_path / 'ca.pub'}", "AuthorizedKeysFile none")
    make_key(tmp_path / "mine")
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-I", "me", "-n", "root", str(tmp_path / "mine.pub")]
    subprocess.run(sign, check=True)
    config = tmp_path / "config"
    lines = f"Host *\n  IdentityFile {tmp_path / 'mine'}\n"
    if named:
        (tmp_path / "mine-cert.pub").rename(tmp_path / "elsewhere.pub")
        make_key(tmp_path / "of-another-key")
        lines += (
            f"  CertificateFile {tmp_path / 'of-another-key.pub'}\n  CertificateFile {tmp_path / 'elsewhere.pub'}\n"
        )
    config.write_text(lines)
    assert say(inventory_host(tmp_path, sshd, key=None, config=str(config)), "echo in") == ["in"]


def test_identities_only(server: Server, tmp_path: Path, home: Path, agent: Callable[[Path], None]) -> None:
    make_key(tmp_path / "other")
    agent(copy_key(server.key, home / ".ssh" / "id_ed25519"))
    config = tmp_path / "config"
    for only, gets_in in (("no", True), ("yes", False)):
        config.write_text(f"Host *\n  IdentityFile {tmp_path / 'other'}\n  IdentitiesOnly {only}\n")
        host = inventory_host(tmp_path, server, key=None, config=str(config))
        if gets_in:
            assert say(host, "echo in") == ["in"]
        else:
            assert "login refused" in refusal(host).message


@pytest.mark.parametrize("answer", [b"", b"\0\0\0\1\5"])
def test_an_agent_that_does_not_work_is_none(
    server: Server, tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    copy_key(server.key, home / ".ssh" / "id_ed25519")
    monkeypatch.setenv("SSH_AUTH_SOCK", str(tmp_path / "agent"))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "agent"))
        listener.listen()

        def reply() -> None:
            wire, _ = listener.accept()
            with wire:
                wire.recv(1024)
                wire.sendall(answer)

        replying = threading.Thread(target=reply)
        replying.start()
        assert say(inventory_host(tmp_path, server, key=None), "echo in") == ["in"]
        replying.join(10)


# --- passwords -------------------------------------------------------------------------------------------------------


def test_a_password(server: Server, tmp_path: Path) -> None:
    assert say(inventory_host(tmp_path, server, key=None, password=PASSWORD), "id -u") == ["0"]


def test_a_wrong_password(server: Server, tmp_path: Path) -> None:
    refused = refusal(inventory_host(tmp_path, server, key=None, password="a guess"))
    assert "login refused" in refused.message
    assert "guess" not in refused.message + refused.hint + repr(refused.__cause__)


def test_keyboard_interactive_with_openssh(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    keyboard_interactive(make_sshd("PasswordAuthentication no"), tmp_path)


def test_keyboard_interactive_with_the_fleet(make_simulated: MakeLab, tmp_path: Path) -> None:
    keyboard_interactive(Simulated.start(make_simulated, methods=("keyboard-interactive",)), tmp_path)


def keyboard_interactive(server: Server, folder: Path) -> None:
    assert say(inventory_host(folder, server, key=None, password=PASSWORD), "echo in") == ["in"]
    refused = refusal(inventory_host(folder, server, key=None, password="a guess"))
    assert "login refused" in refused.message
    assert "guess" not in refused.message + refused.hint


def test_the_password_counts_when_the_key_does_not(server: Server, tmp_path: Path) -> None:
    make_key(tmp_path / "other")
    host = inventory_host(tmp_path, server, key=str(tmp_path / "other"), password=PASSWORD)
    assert say(host, "echo in") == ["in"]


def test_key_and_password_where_the_server_wants_both(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = make_sshd("AuthenticationMethods publickey,password")
    assert say(inventory_host(tmp_path, sshd, password=PASSWORD), "echo in") == ["in"]
    assert "login refused" in refusal(inventory_host(tmp_path, sshd)).message


# --- becoming root ---------------------------------------------------------------------------------------------------


def test_sudo_with_a_password(make_simulated: MakeLab, tmp_path: Path) -> None:
    """Only the fleet: sshd's session is root already, and this machine's sudo is not ours to set up."""
    host = Simulated.start(make_simulated, sudo_password=Secret("let mé"))
    assert say(inventory_host(tmp_path, host, sudo="password", sudo_password="let mé"), "id -u; cat") == ["0"]
    opening = session(inventory_host(tmp_path, host, sudo="password", sudo_password="a guess"))
    with pytest.raises(SudoError, match="cannot become root") as refused, opening:
        pass
    assert refused.value.exit_code == 4
    assert "sudo password" in refused.value.hint
    assert "guess" not in f"{refused.value} {refused.value.failure} {refused.value.hint}"
    with pytest.raises(SudoError, match="cannot become root"), session(inventory_host(tmp_path, host)):
        pass


def test_a_login_that_is_not_for_commands(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    sshd = make_sshd("ForceCommand echo This account is not available.; exit 1")
    with (
        pytest.raises(SudoError, match="This account is not available") as refused,
        session(inventory_host(tmp_path, sshd)),
    ):
        pass
    assert refused.value.exit_code == 4


def test_a_host_that_greets_before_the_command(make_sshd: Callable[..., Sshd], tmp_path: Path) -> None:
    """A banner, and a shell profile that prints: neither is output of the script."""
    (tmp_path / "banner").write_text("Authorised use only.\n")
    sshd = make_sshd(
        f"Banner {tmp_path / 'banner'}",
        'ForceCommand printf "welcome\\nno newline"; exec sh -c "$SSH_ORIGINAL_COMMAND"',
    )
    assert say(inventory_host(tmp_path, sshd), "echo in") == ["in"]
