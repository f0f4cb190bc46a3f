"""A host key is known only where a line of the file says so, and a file changes only by whole lines of ours.

The expected verdicts are from a second, slower reader of known_hosts files, which shares no code with kbootstrap's.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import re
import time
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from support.fuzzing import cases

from kbootstrap.errors import ConnectError
from kbootstrap.remote.ssh.known_hosts import HostKey, KnownHosts

KINDS = ["ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa"]


def made_key(kind: str, seed: int) -> HostKey:
    body = hashlib.sha512(f"{kind} {seed}".encode()).digest()
    blob = b"".join(len(part).to_bytes(4, "big") + part for part in (kind.encode(), body[: 32 + seed]))
    return HostKey(kind, blob)


KEYS = [made_key(kind, seed) for kind in KINDS for seed in range(3)]
NAMES = ["192.168.1.10", "[192.168.1.10]:2222", "node1.example.com", "node2.example.com", "fe80::1%eth0", "[::1]:22"]
PATTERNS = ["*", "192.168.1.*", "node?.example.com", "!node1.example.com", "!192.*", "[*]:2222", "*.example.com", "??"]
KEY = st.sampled_from(KEYS)
NAME = st.sampled_from(NAMES)


# --- the other reader ------------------------------------------------------------------------------------------------


def covers(pattern: bytes, name: bytes) -> bool:
    """Whether a pattern with ``*`` and ``?`` matches, by the set of places in the pattern that are reached."""
    if not set(pattern) & set(b"*?"):
        return pattern == name
    places = {0}
    for char in (*name, None):
        for place in sorted(places):
            while pattern[place : place + 1] == b"*":
                place += 1
                places.add(place)
        if char is None or not places:
            break
        stay = {place for place in places if pattern[place : place + 1] == b"*"}
        places = stay | {place + 1 for place in places if pattern[place : place + 1] in (b"?", bytes([char]))}
    return len(pattern) in places


def names_it(field: bytes, name: str) -> bool:
    wanted = name.lower().encode("utf-8", "replace")
    if field.startswith(b"|"):
        parts = field.split(b"|")
        if len(parts) != 4 or parts[1] != b"1":
            return False
        salt, digest = decoded(parts[2]), decoded(parts[3])
        return salt is not None and digest == hmac.new(salt, wanted, "sha1").digest()
    # A letter outside ASCII is not in any name here, so that its case does not matter.
    patterns = field.lower().split(b",")
    if any(each.startswith(b"!") and covers(each[1:], wanted) for each in patterns):
        return False
    return any(covers(each, wanted) for each in patterns)


def decoded(text: bytes) -> bytes | None:
    """Base64 as ssh reads it. How much padding is too much depends on the version of Python, so such is not tried."""
    end = len(text) - len(text.rstrip(b"="))
    assume(end in (0, (end - len(text)) % 4))
    return base64.b64decode(text) if len(text) % 4 == 0 and re.fullmatch(rb"[A-Za-z0-9+/]*={0,2}", text) else None


def fields(line: bytes) -> tuple[bytes, list[bytes]]:
    """The marker and the other words of a line."""
    words = [word for word in re.split(rb"[ \t\r]+", line) if word]
    return (words.pop(0), words) if words and words[0].startswith(b"@") else (b"", words)


def keys_in(content: bytes, name: str) -> set[tuple[bool, HostKey]]:
    """The keys of the lines for a name, each with whether it is revoked."""
    found = set()
    for line in content.split(b"\n"):
        marker, words = fields(line)
        if len(words) < 3 or words[0].startswith(b"#") or marker not in (b"", b"@revoked"):
            continue
        kind, blob = words[1], decoded(words[2])
        if blob is not None and blob[4 : 4 + len(kind)] == kind and names_it(words[0], name):
            found.add((marker == b"@revoked", HostKey(kind.decode(), blob)))
    return found


def expected(content: bytes, name: str, key: HostKey) -> str:
    """The verdict by the rules of sshd(8), SSH_KNOWN_HOSTS FILE FORMAT."""
    found = keys_in(content, name)
    if (True, key) in found:
        return "revoked"
    if (False, key) in found:
        return "known"
    return "changed" if any(not revoked for revoked, _key in found) else "unknown"


def strange(content: bytes) -> bool:
    """Whether a line is none of a known_hosts file."""
    for line in content.split(b"\n"):
        marker, words = fields(line)
        if not words or words[0].startswith(b"#") or marker == b"@cert-authority":
            continue
        if len(words) < 3 or marker not in (b"", b"@revoked"):
            return True
        if not re.fullmatch(rb"[A-Za-z0-9@.-]+", words[1]) or not words[2].startswith(b"AAAA"):
            return True
    return False


# --- files -----------------------------------------------------------------------------------------------------------


def hashed(name: str, salt: bytes) -> str:
    digest = hmac.new(salt, name.encode(), "sha1").digest()
    return f"|1|{base64.b64encode(salt).decode()}|{base64.b64encode(digest).decode()}"


FIELDS = st.one_of(
    st.lists(NAME | st.sampled_from(PATTERNS), min_size=1, max_size=3).map(",".join),
    st.builds(hashed, NAME, st.binary(min_size=1, max_size=20)),
    NAME.map(str.upper),
    st.builds(hashed, NAME.map(str.upper), st.just(b"salt")),
)
MARKERS = st.sampled_from(["", "", "", "@revoked ", "@cert-authority ", "@marker "])
GOOD = st.builds(
    lambda marker, names, key, kind, end: (
        f"{marker}{names} {kind or key.kind} {base64.b64encode(key.blob).decode()}{end}".encode()
    ),
    MARKERS,
    FIELDS,
    KEY,
    st.sampled_from(["", "", "", "", *KINDS]),
    st.sampled_from(["", "", " a comment", "\r", "\t# x"]),
)
FINE = st.builds(lambda names, key: f"{names} {key.kind} {base64.b64encode(key.blob).decode()}".encode(), FIELDS, KEY)
JUNK = st.one_of(
    st.sampled_from([b"", b" ", b"# a comment", b"@revoked", b"[defaults]", b"key: value", b"a b c", b"* * *", b"|1|"]),
    st.sampled_from([b"x" * 20_000, b"a," * 3000 + b" ssh-rsa AAAA", b"|" * 5000, b"node1.example.com " * 300]),
    st.binary(max_size=40),
    st.text(max_size=20).map(lambda text: text.encode()),
)
BITS = [b"\n", b"\r\n", b" ", b"\t", b",", b"!", b"*", b"|", b"=", b"@", b"#", b"A", b"\0", b"\xa0", b"\x85", b"\xc3"]


@st.composite
def files(draw: st.DrawFn, lines: st.SearchStrategy[bytes]) -> bytes:
    """A few lines, with parts removed, overwritten, repeated, or of another line."""
    drawn = draw(st.lists(lines, max_size=4))
    text = b"\n".join(drawn) + draw(st.sampled_from([b"\n", b"\n", b"", b"\n\n", b"\r\n"]))
    for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2, 4]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 4, 60])))
        other = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from(BITS) | st.binary(max_size=3) | st.just(text[other : other + 40]))
        text = text[:start] + new + text[end:]
    # With many stars in a pattern the time grows with the power of their number.
    return re.sub(rb"\*[^\s,]*\*[^\s,]*\*[^\s,]*\*", b"*", text) if text.count(b"*") > 3 else text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("known_hosts")


ANY_NAME = NAME | NAME.map(str.upper) | st.sampled_from(["", "a b", "*", "|1|", "node1.example.com,evil", "@revoked"])
ANY_NAME |= st.text(st.characters(max_codepoint=127, exclude_characters="\n"), max_size=8)


@cases(40, 10_000)
@given(files(GOOD | JUNK), ANY_NAME, KEY)
def test_a_verdict_is_the_one_of_the_lines(folder: Path, content: bytes, name: str, key: HostKey) -> None:
    path = folder / "known_hosts"
    path.write_bytes(content)
    hosts = KnownHosts(path)
    begun = time.process_time()
    verdict, keys = hosts.judge(name, key, learn=False), set(hosts.keys(name))
    assert time.process_time() - begun < 5
    assert verdict == expected(content, name, key)
    assert keys == {each for revoked, each in keys_in(content, name) if not revoked}
    assert path.read_bytes() == content


@cases(40, 10_000)
@given(files(GOOD | JUNK) | files(FINE), ANY_NAME, KEY, st.none() | files(FINE | GOOD))
def test_learning_appends_one_whole_line_or_refuses(
    folder: Path, content: bytes, name: str, key: HostKey, added: bytes | None
) -> None:
    """Another run may add lines after the file was read."""
    path = folder / "known_hosts"
    path.write_bytes(content)
    hosts = KnownHosts(path)
    if added is not None:
        content += (b"" if content.endswith(b"\n") or not content else b"\n") + added
        path.write_bytes(content)
    read = content if added is None else content[: len(content) - len(added)]
    first, second = expected(read, name, key), expected(content, name, key)
    try:
        verdict = hosts.judge(name, key, learn=True)
    except ConnectError as error:
        assert path.read_bytes() == content
        assert first == "unknown"
        assert strange(content) or not re.fullmatch(r"[A-Za-z0-9_.:%\[\]-]+", name.lower())
        str(error).encode("utf-8", "surrogatepass")
        return
    after = path.read_bytes()
    if first != "unknown" or second != "unknown":
        assert verdict == (second if first == "unknown" else first)
        assert after == content
        return
    line = f"{name.lower()} {key.kind} {base64.b64encode(key.blob).decode()}\n".encode()
    assert verdict == "known"
    assert not strange(content)
    assert after == content + (b"" if content.endswith(b"\n") or not content else b"\n") + line
    assert expected(after, name, key) == "known"
    assert hosts.judge(name, key, learn=True) == "known"
    assert KnownHosts(path).judge(name, key, learn=True) == "known"
    assert path.read_bytes() == after


@cases(20, 10_000)
@given(
    files(GOOD | JUNK),
    st.text(min_size=1, max_size=5) | st.sampled_from(["n\u00f6de", "a\nb", "\u212a8s", "\ud800"]),
    KEY,
)
def test_a_name_that_no_host_has_is_never_added(folder: Path, content: bytes, name: str, key: HostKey) -> None:
    assume(not re.fullmatch(r"[A-Za-z0-9_.:%\[\]-]+", name.lower()))
    path = folder / "known_hosts"
    path.write_bytes(content)
    with contextlib.suppress(ConnectError):
        KnownHosts(path).judge(name, key, learn=True)
    assert path.read_bytes() == content


OTHERS = ["config", "id_rsa", ".bashrc", "hosts", "authorized_keys", "known-hosts", "KNOWN_HOSTS", "x/known_hosts/y"]


@cases(25, 10_000)
@given(st.sampled_from(OTHERS), files(GOOD | JUNK) | files(FINE), NAME, KEY)
def test_no_other_file_gets_a_line(folder: Path, other: str, content: bytes, name: str, key: HostKey) -> None:
    path = folder / "others" / other
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    try:
        verdict = KnownHosts(path).judge(name, key, learn=True)
    except ConnectError as error:
        said = error.message
        assert "is not a known_hosts file" in said
    else:
        assert verdict == expected(content, name, key) != "unknown"
    assert path.read_bytes() == content


def test_the_other_reader_knows_patterns() -> None:
    yes = [("*", ""), ("a*", "a"), ("*a*", "bab"), ("?*", "x"), ("a**b", "ab"), ("[*]:22", "[x]:22"), ("", "")]
    no = [("?", ""), ("a*", "b"), ("a", "ab"), ("*a", "ab"), ("[x]", "x"), ("ab", "a")]
    assert all(covers(pattern.encode(), name.encode()) for pattern, name in yes)
    assert not any(covers(pattern.encode(), name.encode()) for pattern, name in no)


@pytest.mark.parametrize("pattern", ["*" * 5000 + "x", "*a" * 2000, "*?" * 2000, "?*" * 20 + "!"])
def test_a_pattern_of_stars_costs_nothing(pattern: str, tmp_path: Path) -> None:
    """An inventory can name the file. A regular expression would need hours."""
    path = tmp_path / "known_hosts"
    path.write_text(f"{pattern} {KEYS[0].kind} {base64.b64encode(KEYS[0].blob).decode()}\n")
    began = time.process_time()
    assert KnownHosts(path).judge("a" * 200 + ".example.com", KEYS[0], learn=False) == "unknown"
    assert time.process_time() - began < 2
