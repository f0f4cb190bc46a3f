"""Errors of the socket and SSH layers as messages for the operator: what happened, and what to do."""

from __future__ import annotations

import socket

import paramiko

from kbootstrap.errors import ConnectError
from kbootstrap.remote.last_words import fitting_hint
from kbootstrap.remote.ssh.paramiko_private import SshProtocol
from kbootstrap.remote.ssh.sockets import WatchedSocket
from kbootstrap.remote.ssh.target import Target
from kbootstrap.text import printable

MAX_WORDS = 300
"""Characters of what a server or a ProxyCommand said."""

_LOGIN = "Check ssh.user, ssh.key, ssh.password, and that the key is in the host's authorized_keys. [ssh-login]"


def explained(
    error: Exception, target: Target, place: str, watched: WatchedSocket | None, protocol: SshProtocol | None
) -> ConnectError:
    """The error for the operator. ``place`` is USER@HOST:PORT."""
    if isinstance(error, ConnectError):
        return error
    what, hint = _meaning(error, watched, target, protocol)
    said = _last_line(watched.said if watched is not None else "")
    if said:
        what, hint = f"{what}; the ProxyCommand said: {said}", "Check ProxyCommand in your ssh_config. [ssh-config]"
    host, _, port = place.rpartition("@")[2].rpartition(":")
    return ConnectError(f"{target.label}{what} ({place})", hint.format(port=port, host=host))


def _meaning(
    error: Exception, watched: WatchedSocket | None, target: Target, protocol: SshProtocol | None
) -> tuple[str, str]:
    late = f"no answer within {target.common.connect_timeout} s"
    if isinstance(error, socket.gaierror):
        return (
            f"the name does not resolve: {error.strerror}",
            "Check the address in the inventory or in ssh_config. [name-lookup]",
        )
    if watched is None and isinstance(error, TimeoutError):
        return late, "Check that the host is up, the address is right, and firewalls allow port {port}. [ssh-timeout]"
    if watched is not None and watched.lost:
        return watched.lost, "Check that it is an SSH server and not overloaded: ssh -v -p {port} {host} [ssh-broken]"
    if isinstance(error, paramiko.AuthenticationException):
        return _login_refused(error, protocol)
    if isinstance(error, ConnectionRefusedError):
        return "connection refused", "Check that sshd is running on the host, and check ssh.port. [ssh-refused]"
    if isinstance(error, paramiko.ssh_exception.IncompatiblePeer):
        return _nothing_in_common(error, target, protocol)
    if isinstance(error, (paramiko.SSHException, EOFError)):
        return f"SSH failed: {error or 'closed by the server'}", "Run: ssh -v -p {port} {host} [ssh-broken]"
    if isinstance(error, OSError):
        return f"{error.strerror or error}", "Check the address and the network between. [ssh-timeout]"
    raise error


def _login_refused(error: Exception, protocol: SshProtocol | None) -> tuple[str, str]:
    """With the host's last words: PAM says there why it lets nobody in."""
    banner = protocol.login_banner if protocol is not None else ""
    said = _last_line(banner)
    hint = fitting_hint(f"{banner}\n{error}") or _LOGIN
    return f"login refused: {error}" + (f"; the host said: {said}" if said else ""), hint


def _nothing_in_common(error: Exception, target: Target, protocol: SshProtocol | None) -> tuple[str, str]:
    choice = protocol.nothing_in_common() if protocol is not None else None
    old = "If the host has an old SSH server, set ssh.legacy_algorithms: true. [ssh-algorithms]"
    if choice is None:
        return f"no algorithm in common: {error}", old
    offered = printable(", ".join(choice.offered))[:MAX_WORDS]
    what = f"no algorithm in common: the server offers only the {choice.what} {offered}"
    if choice.outdated and not target.login.legacy_algorithms:
        return what, old
    return (
        what,
        f"Add one of {', '.join(choice.ours[:3])} to {choice.setting} in the host's sshd_config. [ssh-algorithms]",
    )


def _last_line(text: str) -> str:
    lines = [line.strip() for line in printable(text).splitlines() if line.strip()]
    return lines[-1][:MAX_WORDS] if lines else ""
