"""Reads known_hosts files like OpenSSH (plain and hashed names, patterns, revoked keys), and adds new keys.

Invalid lines are skipped, as ``ssh`` does. Host certificates (@cert-authority) are not supported.
"""

from __future__ import annotations

import base64
import binascii
import fcntl
import hashlib
import hmac
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from kbootstrap.errors import ConnectError
from kbootstrap.plain_file import make_private, read_plain

OWN = Path("~/.ssh/known_hosts")
MAX_BYTES = 64 * 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_.:%\[\]-]+")

_WORDS = re.compile(r"[^ \t\r\n]+")
"""ssh knows no other white space than these, sshd(8)."""

Verdict = Literal["known", "unknown", "changed", "revoked"]


@dataclass(frozen=True)
class HostKey:
    """A public key: its type, and its bytes in the SSH wire format."""

    kind: str
    blob: bytes

    @property
    def fingerprint(self) -> str:
        """``SHA256:...``, as ssh-keygen -l prints it."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")


@dataclass(frozen=True)
class _Line:
    revoked: bool
    names: str
    kind: str
    encoded: str

    def key(self) -> HostKey | None:
        try:
            blob = base64.b64decode(self.encoded, validate=True)
        except (binascii.Error, ValueError):
            return None
        return HostKey(self.kind, blob) if blob[4 : 4 + len(self.kind)] == self.kind.encode() else None


class KnownHosts:
    """A known_hosts file, read once; safe to share between threads."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._size = 0
        self._plain: dict[str, list[_Line]] = {}
        self._special: list[_Line] = []
        self._strange = 0
        try:
            self._load(read_plain(path, MAX_BYTES, null=True))
        except (FileNotFoundError, NotADirectoryError):
            self._load(b"")
        except OSError as error:
            raise ConnectError(
                f"{path} cannot be read: {error.strerror}", "Check ssh.known_hosts. [known-hosts]"
            ) from None

    def keys(self, name: str) -> tuple[HostKey, ...]:
        """The keys of ``host`` or ``[host]:port`` that are not revoked; none when the host is unknown."""
        with self._lock:
            return tuple(key for line, key in self._find(name.lower()) if not line.revoked)

    def judge(self, name: str, key: HostKey, *, learn: bool) -> Verdict:
        """The verdict of the file on this key. With ``learn``, an unknown host is added and then known."""
        with self._lock:
            verdict = self._judge(name.lower(), key)
            return self._learn(name.lower(), key) if verdict == "unknown" and learn else verdict

    def _judge(self, name: str, key: HostKey) -> Verdict:
        found = [(line.revoked, known) for line, known in self._find(name)]
        if (True, key) in found:
            return "revoked"
        if (False, key) in found:
            return "known"
        return "unknown" if all(revoked for revoked, _known in found) else "changed"

    def _learn(self, name: str, key: HostKey) -> Verdict:
        """Append a line, unless another run added this host since we read the file."""
        self._refuse_to_append(name)
        try:
            make_private(self.path.parent)
            with os.fdopen(os.open(self.path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600), "r+b", buffering=0) as file:
                fcntl.flock(file, fcntl.LOCK_EX)
                if os.fstat(file.fileno()).st_size != self._size:
                    self._load(file.read())
                verdict = self._judge(name, key)
                if verdict == "unknown":
                    self._refuse_to_append(name)
                    line = f"{name} {key.kind} {base64.b64encode(key.blob).decode()}\n"
                    start = "\n" if self._size and os.pread(file.fileno(), 1, self._size - 1) != b"\n" else ""
                    self._size += file.write((start + line).encode())
                    self._add(line)
                    verdict = "known"
                return verdict
        except OSError as error:
            raise ConnectError(
                f"{self.path} cannot be written: {error.strerror}",
                "Check ssh.known_hosts, or pin the host's key (ssh.fingerprint). [known-hosts]",
            ) from None

    def _refuse_to_append(self, name: str) -> None:
        """An inventory names the file, and an ssh_config the host: a line goes only where such lines are."""
        if not _NAME.fullmatch(name):
            raise ConnectError(
                f"{name!r} cannot be a host's name in known_hosts", "Check HostKeyAlias in ssh_config. [known-hosts]"
            )
        ours = self.path in (OWN.expanduser(), Path(os.devnull))
        if not ours and (self._strange or "known_hosts" not in self.path.resolve().name):
            raise ConnectError(
                f"{self.path} is not a known_hosts file, by its name or its lines: no host key is added to it",
                "Check ssh.known_hosts, or pin the host's key (ssh.fingerprint). [known-hosts]",
            )

    # --- lines -------------------------------------------------------------------------------------------------------

    def _load(self, content: bytes) -> None:
        self._size = len(content)
        self._plain.clear()
        self._special.clear()
        self._strange = 0
        for text in content.decode("latin-1").split("\n"):
            self._add(text)

    def _add(self, text: str) -> None:
        words = _WORDS.findall(text)
        marker = words.pop(0) if words and words[0].startswith("@") else ""
        if not words or words[0].startswith("#") or marker == "@cert-authority":
            return
        if len(words) < 3 or marker not in ("", "@revoked"):
            self._strange += 1
            return
        line = _Line(marker == "@revoked", words[0].lower(), words[1], words[2])
        if not re.fullmatch(r"[A-Za-z0-9@.-]+", words[1]) or not words[2].startswith("AAAA"):
            self._strange += 1
        if words[0].startswith("|"):
            self._special.append(_Line(line.revoked, words[0], line.kind, line.encoded))
        elif re.search(r"[*?!]", words[0]):
            self._special.append(line)
        else:
            for name in line.names.split(","):
                self._plain.setdefault(name, []).append(line)

    def _find(self, name: str) -> Iterator[tuple[_Line, HostKey]]:
        special = (line for line in self._special if _covers(line.names, name))
        for line in (*self._plain.get(name, ()), *special):
            key = line.key()
            if key is not None:
                yield line, key


