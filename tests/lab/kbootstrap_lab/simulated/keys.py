"""SSH keys of a lab: one for its user, one per host, and the known_hosts file with the keys of the hosts."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat


def write_key(path: Path) -> str:
    """Make an Ed25519 key, write the private key with mode 0600, and return the public key."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.write(private)
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    path.with_name(path.name + ".pub").write_text(public + "\n")
    return public


def write_known_hosts(path: Path, hosts: Iterable[tuple[str, int, str]]) -> None:
    """Write the address, port and public key of every host."""
    path.write_text("".join(f"[{address}]:{port} {key}\n" for address, port, key in hosts))
