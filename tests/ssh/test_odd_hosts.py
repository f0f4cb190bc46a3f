"""Odd hosts with the real sshd, sudo and PAM: login shells, rc files, forced commands, settings of sudo.

Either the session works, or one sentence has the host's last words, and the hint fits.
"""

from __future__ import annotations

import os
import re
import shutil
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from ssh.servers import PASSWORD, Sshd, hashed_password, inventory_host
from ssh.talk import make_session, say, session

from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Host
from kbootstrap.remote import facts, script
from kbootstrap.remote.session import Item
from kbootstrap.remote.timeouts import Timeouts

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("sudo", "csh", "tcsh", "fish", "zsh", "busybox"))),
    reason="needs root, sudo, csh, tcsh, fish, zsh and busybox (scripts/setup --system)",
)

UID = 61234
IMPATIENT = Timeouts(opening=3)
NOPASSWD = "kb ALL=(ALL) NOPASSWD: ALL"
ASKS = "kb ALL=(ALL) ALL"


@dataclass
class Odd(Sshd):
    """A host with the user kb, whose home is /home/kb. ``sudoers`` are lines for sudo, ``files`` lie in the home."""

    user: str = "kb"
    login_shell: str = "/bin/sh"
    sudoers: str = NOPASSWD
    changed: str = "19000"
    """The day of the password's last change; 0 is a password that must be changed now."""
    expires: str = ""
    """The day on which the account ends."""
    files: tuple[tuple[str, str], ...] = ()

    def _write_accounts(self) -> None:
        super()._write_accounts()
        self.folder.chmod(0o755)
        home = self.folder / "kb"
        for name, text in self.files:
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            (home / name).write_text(text)
        home.mkdir(exist_ok=True)
        for path in (home, *home.rglob("*")):
            os.chown(path, UID, UID)
        with (self.folder / "passwd").open("a") as file:
            file.write(f"kb:x:{UID}:{UID}::/home/kb:{self.login_shell}\n")
        with (self.folder / "shadow").open("a") as file:
            file.write(f"kb:{hashed_password()}:{self.changed}:0:99999:7::{self.expires}:\n")
        (self.folder / "sudoers").write_text(f"root ALL=(ALL) ALL\n{self.sudoers}\n")
        (self.folder / "sudoers").chmod(0o440)
        (self.folder / "pam_sudo").write_text("auth required pam_unix.so\naccount required pam_unix.so\n")
        self.options = (*self.options, "AuthorizedKeysFile /home/authorized_keys")
        self.mounts = (
            f'mount --bind "$1" /home && mount --bind "$1/sudoers" /etc/sudoers && '
            f'mount --bind "$1/pam_sudo" /etc/pam.d/sudo && {self.mounts}'
        )


MakeOdd = Callable[..., Odd]


@pytest.fixture
def odd(tmp_path: Path) -> Iterator[MakeOdd]:
    made: list[Odd] = []

    def make(**options: object) -> Odd:
        made.append(Odd(tmp_path / "odd", **options))  # type: ignore[arg-type]
        return made[-1]

    yield make
    for host in made:
        host.stop()


def host_of(folder: Path, server: Odd, **ssh: object) -> Host:
    if ssh.get("sudo") == "password":
        ssh.setdefault("sudo_password", PASSWORD)
    return inventory_host(folder, server, **{"sudo": "passwordless", **ssh})


# --- what works ------------------------------------------------------------------------------------------------------

SHELLS = ["/bin/bash", "/bin/dash", "/usr/bin/zsh", "/bin/csh", "/usr/bin/tcsh", "/usr/bin/fish"]
NOISY = tuple(
    (name, "echo hello from an rc file\n")
    for name in (".bashrc", ".profile", ".cshrc", ".tcshrc", ".zshenv", ".config/fish/config.fish")
)


@pytest.mark.parametrize("sudo", ["passwordless", "password"])
@pytest.mark.parametrize("shell", SHELLS)
def test_login_shells(odd: MakeOdd, tmp_path: Path, shell: str, sudo: str) -> None:
    server = odd(login_shell=shell, sudoers=NOPASSWD if sudo == "passwordless" else ASKS, files=NOISY)
    host = host_of(tmp_path, server, sudo=sudo)
    assert say(host, 'id -u; echo "it\'s \\$5!"') == ["0", "it's $5!"]
    assert say(host, "echo in", "apply") == ["in"]


