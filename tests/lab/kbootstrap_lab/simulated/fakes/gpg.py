"""gpg: shows the keys in a file, keeps them in a keyring and exports them. A package repository's key needs no more."""

from __future__ import annotations

import base64
import hashlib
import sys
from collections.abc import Iterator

from kbootstrap_lab.simulated.fakes.common import HOST, Failed, run_main, unsupported

_FLAGS = {
    "--batch",
    "--quiet",
    "-q",
    "--no-tty",
    "--with-colons",
    "--with-fingerprint",
    "--yes",
    "--no-default-keyring",
    "--no-options",
    "--fingerprint",
    "--armor",
}
_VALUES = {"--homedir", "--trust-model", "-o", "--output", "--import-options", "--keyring", "--keyid-format"}


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(command: str, argv: list[str]) -> int:
    old = HOST["DISTRIBUTION"] == "centos7"
    if argv == ["--version"]:
        print(f"gpg (GnuPG) {'2.0.22' if old else '2.3.3'}")
        return 0
    verb, options, files = "guess", {}, []
    words = iter(argv)
    for word in words:
        if word in _FLAGS:
            options[word] = ""
        elif word in _VALUES:
            options[word] = next(words)
        elif word.partition("=")[0] in _VALUES:
            options[word.partition("=")[0]] = word.partition("=")[2]
        elif word in ("--show-keys", "--show-key", "--dearmor", "--import", "--list-keys", "--export"):
            verb = word.removeprefix("--")
        elif word == "-" or not word.startswith("-"):
            files.append(word)
        else:
            unsupported(command, argv)
    if verb.startswith("show-key") and old:
        raise Failed('gpg: invalid option "--show-keys"', 2)
    keyring = f"{options.get('--homedir', '/root/.gnupg')}/pubring.gpg"
    if verb == "list-keys":
        return _list(_keyring(keyring), "--with-colons" in options)
    if verb == "export":
        return _export(_keyring(keyring), files)
    data = _read(files)
    if verb == "import" and options.get("--import-options") != "show-only":
        binary = _keyring(keyring) + unarmour(data)
        with open(keyring, "wb") as file:
            file.write(binary)
        return 0
    if verb == "dearmor":
        _dearmor(data, options)
        return 0
    if verb == "guess":
        print("gpg: WARNING: no command supplied.  Trying to guess what you mean ...", file=sys.stderr)
    _show(data, "--with-colons" in options)
    return 0


def _read(files: list[str]) -> bytes:
    if files in ([], ["-"]):
        return sys.stdin.buffer.read()
    try:
        with open(files[0], "rb") as file:
            return file.read()
    except OSError as error:
        raise Failed(f"gpg: can't open '{files[0]}': {error.strerror}", 2) from None


def _keyring(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError:
        return b""


def _list(keyring: bytes, colons: bool) -> int:
    if keyring:
        _show(keyring, colons)
    return 0


def _export(keyring: bytes, wanted: list[str]) -> int:
    """Print the wanted keys as one armoured block. A primary key's packet begins a key."""
    starts = list(_primary_keys(keyring))
    ends = [position for position, _ in starts[1:]] + [len(keyring)]
    kept = b"".join(keyring[at:end] for (at, name), end in zip(starts, ends, strict=True) if name in wanted)
    if not kept:
        print("gpg: WARNING: nothing exported", file=sys.stderr)
        return 0
    text = base64.encodebytes(kept).decode()
    print(f"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n{text}-----END PGP PUBLIC KEY BLOCK-----")
    return 0


def _dearmor(data: bytes, options: dict[str, str]) -> None:
    binary = unarmour(data)
    target = options.get("-o") or options.get("--output")
    if target:
        with open(target, "wb") as file:
            file.write(binary)
    else:
        sys.stdout.buffer.write(binary)


def _show(data: bytes, colons: bool) -> None:
    found = list(fingerprints(data))
    if not found:
        raise Failed("gpg: no valid OpenPGP data found.", 2)
    for fingerprint in found:
        if colons:
            print(f"pub:-:2048:1:{fingerprint[-16:]}:1760000000:::-:::scSC::::::23::0:")
            print(f"fpr:::::::::{fingerprint}:")
            print("uid:-::::1760000000::0000000000000000000000000000000000000000::Simulated packages::::::::::0:")
        else:
            print(f"pub   rsa2048 2025-10-09 [SC]\n      {fingerprint}\nuid           Simulated packages\n")


def unarmour(data: bytes) -> bytes:
    """The binary form of one or more armoured blocks. Raises Failed when there are none."""
    if not data.startswith(b"-----BEGIN PGP PUBLIC KEY BLOCK"):
        if data[:1] in (b"\x98", b"\x99", b"\xc6"):
            return data
        raise Failed("gpg: no valid OpenPGP data found.", 2)
    binary = b""
    for block in data.split(b"-----BEGIN PGP PUBLIC KEY BLOCK-----")[1:]:
        body = block.partition(b"-----END")[0].partition(b"\n\n")[2]
        lines = [line for line in body.split() if not line.startswith(b"=")]
        binary += base64.b64decode(b"".join(lines))
    return binary


def fingerprints(data: bytes) -> list[str]:
    """The fingerprints of the primary keys in armoured or binary data."""
    return [fingerprint for _position, fingerprint in _primary_keys(unarmour(data))]


def _primary_keys(binary: bytes) -> Iterator[tuple[int, str]]:
    """Each primary key's position and fingerprint (RFC 4880, 12.2: SHA-1 of 0x99, the length and the packet's body)."""
    position = 0
    while position < len(binary):
        tag, start, length = _packet(binary, position)
        if tag == 6:
            body = binary[start : start + length]
            digest = hashlib.sha1(b"\x99" + length.to_bytes(2, "big") + body)  # noqa: S324 - required by the format
            yield position, digest.hexdigest().upper()
        position = start + length


def _packet(data: bytes, position: int) -> tuple[int, int, int]:
    """Tag, start of the body and length of the body of the packet at a position (RFC 4880, 4.2)."""
    first = data[position]
    if first & 0x40:
        tag, size = first & 0x3F, data[position + 1]
        if size < 192:
            return tag, position + 2, size
        if size < 224:
            return tag, position + 3, ((size - 192) << 8) + data[position + 2] + 192
        return tag, position + 6, int.from_bytes(data[position + 2 : position + 6], "big")
    tag, width = (first >> 2) & 0xF, 1 << (first & 3)
    return tag, position + 1 + width, int.from_bytes(data[position + 1 : position + 1 + width], "big")