class AllKnownHosts:
    """The known_hosts files for one host. A key that one of them knows is known; new keys go to the first file."""

    def __init__(self, files: tuple[KnownHosts, ...]) -> None:
        self._files = files

    def keys(self, name: str) -> tuple[HostKey, ...]:
        return tuple(dict.fromkeys(key for file in self._files for key in file.keys(name)))

    def place(self, name: str) -> Path:
        """The first file that has a key of this host, else the first file."""
        return next((file.path for file in self._files if file.keys(name)), self._files[0].path)

    def judge(self, name: str, key: HostKey, *, learn: bool) -> Verdict:
        """The verdict of all files on this key. With ``learn``, an unknown host is added and then known."""
        verdicts = [file.judge(name, key, learn=False) for file in self._files]
        for verdict in ("revoked", "known", "changed"):
            if verdict in verdicts:
                return verdict
        return self._files[0].judge(name, key, learn=learn)


def _covers(names: str, name: str) -> bool:
    if names.startswith("|"):
        return _hash_is(names, name)
    patterns = names.split(",")
    refused = any(_matches(pattern[1:], name) for pattern in patterns if pattern.startswith("!"))
    return not refused and any(_matches(pattern, name) for pattern in patterns)


def _matches(pattern: str, name: str) -> bool:
    """Match a pattern. Only ``*`` and ``?`` are special; brackets enclose the name of a host with a port."""
    at = star = place = 0
    while place < len(name):
        if at < len(pattern) and pattern[at] == "*":
            star, mark, at = at + 1, place, at + 1
        elif at < len(pattern) and pattern[at] in ("?", name[place]):
            at, place = at + 1, place + 1
        elif star:
            # Let the last star take one more character. Trying again from earlier stars never helps.
            mark += 1
            at, place = star, mark
        else:
            return False
    return not pattern[at:].strip("*")


def _hash_is(hashed: str, name: str) -> bool:
    """``|1|SALT|HMAC-SHA1 of the name``."""
    try:
        _, version, salt, digest = hashed.split("|")
        expected = hmac.digest(base64.b64decode(salt, validate=True), name.encode(), "sha1")
        return version == "1" and hmac.compare_digest(base64.b64decode(digest, validate=True), expected)
    except ValueError:
        return False