@pytest.mark.parametrize(
    "rc",
    [
        "export TMOUT=1",
        "umask 077",
        "umask 000",
        "export PS1='$ ' HISTFILE=/dev/full LANG=xx_YY LC_ALL=xx_YY",
        "alias sh='echo no' head='echo no' read='echo no'; shopt -s expand_aliases",
        "exec 2>/dev/null",
        "cd /nonexistent; set -o noclobber",
        "export CDPATH=/ ENV=/nonexistent BASH_ENV=/nonexistent GREP_OPTIONS=-v POSIXLY_CORRECT=1",
        "echo 'one line without an end' | tr -d '\\n'",
        "trap 'echo bye' EXIT",
    ],
)
def test_rc_files(odd: MakeOdd, tmp_path: Path, rc: str) -> None:
    host = host_of(tmp_path, odd(login_shell="/bin/bash", files=((".bashrc", rc + "\n"),)))
    items: list[Item] = []
    with session(host, "apply") as opened:
        if "TMOUT" in rc:
            time.sleep(2.5)  # what is tested is that a long silence ends nothing
        assert opened.run_detached("phase", "umask; echo in", items.append, lambda: False) == 0
    assert [item.line for item in items if isinstance(item, script.Output)][-1] == "in"


@pytest.mark.parametrize(
    "settings",
    [
        "Defaults use_pty",
        "Defaults !use_pty",
        "Defaults use_pty, log_input, log_output, iolog_dir=/run/io",
        "Defaults lecture=always",
        "Defaults insults, passwd_tries=1",
        "Defaults env_reset, secure_path=/usr/sbin:/usr/bin",
        "Defaults umask=0077, umask_override",
        "Defaults closefrom=3",
        'Defaults passprompt="Enter it: ", passprompt_override',
    ],
)
@pytest.mark.parametrize("sudo", ["passwordless", "password"])
def test_settings_of_sudo(odd: MakeOdd, tmp_path: Path, settings: str, sudo: str) -> None:
    rule = NOPASSWD if sudo == "passwordless" else ASKS
    host = host_of(tmp_path, odd(sudoers=f"{settings}\n{rule}"), sudo=sudo)
    assert say(host, "id -u") == ["0"]
    assert say(host, "id -u; cat", "apply") == ["0"]


def catalogue_of_messages(texts: dict[str, str]) -> bytes:
    """A gettext .mo file (https://www.gnu.org/software/gettext/manual/html_node/MO-Files.html)."""
    texts = {"": "Content-Type: text/plain; charset=UTF-8\n", **texts}
    pairs = sorted((key.encode(), value.encode()) for key, value in texts.items())
    start = 28 + 16 * len(pairs)
    tables, data = [b"", b""], b""
    for column in (0, 1):
        for pair in pairs:
            tables[column] += struct.pack("<II", len(pair[column]), start + len(data))
            data += pair[column] + b"\0"
    return struct.pack("<7I", 0x950412DE, 0, len(pairs), 28, 28 + 8 * len(pairs), 0, 0) + b"".join(tables) + data


def test_pam_asks_in_another_language(odd: MakeOdd, tmp_path: Path) -> None:
    """sudo replaces PAM's prompt by ours only where it is the English one."""
    translated = tmp_path / "de/LC_MESSAGES"
    translated.mkdir(parents=True)
    (translated / "Linux-PAM.mo").write_bytes(catalogue_of_messages({"Password: ": "Passwort: "}))
    server = odd(
        sudoers=ASKS,
        options=("SetEnv LANG=C.UTF-8 LANGUAGE=de",),
        mounts=f"mount --bind {tmp_path} /usr/share/locale",
    )
    assert say(host_of(tmp_path, server, sudo="password"), "id -u") == ["0"]


