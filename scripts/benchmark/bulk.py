"""Large files to hosts, past paramiko, which moves a quarter of what OpenSSH moves.

The bytes go through the system's ``ssh`` when it can log in as our own connection did, and over that connection
otherwise. A file that is there already is not sent. No command of kbootstrap sends large files yet, so this is a
measurement of what they would cost, not a part of the product.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import shlex
import shutil
import signal
import subprocess
import tempfile
import threading
from pathlib import Path
from typing import Literal

from kbootstrap.errors import KbootstrapError
from kbootstrap.remote.ssh.transport import SshTransport
from kbootstrap.remote.transport import Pipe

BLOCK = 1024 * 1024
CIPHERS = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
ANSWER_S = 300
"""Seconds a host has for a word; to read or to store a file it has them besides what ``SLOWEST`` gives it."""
SLOWEST = 50_000
"""Bytes a second below which a host counts as one that hangs."""

_FIND = 'if [ "$(stat -c %s "$1" 2>/dev/null)" = "$2" ]; then sha256sum <"$1"; fi'
# The new file is whole or not there: a connection that breaks looks like the end of the file.
_STORE = """
umask 077
if cat >"$1.$$" && [ "$(stat -c %s "$1.$$")" = "$2" ] && { sync "$1.$$" 2>/dev/null || sync; } && mv "$1.$$" "$1"; then
    echo stored
else
    rm -f "$1.$$"
fi
"""

_hashing = threading.Lock()

Way = Literal["unchanged", "openssh", "connection"]


def put(transport: SshTransport, source: Path, target: str) -> Way:
    """Put a file on a host, for the login user alone (mode 0600), and say how.

    ``transport`` is connected. Raises KbootstrapError when the file cannot be read here or stored there; what
    ``target`` was before is then still there.
    """
    try:
        size = source.stat().st_size
        found = _output(transport.execute(_command(_FIND, target, size)))
        if found and found.split()[0] == _sha256(source):
            return "unchanged"
        store = _command(_STORE, target, size)
        if _over_openssh(transport, source, store, ANSWER_S + size / SLOWEST):
            return "openssh"
        _over_connection(transport, source, store)
    except OSError as error:
        raise KbootstrapError(
            f"{transport.host.name}: {source} could not be put to {target}: {error}",
            "Is there room for it, and may the login user write there?",
        ) from error
    return "connection"


def _command(script: str, target: str, size: int) -> str:
    return shlex.join(["sh", "-c", script, "kbootstrap", target, str(size)])


def _sha256(source: Path) -> str:
    """Read once, however many hosts it goes to."""
    known = source.stat()
    with _hashing:
        return _digest(source, known.st_size, known.st_mtime_ns)


@functools.cache
def _digest(source: Path, _size: int, _mtime_ns: int) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _output(pipe: Pipe) -> str:
    """What a command says until it ends."""
    said = b""
    while len(said) < BLOCK and (data := pipe.recv(ANSWER_S)):
        said += data
    pipe.close()
    return said.decode("utf-8", "replace")


def openssh_command(transport: SshTransport, known_hosts: Path) -> list[str] | None:
    """The command line of the system's ssh that logs in as this transport did; the remote command is appended to it.

    Writes the file ``known_hosts`` with the one key that the transport has checked. None when ssh is not installed or
    cannot log in unattended: with a password or a passphrase, or through a bastion, whose key it would judge itself.
    """
    host, connection = transport.host, transport.connection
    if connection is None:
        return None
    ssh, program = host.ssh, shutil.which("ssh")
    proxies = {connection.ssh_config.get(word, "none").lower() for word in ("proxyjump", "proxycommand")}
    if program is None or ssh.bastions or proxies != {"none"} or ssh.password is not None or ssh.passphrase is not None:
        return None
    key = connection.transport.get_remote_server_key()
    known_hosts.write_text(f"{host.name} {key.get_name()} {key.get_base64()}\n")
    options = {
        "HostName": connection.host,
        "HostKeyAlias": host.name,
        "UserKnownHostsFile": _file(known_hosts),
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "UpdateHostKeys": "no",
        "BatchMode": "yes",
        "ControlPath": "none",
        "ClearAllForwardings": "yes",
        "ForwardAgent": "no",
        "Compression": "no",
        "Ciphers": ",".join((*CIPHERS, "chacha20-poly1305@openssh.com", "aes128-ctr")),
        "ConnectTimeout": f"{ssh.connect_timeout:.0f}",
        "ServerAliveInterval": str(8),
        "ServerAliveCountMax": "2",
        "LogLevel": "ERROR",
    }
    if ssh.key is not None:
        options |= {"IdentityFile": _file(ssh.key), "IdentitiesOnly": "yes"}
    if not ssh.agent:
        options["IdentityAgent"] = "none"
    config = str(ssh.config) if ssh.config is not None and ssh.config.exists() else "none"
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    return [program, "-F", config, *words, "-l", connection.user, "-p", str(connection.port), "--", host.address]


def _file(path: Path) -> str:
    """A path as ssh's options want it: one word, and % stands for nothing."""
    return '"' + str(path).replace("%", "%%") + '"'


def _over_openssh(transport: SshTransport, source: Path, command: str, patience: float) -> bool:
    """Whether ssh could log in. Raises OSError when the host did not store the file within ``patience`` seconds."""
    with tempfile.TemporaryDirectory() as folder, source.open("rb") as file:
        ssh = openssh_command(transport, Path(folder) / "known_hosts")
        if ssh is None:
            return False
        with subprocess.Popen([*ssh, command], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            late = threading.Timer(patience, process.kill)
            late.start()
            said = process.stdout.read(BLOCK) if process.stdout else b""
            if len(said) == BLOCK:
                process.kill()
            process.wait()
            late.cancel()
    if len(said) == BLOCK:
        raise OSError("the host talks on and on")
    if process.returncode == 255:
        return False
    if process.returncode == -signal.SIGKILL:
        raise TimeoutError(f"the host did not end it within {patience:.0f} s")
    _judge(said.decode("utf-8", "replace"))
    return True


def _over_connection(transport: SshTransport, source: Path, command: str) -> None:
    pipe = transport.execute(command)
    # A command that ends before its input does says why.
    with source.open("rb") as file, contextlib.suppress(OSError):
        while block := file.read(BLOCK):
            pipe.send(block)
    pipe.channel.shutdown_write()
    _judge(_output(pipe))


def _judge(said: str) -> None:
    if said.split()[-1:] != ["stored"]:
        raise OSError(" ".join(said.split())[-500:] or "the connection broke")
