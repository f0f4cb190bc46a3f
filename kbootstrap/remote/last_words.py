"""Hints for what hosts say when they refuse a login, sudo or a command. Words in other languages get general hints."""

from __future__ import annotations

import re

_FITTING = (
    (
        r'please log ?in as the user "?[\w.-]+"? rather than',
        "Set ssh.user to the user that the host names: this image lets root run no command. [user-account]",
    ),
    (
        r"booting up|going down|unprivileged users are not permitted|/run/nologin|/etc/nologin",
        "The host lets no users in: it is starting or stopping, or /run/nologin or /etc/nologin is left there. "
        "[user-account]",
    ),
    (r"account has expired|account expired", "Let the user in again: `chage -E -1 USER` on the host. [user-account]"),
    (
        r"account .*\blocked\b|locked due to|is your account locked",
        "Unlock the user on the host: `faillock --user USER --reset`, or `passwd -u USER`. [user-account]",
    ),
    (
        r"must have a tty|no tty present|requiretty",
        "Remove requiretty for this user: `Defaults:USER !requiretty`. [sudo]",
    ),
    (
        r"sudo: .*not found|sudo: No such file|unknown command:? *'?sudo",
        "Install sudo, or log in as root (ssh.sudo: none). [sudo]",
    ),
    (
        r"not in the sudoers|is not allowed to (execute|run)|may not run sudo",
        "Let the user run every command: `USER ALL=(ALL) ALL` in a file of /etc/sudoers.d. [sudo]",
    ),
    (
        r"no new privileges|must be owned by uid 0|is sudo installed setuid root",
        "sudo cannot work on this host: it may be in a container or on a nosuid file system. Log in as root. [sudo]",
    ),
    (
        r"account is .*not available|nologin|only be used by|restricted: cannot",
        "Give this user a login shell: `usermod -s /bin/sh USER`. [user-account]",
    ),
    (
        r"password .*expired|password change required|change your password|choose a new password|\bpasswd\b",
        "Log in once by hand and set a new password. [user-account]",
    ),
    (
        r"allows sftp connections only|forcecommand",
        "Remove ForceCommand for this user in sshd_config, or set ssh.user to one who may run commands. [user-account]",
    ),
    (
        r"too many authentication failures",
        "Name the one key to offer: ssh.key, or IdentitiesOnly in ssh_config. [ssh-login]",
    ),
)


def fitting_hint(said: str) -> str:
    """What to do about these words of a host; empty when nothing is known about them."""
    return next((hint for pattern, hint in _FITTING if re.search(pattern, said, re.I)), "")
