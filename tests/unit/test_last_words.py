"""What hosts say when they do not let us in: their last words are shown, and the hint fits them."""

from __future__ import annotations

import paramiko
import pytest

from kbootstrap.inventory.models import Ssh
from kbootstrap.remote.session import Session, SudoError
from kbootstrap.remote.ssh.explain import explained
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.target import Target
from kbootstrap.remote.transport import Pipe
from kbootstrap.secret import Secret


class Saying:
    """A host that says something and hangs up; with ``asks``, once it has the sudo password.

    With ``gone``, its command has ended before we send anything.
    """

    def __init__(self, words: str, *, asks: bool = False, gone: bool = False) -> None:
        self._parts = [words.encode()]
        self._asks = asks
        self._gone = gone

    def connect(self) -> None: ...

    def execute(self, command: str) -> Pipe:
        if self._asks:
            prompt = command.split("-p '")[1].split("'")[0]
            self._parts.insert(0, prompt.encode())
        return self

    def send(self, data: bytes) -> None:
        if self._gone:
            raise OSError("Socket is closed")

    def recv(self, timeout: float) -> bytes:
        return self._parts.pop(0) if self._parts else b""

    def close(self) -> None: ...


def refused(words: str, sudo: str = "passwordless", *, asks: bool = False, gone: bool = False) -> SudoError:
    host = Saying(words, asks=asks, gone=gone)
    session = Session("h1", host, mode="plan", run_id="1", owner="ann", sudo=sudo, sudo_password=Secret("let me"))
    with pytest.raises(SudoError) as caught:
        session.open()
    assert words.strip().splitlines()[-1].strip() in caught.value.message
    return caught.value


GENERAL = "Run `ssh HOST true`"


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        ("sudo: sorry, you must have a tty to run sudo", "!requiretty"),
        ("sudo: a password is required", "NOPASSWD"),
        ("kb is not in the sudoers file.", "sudoers.d"),
        ("Sorry, user kb is not allowed to execute '/usr/bin/sh' as root on h1.", "sudoers.d"),
        ("sudo: Command not found.", "Install sudo"),
        ("sh: 1: sudo: not found", "Install sudo"),
        ("fish: Unknown command: sudo", "Install sudo"),
        ('sudo: The "no new privileges" flag is set, which prevents sudo from running as root.', "container"),
        ("sudo: effective uid is not 0, is sudo installed setuid root?", "nosuid"),
        ("sudo: Account or password is expired, reset your password and try again", "new password"),
        ("sudo: account validation failure, is your account locked?", "faillock"),
        ("WARNING: Your password has expired.\nPassword change required but no TTY available.", "new password"),
        ("You are required to change your password immediately (administrator enforced).", "new password"),
        ("This account is currently not available.", "usermod -s"),
        ("rbash: sudo: restricted: cannot specify `/' in command names", "usermod -s"),
        ("System is booting up. Unprivileged users are not permitted to log in yet.", "/run/nologin"),
        ('Please login as the user "ubuntu" rather than the user "root".', "Set ssh.user"),
        ("This service allows sftp connections only.", "ForceCommand"),
        ("Welcome, root! Sorry, maintenance until noon; try again later.", GENERAL),
        ("Unmatched '\"'.", GENERAL),
    ],
)
def test_the_hint_fits_the_last_words(words: str, hint: str) -> None:
    assert hint in refused(words).hint
    assert hint in refused(f"Last login: yesterday\n\n{words}\r\n\n").hint
    # The command may end before we have sent the launcher or the password.
    assert hint in refused(words, gone=True).hint
    assert refused(words, "password", asks=True, gone=True).hint


def test_what_is_about_sudo_says_so() -> None:
    assert "cannot become root" in refused("sudo: a password is required").message
    assert "does not run our command" in refused("Welcome, root!").message
    # With `Defaults insults`, sudo says anything to a wrong password.
    wrong = refused("Your mind just hasn't been the same since the electro-shock, has it?", "password", asks=True)
    assert "cannot become root" in wrong.message
    assert "Check the sudo password" in wrong.hint


@pytest.mark.parametrize(
    ("banner", "hint"),
    [
        ("", "authorized_keys"),
        ("Authorised use only.\n", "authorized_keys"),
        ('"System is going down. Unprivileged users are not permitted to log in anymore."\r\n', "/run/nologin"),
        ("Your account has expired; please contact your system administrator.\n", "chage -E -1"),
        ("Account locked due to 5 failed logins\n", "faillock"),
    ],
)
def test_a_refused_login_has_the_last_words_too(banner: str, hint: str) -> None:
    class Protocol:
        login_banner = banner

    login = Ssh(user="ann")
    error = explained(
        paramiko.AuthenticationException("Authentication failed."),
        Target("h1", login, login),
        "ann@h1:22",
        None,
        Protocol(),  # type: ignore[arg-type]
    )
    assert hint in error.hint
    assert banner.strip() in error.message
    assert "login refused" in error.message


@pytest.mark.parametrize(
    ("key", "offered", "legacy", "what", "hint"),
    [
        ("server_encrypt_algo_list", "chacha20-poly1305@openssh.com", False, "ciphers chacha20-poly1305", "to Ciphers"),
        ("server_mac_algo_list", "umac-128@openssh.com,umac-64@openssh.com", False, "MACs umac-128", "to MACs"),
        (
            "kex_algo_list",
            "sntrup761x25519-sha512,kex-strict-s-v00@openssh.com",
            False,
            "sntrup761",
            "to KexAlgorithms",
        ),
        ("server_key_algo_list", "sk-ssh-ed25519@openssh.com", False, "host keys sk-ssh", "to HostKeyAlgorithms"),
        (
            "server_encrypt_algo_list",
            "aes256-cbc,chacha20-poly1305@openssh.com",
            False,
            "aes256-cbc",
            "legacy_algorithms",
        ),
        ("server_mac_algo_list", "hmac-sha1", False, "MACs hmac-sha1", "legacy_algorithms: true"),
        ("server_key_algo_list", "ssh-dss", True, "host keys ssh-dss", "to HostKeyAlgorithms"),
        ("server_encrypt_algo_list", "none-of-ours", True, "ciphers none-of-ours", "to Ciphers"),
    ],
)
def test_too_new_is_not_too_old(key: str, offered: str, legacy: bool, what: str, hint: str) -> None:
    import socket

    from kbootstrap.remote.ssh.sockets import WatchedSocket

    login = Ssh(user="ann", legacy_algorithms=legacy)
    ours, theirs = socket.socketpair()
    with ours, theirs:
        protocol = SshProtocol.make(WatchedSocket(ours), [], login)
        protocol._offers = {key: offered.split(",")}
        error = explained(
            paramiko.ssh_exception.IncompatiblePeer("no"), Target("h1", login, login), "ann@h1:22", None, protocol
        )
    assert what in error.message
    assert "kex-strict" not in error.message
    assert hint in error.hint
    assert ("legacy" in error.hint) == ("legacy" in hint)
