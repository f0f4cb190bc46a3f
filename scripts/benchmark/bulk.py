"""Sends large files to hosts without paramiko, which has a quarter of OpenSSH's throughput.

The bytes go through the system's ``ssh`` when it can log in like our own connection, and over that connection
otherwise. A file that the host already has is not sent. No command of kbootstrap sends large files yet. This measures
what they would cost and is not a part of the product.
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
"""Seconds that a host has for an answer. For reading or storing a file, ``SLOWEST`` gives it additional time."""
SLOWEST = 50_000
"""Bytes per second below which a host counts as hanging."""

_FIND = 'if [ "$(stat -c %s "$1" 2>/dev/null)" = "$2" ]; then sha256sum <"$1"; fi'
# Check the size before the rename: a broken connection looks like the end of the file.
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
    """Put a file on a host with mode 0600. Returns the way that was used.

    ``transport`` is connected. Raises KbootstrapError when the file cannot be read here or stored there; an old
    ``target`` is then unchanged.
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
    """The checksum of a file, computed once for all hosts."""
    known = source.stat()
    with _hashing:
        return _digest(source, known.st_size, known.st_mtime_ns)


@functools.cache
def _digest(source: Path, _size: int, _mtime_ns: int) -> str:
    with source.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _output(pipe: Pipe) -> str:
    """The output of a command until it ends."""
    said = b""
    while len(said) < BLOCK and (data := pipe.recv(ANSWER_S)):
        said += data
    pipe.close()
    return said.decode("utf-8", "replace")


def openssh_command(transport: SshTransport, known_hosts: Path) -> list[str] | None:
    """The command line of the system's ssh that logs in like this transport. Append the remote command to it.

    Writes the file ``known_hosts`` with the one key that the transport has verified. None when ssh is not installed or
    cannot log in unattended: with a password or a passphrase, or through a bastion, whose key it would verify itself.
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
    """A path quoted for ssh's options: one word, without the meaning of %."""
    return '"' + str(path).replace("%", "%%") + '"'


def _over_openssh(transport: SshTransport, source: Path, command: str, timeout: float) -> bool:
    """Whether ssh could log in. Raises OSError when the host did not store the file within ``timeout`` seconds."""
    with tempfile.TemporaryDirectory() as folder, source.open("rb") as file:
        ssh = openssh_command(transport, Path(folder) / "known_hosts")
        if ssh is None:
            return False
        with subprocess.Popen([*ssh, command], stdin=file, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            late = threading.Timer(timeout, process.kill)
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
        raise TimeoutError(f"the host did not finish within {timeout:.0f} s")
    _judge(said.decode("utf-8", "replace"))
    return True


def _over_connection(transport: SshTransport, source: Path, command: str) -> None:
    pipe = transport.execute(command)
    # A command that ends before its input prints the reason.
    with source.open("rb") as file, contextlib.suppress(OSError):
        while block := file.read(BLOCK):
            pipe.send(block)
    pipe.channel.shutdown_write()
    _judge(_output(pipe))


def _judge(said: str) -> None:
    if said.split()[-1:] != ["stored"]:
        raise OSError(" ".join(said.split())[-500:] or "the connection broke")
