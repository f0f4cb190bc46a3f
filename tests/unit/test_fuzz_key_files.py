"""No key file of a repository puts a key in place that is not pinned, however it is damaged or composed.

The real gpg and the host's own function read the files. What they write is read by a small parser of OpenPGP packets
here (RFC 4880), which shares nothing with gpg.
"""

from __future__ import annotations

import base64
import hashlib
import random
import re
import shutil
import subprocess
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from support.fuzzing import count

from kbootstrap.remote.script import quote, shell_file

pytestmark = pytest.mark.skipif(not shutil.which("gpg"), reason="needs gpg (scripts/setup --system)")

NAMES = ("genuine", "stranger")
PUBLIC_KEY, SECRET_KEY, COMPRESSED, MARKER, LITERAL, TRUST, USER, SUBKEY = 6, 5, 8, 10, 11, 12, 13, 14
BEGIN, END = b"-----BEGIN PGP PUBLIC KEY BLOCK-----", b"-----END PGP PUBLIC KEY BLOCK-----"

Packet = tuple[int, bytes]


# --- the parser ------------------------------------------------------------------------------------------------------


def packets(data: bytes) -> Iterator[Packet]:
    """The tag and the body of every packet, with old and new lengths (RFC 4880, 4.2)."""
    at = 0
    while at < len(data):
        first = data[at]
        at += 1
        assert first & 0x80, "a packet begins with the highest bit"
        if not first & 0x40:
            kind = first & 3
            assert kind != 3, "gpg writes no packet without a length"
            size = int.from_bytes(data[at : at + (1 << kind)], "big")
            at += 1 << kind
            tag = first >> 2 & 15
        else:
            tag, size = first & 63, data[at]
            at += 1
            assert size < 224 or size == 255, "gpg writes no key in parts"
            if size == 255:
                size = int.from_bytes(data[at : at + 4], "big")
                at += 4
            elif size >= 192:
                size = ((size - 192) << 8) + data[at] + 192
                at += 1
        assert at + size <= len(data), "the packet is whole"
        yield tag, data[at : at + size]
        at += size


def fingerprint(body: bytes) -> str:
    """The fingerprint of a version 4 key (RFC 4880, 12.2)."""
    assert body[0] == 4, "only version 4 keys are pinned here"
    return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324


def primary_keys(text: bytes) -> list[str]:
    """The fingerprints of the primary keys of an armored file, which is nothing but blocks of public keys."""
    found = []
    block = re.compile(
        re.escape(BEGIN) + rb"\n\n((?:[A-Za-z0-9+/=]+\n)+?)=[A-Za-z0-9+/]{4}\n" + re.escape(END) + rb"\n"
    )
    assert block.sub(b"", text) == b"", "there is something outside the blocks"
    for match in block.finditer(text):
        for tag, body in packets(base64.b64decode(match[1].replace(b"\n", b""), validate=True)):
            assert tag in (PUBLIC_KEY, SUBKEY, USER, 17, 2), f"a packet of type {tag} in a public key"
            found += [fingerprint(body)] if tag == PUBLIC_KEY else []
    return found


