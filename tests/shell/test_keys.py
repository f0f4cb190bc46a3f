"""Odd key files, read by the real gpg, apt and rpm: no file makes a key trusted that is not pinned.

The servers that a host asks for keys can be mirrors, and the way to them can be plain HTTP. Each file here tries to
bring a stranger's key along with the genuine one. The keys are real; nothing outside the test's folder is touched.
"""

from __future__ import annotations

import base64
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kbootstrap.remote.script import quote, shell_file

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("gpg", "apt-get", "rpm"))), reason="needs gpg, apt and rpm (scripts/setup --system)"
)


@dataclass(frozen=True)
class Keys:
    """A keyring with the key that is pinned, a stranger's, and pinned ones that are expired and revoked."""

    home: Path
    fingerprints: dict[str, str]

    def gpg(self, *arguments: str, stdin: bytes = b"") -> bytes:
        command = ["gpg", "--homedir", str(self.home), "--batch", "--quiet", "--pinentry-mode", "loopback"]
        done = subprocess.run([*command, "--passphrase", "", *arguments], input=stdin, capture_output=True, check=True)
        return done.stdout

    def binary(self, name: str) -> bytes:
        return self.gpg("--export", self.fingerprints[name])

    def armored(self, *names: str) -> bytes:
        return self.gpg("--armor", "--export", *(self.fingerprints[name] for name in names))

    def secret(self, name: str) -> bytes:
        return self.gpg("--armor", "--export-secret-keys", self.fingerprints[name])


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Keys]:
    home = tmp_path_factory.mktemp("gpg")
    home.chmod(0o700)
    made = Keys(home, {})
    made.gpg("--faked-system-time", "20200101T000000!", "--quick-gen-key", "expired", "ed25519", "sign", "1y")
    for name in ("genuine", "stranger", "revoked"):
        made.gpg("--quick-gen-key", name, "ed25519", "sign", "never")
    for name in ("genuine", "stranger", "revoked", "expired"):
        shown = made.gpg("--with-colons", "--list-keys", name).decode()
        found = re.search(r"^fpr:+(\w+):", shown, re.M)
        assert found
        made.fingerprints[name] = found[1]
    certificate = (home / f"openpgp-revocs.d/{made.fingerprints['revoked']}.rev").read_text()
    made.gpg("--import", stdin=certificate.replace(":-----BEGIN", "-----BEGIN").encode())
    yield made
    subprocess.run(["gpgconf", "--homedir", str(home), "--kill", "all"], check=True)


def unknown_block(keys: Keys) -> bytes:
    """The stranger's key in an armor that gpg does not know. apt only looks for lines that begin with -----BEGIN."""
    return keys.armored("stranger").replace(b"PUBLIC KEY BLOCK", b"PUBLIC KEYRING BLOCK")


def without_binding(keys: Keys) -> bytes:
    """The genuine key with the stranger's as a subkey that nobody has signed (packet of tag 6 made one of tag 14)."""
    stranger = keys.binary("stranger")
    length = stranger[1]
    return keys.binary("genuine") + bytes([0x80 | 14 << 2]) + stranger[1 : 2 + length]


FILES: dict[str, Callable[[Keys], bytes]] = {
    "armored": lambda keys: keys.armored("genuine"),
    "binary": lambda keys: keys.binary("genuine"),
    "twice": lambda keys: keys.armored("genuine") * 2,
    "junk before": lambda keys: b"<!-- welcome -->\n" + keys.armored("genuine"),
    "junk after": lambda keys: keys.armored("genuine") + b"\n<!-- bye -->\n",
    "windows line ends": lambda keys: keys.armored("genuine").replace(b"\n", b"\r\n"),
    "an unknown block before": lambda keys: unknown_block(keys) + keys.armored("genuine"),
    "an unknown block after": lambda keys: keys.armored("genuine") + unknown_block(keys),
    "an unknown block between": lambda keys: keys.armored("genuine") + unknown_block(keys) + keys.armored("genuine"),
    "a block with spaces before": lambda keys: (
        keys.armored("stranger").replace(b"-----BEGIN", b" -----BEGIN") + keys.armored("genuine")
    ),
    "a signature block before": lambda keys: (
        keys.armored("stranger").replace(b"PUBLIC KEY BLOCK", b"SIGNATURE") + keys.armored("genuine")
    ),
    "binary before armored": lambda keys: keys.binary("stranger") + keys.armored("genuine"),
    "binary after armored": lambda keys: keys.armored("genuine") + keys.binary("stranger"),
    "armored after binary": lambda keys: keys.binary("genuine") + keys.armored("stranger"),
    "base64 after the block": lambda keys: keys.armored("genuine") + base64.encodebytes(keys.binary("stranger")),
    "a subkey without binding": without_binding,
}
"""Files that may be used: then only the genuine key is trusted. Where gpg sees the stranger's key, they are refused."""