def test_a_busybox_userland(odd: MakeOdd, tmp_path: Path) -> None:
    """busybox's own head, tee, tail, flock, awk and sh come first; even the facts are gathered with them."""
    server = odd(
        sudoers=f"Defaults secure_path=/usr/local/sbin:/usr/sbin:/usr/bin\n{NOPASSWD}",
        mounts='mkdir "$1/bb" && busybox --install -s "$1/bb" && mount --bind "$1/bb" /usr/local/sbin',
    )
    host = host_of(tmp_path, server)
    assert say(host, "readlink /usr/local/sbin/head; id -u", "apply")[-1] == "0"
    items: list[Item] = []
    with session(host) as opened:
        assert opened.run_inline("facts", script.facts_script(), items.append, lambda: False) == 0
    found = facts.parse([item.line for item in items if isinstance(item, script.Output)], received_at=time.time())
    assert (found.uid, found.cpus) == (0, os.cpu_count())
    assert found.os.id


# --- what cannot work ------------------------------------------------------------------------------------------------

CLOUD_ROOT = """echo 'Please login as the user "ubuntu" rather than the user "root".'; sleep 1; exit 142"""
"""What cloud-init writes before root's keys."""
NOLOGIN = """echo 'account requisite pam_nologin.so' >>"$1/pam"
echo 'System is booting up. Unprivileged users are not permitted to log in yet.' >/run/nologin"""


def refused(host: Host) -> KbootstrapError:
    opening = make_session(host, timeouts=IMPATIENT)
    began = time.monotonic()
    with pytest.raises(KbootstrapError) as caught:
        opening.open()
    opening.close()
    assert time.monotonic() - began < 15
    assert caught.value.exit_code == 4
    return caught.value


@pytest.mark.parametrize(
    ("options", "says", "hint"),
    [
        ({"login_shell": "/usr/sbin/nologin"}, "This account is currently not available", "usermod -s /bin/sh"),
        ({"login_shell": "/bin/false"}, "the host does not run our command", "ssh HOST true"),
        ({"options": ("ForceCommand echo Only for backups.",)}, "Only for backups.", "ForceCommand"),
        ({"options": ("ForceCommand /bin/cat",)}, "the host does not run our command", "ForceCommand"),
        (
            {"login_shell": "/bin/bash", "files": ((".bashrc", "echo Maintenance until noon; exit 3\n"),)},
            "until noon",
            "rc files",
        ),
        (
            {"login_shell": "/bin/bash", "files": ((".bashrc", "read -r answer\n"),)},
            "the host does not run",
            "rc files",
        ),
        (
            {"login_shell": "/bin/csh", "files": ((".cshrc", "set answer = $<\n"),)},
            "the host does not run",
            "rc files",
        ),
        ({"options": ("ForceCommand internal-sftp",)}, "the host does not run our command", "ForceCommand"),
        ({"options": (f"ForceCommand {CLOUD_ROOT}",)}, 'login as the user "ubuntu"', "Set ssh.user"),
        ({"options": ("MaxSessions 0",)}, "refuses to run a command", "MaxSessions"),
        ({"mounts": NOLOGIN}, "booting up", "/run/nologin"),
        ({"expires": "1"}, "account has expired", "chage -E -1"),
        ({"login_shell": "/bin/csh", "sudoers": f"Defaults requiretty\n{NOPASSWD}"}, "must have a tty", "requiretty"),
        ({"login_shell": "/bin/tcsh", "mounts": "mount --bind /dev/null /usr/bin/sudo"}, "sudo", "sudo"),
        ({"sudoers": f"Defaults requiretty\n{NOPASSWD}"}, "must have a tty", "requiretty"),
        ({"sudoers": ""}, "sudo", "NOPASSWD"),
        ({"sudoers": ASKS}, "a password is required", "NOPASSWD"),
        ({"mounts": "mount --bind /dev/null /usr/bin/sudo"}, "sudo", "sudo"),
        ({"changed": "0"}, "password", "password"),
    ],
)
def test_a_clear_sentence(odd: MakeOdd, tmp_path: Path, options: dict[str, object], says: str, hint: str) -> None:
    error = refused(host_of(tmp_path, odd(**options)))
    assert says in error.message, error.message
    assert hint in error.hint, error.hint


def test_a_wrong_sudo_password(odd: MakeOdd, tmp_path: Path) -> None:
    error = refused(host_of(tmp_path, odd(sudoers=ASKS), sudo="password", sudo_password="a guess"))
    assert re.search("Sorry|incorrect|try again", error.message)
    assert "guess" not in str(error)
    assert "Check the sudo password" in error.hint