# --- the keys --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Keys:
    fingerprints: dict[str, str]
    packets: dict[str, list[Packet]]
    armored: dict[str, bytes]


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    """A genuine key and a stranger's, each with a subkey."""
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)

    def gpg(*arguments: str) -> bytes:
        command = ["gpg", "--homedir", str(home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        return subprocess.run([*command, "--passphrase", "", *arguments], capture_output=True, check=True).stdout

    made = Keys({}, {}, {})
    try:
        for name in NAMES:
            gpg("--quick-gen-key", name, "ed25519", "sign", "never")
            shown = re.search(r"^fpr:+(\w+):", gpg("--with-colons", "--list-keys", name).decode(), re.M)
            assert shown
            made.fingerprints[name] = shown[1]
            gpg("--quick-add-key", shown[1], "cv25519", "encr", "never")
            made.packets[name] = list(packets(gpg("--export", shown[1])))
            made.armored[name] = gpg("--armor", "--export", shown[1])
    finally:
        subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)
    return made


# --- damage ----------------------------------------------------------------------------------------------------------


def old(tag: int, body: bytes) -> bytes:
    return bytes([0x80 | (tag & 15) << 2 | 1]) + len(body).to_bytes(2, "big") + body


def new(tag: int, body: bytes) -> bytes:
    return bytes([0xC0 | tag, 255]) + len(body).to_bytes(4, "big") + body


def in_parts(tag: int, body: bytes) -> bytes:
    """A packet with partial lengths. They are allowed only for data, but a reader may take them for keys too."""
    return bytes([0xC0 | tag, 0xE0 | 4]) + body[:16] + bytes([255]) + len(body[16:]).to_bytes(4, "big") + body[16:]


def without_length(tag: int, body: bytes) -> bytes:
    return bytes([0x80 | (tag & 15) << 2 | 3]) + body


def crc24(data: bytes) -> bytes:
    crc = 0xB704CE
    for byte in data:
        crc ^= byte << 16
        for _ in range(8):
            crc = crc << 1 ^ (0x1864CFB if crc & 0x800000 else 0)
    return base64.b64encode(crc.to_bytes(3, "big"))


HEADERS = [
    b"",
    b"",
    b"Version: 1\n",
    b"Comment: -----BEGIN PGP PUBLIC KEY BLOCK-----\n",
    b"Hash: SHA1\n",
    b"x\n",
    b" \n",
]
TITLES = [BEGIN, BEGIN.replace(b"KEY BLOCK", b"KEYRING BLOCK"), b"-----BEGIN PGP SIGNATURE-----", b" " + BEGIN]
TITLES += [
    BEGIN.replace(b"PUBLIC", b"PRIVATE"),
    b"-----BEGIN PGP MESSAGE-----",
    BEGIN.lower(),
    BEGIN + b" ",
    b"- " + BEGIN,
]
WORDS = [b"\n", b"\n\n", b"\r\n", b"=", b"=AAAA", b"-----", b"\0", b" ", b"\x99", b"\xc6", BEGIN, END, BEGIN + b"\n\n"]


class Damage:
    """Makes key files, each of which also has parts of the stranger's key."""

    def __init__(self, keys: Keys, source: random.Random) -> None:
        self._keys = keys
        self._random = source

    def file(self) -> bytes:
        make = self._random.choice([self._of_text, self._of_text, self._of_packets, self._of_packets, self._of_bytes])
        return make()

    def armored(self, data: bytes, wild: bool = True) -> bytes:
        """An armor, mostly an ordinary one."""
        chance = self._random.random() if wild else 1
        title = self._random.choice(TITLES) if chance < 0.1 else BEGIN
        header = self._random.choice(HEADERS) if chance < 0.3 else b""
        sum_ = b"=AAAA" if chance < 0.05 else b"" if chance < 0.1 else b"=" + crc24(data)
        text = base64.encodebytes(data)
        return b"\n".join([title, header, text.rstrip(b"\n"), sum_, title.replace(b"BEGIN", b"END"), b""])

    def _of_text(self) -> bytes:
        """Both armored keys with lines and parts removed, repeated, overwritten and exchanged."""
        parts = [self._keys.armored[name] for name in NAMES for _ in range(self._random.choice([1, 1, 1, 2]))]
        self._random.shuffle(parts)
        if self._random.random() < 0.4:
            lines = b"".join(parts).splitlines(keepends=True)
            for _ in range(self._random.randrange(1, 6)):
                i, j = (self._random.randrange(len(lines)) for _ in range(2))
                what = self._random.randrange(3)
                if what == 0:
                    lines[i], lines[j] = lines[j], lines[i]
                elif what == 1:
                    lines.insert(i, lines[j])
                elif len(lines) > 1:
                    del lines[i]
            return b"".join(lines)
        if self._random.random() < 0.3:
            parts = [self._titled(part) for part in parts]
        return self._damaged(b"".join(parts))

    def _titled(self, part: bytes) -> bytes:
        title = self._random.choice(TITLES)
        part = part.replace(BEGIN + b"\n", title + b"\n" + self._random.choice(HEADERS))
        return part.replace(END, self._random.choice([END, title.replace(b"BEGIN", b"END"), b"", END + b"-"]))

    def _of_packets(self) -> bytes:
        """Packets of both keys in another order, with other tags and lengths, in armor whose checksum is right."""
        mine, theirs = (list(self._keys.packets[name]) for name in NAMES)
        order = self._random.choice([mine + theirs, theirs + mine, mine, mine * 2, self._mixed(mine, theirs)])
        order = [self._changed(packet) for packet in order]
        for _ in range(self._random.choice([0, 0, 1, 1, 2, 3])):
            i, j = (self._random.randrange(len(order)) for _ in range(2))
            what = self._random.randrange(3)
            if what == 0:
                order[i], order[j] = order[j], order[i]
            elif what == 1:
                order.insert(i, self._random.choice([*mine, *theirs]))
            elif len(order) > 1:
                del order[i]
        data = b"".join(self._written(*packet) for packet in order)
        if self._random.random() < 0.15:
            packed = b"\1" + zlib.compress(data)[2:-4]
            data = self._random.choice([data, b"", new(*mine[0])]) + new(COMPRESSED, packed)
        if self._random.random() < 0.2:
            data = self._damaged(data)
        if self._random.random() < 0.2:
            return data
        cut = self._random.randrange(len(data) + 1) if self._random.random() < 0.1 else 0
        return b"".join(self.armored(part) for part in (data[:cut], data[cut:]) if part)

    def _mixed(self, mine: list[Packet], theirs: list[Packet]) -> list[Packet]:
        """The stranger's packets somewhere inside the genuine key, or as its subkeys."""
        at = self._random.randrange(len(mine) + 1)
        hidden = [(SUBKEY if tag == PUBLIC_KEY else tag, body) for tag, body in theirs]
        return mine[:at] + self._random.choice([theirs, hidden, theirs[:1], hidden[:1], theirs[1:]]) + mine[at:]

    def _changed(self, packet: Packet) -> Packet:
        tag, body = packet
        chance = self._random.random()
        if chance < 0.02:
            return self._random.choice([PUBLIC_KEY, SECRET_KEY, SUBKEY, USER, TRUST, MARKER, LITERAL, 0, 63]), body
        if chance < 0.03:
            return LITERAL, b"b\0\0\0\0\0" + old(tag, body)
        if chance < 0.04:
            return tag, self._random.choice([body + body, body + old(tag, body), body[:-1], body + b"\0"])
        if chance < 0.05 and tag == PUBLIC_KEY:
            return tag, self._random.choice([b"\2", b"\3", b"\5", b"\6"]) + body[1:]
        return packet

    def _written(self, tag: int, body: bytes) -> bytes:
        write: Callable[[int, bytes], bytes] = old if tag < 16 else new
        if self._random.random() < 0.1:
            write = self._random.choice([new, new, in_parts, without_length])
        return write(tag, body)

    def _of_bytes(self) -> bytes:
        """Armored and binary keys one after the other, in any combination, and the remains of them."""
        parts = []
        for name in self._random.choices(NAMES, k=self._random.randrange(1, 4)):
            data = b"".join(old(*packet) for packet in self._keys.packets[name])
            forms = [
                data,
                self._keys.armored[name],
                base64.encodebytes(data),
                self.armored(data),
                b"\n",
                data.hex().encode(),
            ]
            parts.append(self._random.choice(forms))
        text = b"".join(parts)
        return self._damaged(text) if self._random.random() < 0.3 else text

    def _damaged(self, text: bytes) -> bytes:
        for _ in range(self._random.randrange(4)):
            start = self._random.randrange(len(text) + 1)
            end = min(len(text), start + self._random.choice([0, 0, 1, 1, 2, 64, 300]))
            other = self._random.randrange(len(text) + 1)
            length = self._random.choice([1, 4, 64, 400])
            piece = self._random.choice(
                [self._random.choice(WORDS), self._random.randbytes(1), b"", text[other : other + length]]
            )
            if start < end and self._random.random() < 0.3:
                piece = bytes([text[start] ^ 1 << self._random.randrange(8)]) + text[start + 1 : end]
            text = text[:start] + piece + text[end:]
        return text


# --- the function of the host ----------------------------------------------------------------------------------------


def pinned(keys: Keys, contents: list[bytes], folder: Path, family: str) -> list[tuple[int, str, bytes]]:
    """For each file: the status, what is said, and the file that is written. One shell reads all of them."""
    for name in ("in", "out", "said", "status", "work"):
        (folder / name).mkdir()
    for number, content in enumerate(contents):
        (folder / "in" / str(number)).write_bytes(content)
    script = (
        "fail() { printf '%s\\n' \"$1\"; exit 64; }\n"
        + shell_file(f"shell/os/{family}.sh")
        + shell_file("shell/lib/keys.sh")
        + f"cd {quote(str(folder))}\nKB_DIR=$PWD/work\n"
        + "for name in $(ls in); do\n"
        + '    (set -eu; pinned_keys "$PWD/in/$name" "$PWD/out/$name" https://mirror.example/key '
        + f'{quote(keys.fingerprints["genuine"])}) >"said/$name" 2>&1\n'
        + '    echo $? >"status/$name"\ndone\n'
    )
    subprocess.run(["sh", "-c", script], check=True, timeout=200, stdin=subprocess.DEVNULL)
    assert not list((folder / "work").iterdir()), "no keyring is left, and so no agent"
    results = []
    for number in range(len(contents)):
        written = folder / "out" / str(number)
        results.append(
            (
                int((folder / "status" / str(number)).read_text()),
                (folder / "said" / str(number)).read_text(errors="replace"),
                written.read_bytes() if written.exists() else b"",
            )
        )
    return results


@pytest.mark.parametrize("family", ["debian", "el"])
@pytest.mark.parametrize("seed", range(count(1, 20)))
def test_no_damaged_key_file_puts_a_strangers_key_in_place(keys: Keys, seed: int, family: str, tmp_path: Path) -> None:
    damage = Damage(keys, random.Random(f"{seed} {family}"))  # noqa: S311 - reproducible, not secret
    contents = [damage.file() for _ in range(count(12, 250))]
    genuine = keys.fingerprints["genuine"]
    used = refused = 0
    for content, (status, said, written) in zip(contents, pinned(keys, contents, tmp_path, family), strict=True):
        shown = (status, said, base64.b64encode(content))
        assert status in (0, 64), shown
        if status == 0:
            assert set(primary_keys(written)) == {genuine}, shown
            assert said == "", shown
            used += 1
        else:
            assert written == b"", shown
            assert "is not a GPG public key" in said or "the inventory pins" in said, shown
            refused += "the inventory pins" in said
    # A few files show nothing about the damage, but many must be neither too broken nor too good.
    assert len(contents) < 200 or min(used, refused) > 20


@pytest.mark.parametrize("family", ["debian", "el"])
def test_whole_files_are_used_or_refused_as_they_should(keys: Keys, family: str, tmp_path: Path) -> None:
    """The files that are damaged here are good ones to begin with, and the parser sees the stranger's key in one."""
    genuine, stranger = (b"".join(old(*packet) for packet in keys.packets[name]) for name in NAMES)
    damage = Damage(keys, random.Random(0))  # noqa: S311 - reproducible, not secret
    good = [keys.armored["genuine"], genuine, damage.armored(genuine, wild=False)]
    bad = [damage.armored(genuine + stranger, wild=False), stranger + genuine, keys.armored["stranger"]]
    results = pinned(keys, good + bad, tmp_path, family)
    assert [status for status, _said, _written in results] == [0, 0, 0, 64, 64, 64]
    assert primary_keys(keys.armored["stranger"]) == [keys.fingerprints["stranger"]]
    assert primary_keys(damage.armored(genuine + stranger, wild=False)) == list(keys.fingerprints.values())