REFUSED: dict[str, Callable[[Keys], bytes]] = {
    "the stranger alone": lambda keys: keys.armored("stranger"),
    "the stranger before": lambda keys: keys.armored("stranger") + keys.armored("genuine"),
    "the stranger after": lambda keys: keys.armored("genuine") + keys.armored("stranger"),
    "both in one block": lambda keys: keys.armored("genuine", "stranger"),
    "both binary": lambda keys: keys.binary("genuine") + keys.binary("stranger"),
    "the stranger's secret key": lambda keys: keys.secret("stranger") + keys.armored("genuine"),
    "a revoked key": lambda keys: keys.armored("revoked"),
    "a web page": lambda _keys: b"<!DOCTYPE html><title>503</title>",
    "nothing": lambda _keys: b"",
    "half a block": lambda keys: keys.armored("genuine")[:150],
    "a block of nothing": lambda _keys: (
        b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n=twTO\n-----END PGP PUBLIC KEY BLOCK-----\n"
    ),
}


def pinned(keys: Keys, content: bytes, folder: Path, family: str) -> tuple[str, Path | None]:
    """What the function of the host says, and the file it would put in place."""
    (folder / "key").write_bytes(content)
    new = folder / "pinned"
    names = " ".join(keys.fingerprints[name] for name in ("genuine", "revoked", "expired"))
    script = (
        "set -eu\nfail() { printf '%s\\n' \"$1\"; exit 64; }\n"
        + shell_file(f"shell/os/{family}.sh")
        + shell_file("shell/lib/keys.sh")
        + f"KB_DIR={quote(str(folder))}\n"
        + f"pinned_keys {quote(str(folder / 'key'))} {quote(str(new))} https://mirror.example/key {quote(names)}\n"
        + "echo $kb_expires\n"
    )
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode in (0, 64), done
    assert not list(folder.glob("gpg.*")), "no keyring is left, and so no agent"
    return done.stdout, new if done.returncode == 0 else None


def apt_accepts(keys: Keys, signer: str, trusted: Path, folder: Path) -> bool:
    """Whether apt takes a repository that this key has signed, when it trusts the keys of the file."""
    repository = folder / f"repository-{signer}"
    repository.mkdir(parents=True)
    (repository / "Packages").write_bytes(b"")
    empty = "d41d8cd98f00b204e9800998ecf8427e 0 Packages"
    sha = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 0 Packages"
    release = f"Date: Thu, 01 Jan 2026 00:00:00 UTC\nMD5Sum:\n {empty}\nSHA256:\n {sha}\n"
    signed = keys.gpg("--local-user", keys.fingerprints[signer], "--clearsign", stdin=release.encode())
    (repository / "InRelease").write_bytes(signed)
    root = folder / f"apt-{signer}"
    for name in ("etc/apt/preferences.d", "var/lib/apt/lists/partial", "var/cache/apt/archives/partial"):
        (root / name).mkdir(parents=True)
    (root / "etc/apt/sources.list").write_text(f"deb [signed-by={trusted}] file:{repository} ./\n")
    (root / "var/lib/dpkg").mkdir()
    (root / "var/lib/dpkg/status").write_text("")
    options = [f"Dir={root}", f"Dir::State::status={root}/var/lib/dpkg/status", "APT::Sandbox::User=root"]
    command = ["apt-get", "update", *(word for option in options for word in ("-o", option))]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, env={**os.environ, "LC_ALL": "C"}, check=False
    )
    refused = bool(re.search(r"NO_PUBKEY|not signed|could not be verified|GPG error", done.stdout + done.stderr))
    assert refused or done.returncode == 0, done.stdout + done.stderr
    return not refused


def rpm_trusts(trusted: Path, folder: Path) -> set[str]:
    """The ids of the keys that rpm trusts after it has imported the file."""
    database = ["--dbpath", str(folder / "rpm")]
    subprocess.run(["rpm", *database, "--initdb"], check=True)
    subprocess.run(["rpmkeys", *database, "--import", str(trusted)], check=True, capture_output=True)
    query = ["rpm", *database, "-q", "gpg-pubkey", "--qf", "%{VERSION}\n"]
    return set(subprocess.run(query, check=True, capture_output=True, text=True).stdout.split())


@pytest.mark.parametrize("name", FILES)
def test_only_the_pinned_key_of_an_odd_file_is_ever_trusted(keys: Keys, name: str, tmp_path: Path) -> None:
    for family in ("debian", "el"):
        folder = tmp_path / family
        folder.mkdir()
        said, trusted = pinned(keys, FILES[name](keys), folder, family)
        if trusted is None:
            assert keys.fingerprints["stranger"] in said or "is not a GPG public key" in said
        elif family == "debian":
            apt_file = trusted.rename(folder / "key.asc")
            assert apt_accepts(keys, "genuine", apt_file, folder)
            assert not apt_accepts(keys, "stranger", apt_file, folder)
        else:
            assert rpm_trusts(trusted, folder) == {keys.fingerprints["genuine"][-8:].lower()}


def test_the_ordinary_files_are_used(keys: Keys, tmp_path: Path) -> None:
    for name in (
        "armored",
        "binary",
        "twice",
        "junk before",
        "junk after",
        "windows line ends",
        "an unknown block before",
    ):
        assert pinned(keys, FILES[name](keys), tmp_path, "debian")[1] is not None, name


@pytest.mark.parametrize("name", REFUSED)
def test_a_file_with_anything_else_is_refused(keys: Keys, name: str, tmp_path: Path) -> None:
    said, trusted = pinned(keys, REFUSED[name](keys), tmp_path, "debian")
    assert trusted is None
    assert said.count("\n") == 1
    expected = {
        "a revoked key": "has been revoked",
        "a web page": "is not a GPG public key",
        "nothing": "is not a GPG public key",
        "half a block": "is not a GPG public key",
        "a block of nothing": "is not a GPG public key",
    }
    assert expected.get(name, f"has the key {keys.fingerprints['stranger']}") in said


def test_several_pinned_keys_are_all_trusted(keys: Keys, tmp_path: Path) -> None:
    said, trusted = pinned(keys, keys.armored("genuine", "expired"), tmp_path, "el")
    assert trusted, said
    expected = {keys.fingerprints[name][-8:].lower() for name in ("genuine", "expired")}
    assert rpm_trusts(trusted, tmp_path) == expected


def test_the_first_expiry_is_known(keys: Keys, tmp_path: Path) -> None:
    """The key of 2020 expired after a year, with a day's difference for the host's time zone."""
    assert pinned(keys, keys.armored("genuine"), tmp_path, "el")[0] == "0\n"
    at = int(pinned(keys, keys.armored("genuine", "expired"), tmp_path, "el")[0])
    assert abs(at - datetime(2020, 12, 31, tzinfo=UTC).timestamp()) < 2 * 86400


def test_a_new_copy_of_a_key_replaces_the_one_in_rpms_database(keys: Keys, tmp_path: Path) -> None:
    _said, trusted = pinned(keys, keys.armored("genuine", "expired"), tmp_path, "el")
    assert trusted
    assert len(rpm_trusts(trusted, tmp_path)) == 2
    script = (
        f'set -eu\nrun() {{ "$@"; }}\nrpm() {{ command rpm --dbpath {quote(str(tmp_path / "rpm"))} "$@"; }}\n'
        + shell_file("shell/os/el.sh")
        + f"key_replaced {keys.fingerprints['genuine']} {'0' * 40}\nrpm -q gpg-pubkey --qf '%{{VERSION}}\\n'"
    )
    for shell in ("dash", "bash"):
        done = subprocess.run([shell, "-c", script], capture_output=True, text=True, timeout=60, check=True)
        assert done.stdout.split() == [keys.fingerprints["expired"][-8:].lower()]
