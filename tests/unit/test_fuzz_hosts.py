"""Any output of a host is parsed or is a clear error, and takes bounded memory and time."""

from __future__ import annotations

import base64
import itertools
import random
import subprocess
import sys
from collections.abc import Iterator

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.examples import admin_conf, inventory
from support.fuzzing import cases, count

from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Inventory
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.kubernetes.kubeadm import parse_join_command
from kbootstrap.phases import outputs
from kbootstrap.phases.preflight.requirements import findings
from kbootstrap.remote.facts import Facts, parse
from kbootstrap.remote.script import MAX_LINE, MAX_VALUE, Parser, Report, quote
from kbootstrap.secret import Secret
from kbootstrap.text import printable

MARK = "@kb-0123456789abcdef"


# --- the stream of reports -------------------------------------------------------------------------------------------

SNIPPETS = [
    MARK,
    MARK + " ",
    MARK[:7],
    "@kb-",
    " end swap ok",
    " value join ",
    "\n",
    "\r\n",
    " alive",
    "x" * 70_000,
    "ü",
]
STREAM = st.lists(st.sampled_from([snippet.encode() for snippet in SNIPPETS]) | st.binary(max_size=30), max_size=30)


@cases(80, 10_000)
@given(STREAM.map(b"".join), st.randoms(use_true_random=False))
def test_the_reports_are_the_same_however_the_stream_is_cut(data: bytes, random: random.Random) -> None:
    whole, pieces = Parser(MARK, {"alive"}), Parser(MARK, {"alive"})
    expected = [*whole.feed(data), *whole.end()]
    bounds = sorted({0, len(data), *(random.randrange(len(data) + 1) for _ in range(random.randrange(20)))})
    heard = [item for a, b in itertools.pairwise(bounds) for item in pieces.feed(data[a:b])]
    heard += pieces.end()
    assert heard == expected
    assert pieces.offset == whole.offset
    for item in heard:
        assert isinstance(item, Report) or len(item.line) <= MAX_LINE


@pytest.mark.parametrize("beginning", [b"", MARK.encode() + b" value join ", b"x" * 70_000 + MARK.encode()])
@pytest.mark.parametrize("piece", [b"x" * 65536, MARK.encode(), b"\0" * 1000])
def test_a_line_without_end_takes_no_more_memory_than_a_value(beginning: bytes, piece: bytes) -> None:
    """It takes linear time too: a parser that reads the line again for every piece takes minutes here."""
    parser = Parser(MARK)
    assert list(parser.feed(beginning)) == []
    for _ in range(count(2, 64) * 1024 * 1024 // len(piece)):
        assert list(parser.feed(piece)) == []
        assert len(parser._rest) <= 2 * MAX_VALUE + MAX_LINE + len(piece)
    assert len(list(parser.end())) <= 2


# --- outputs ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Inventory:
    return inventory(tmp_path_factory.mktemp("inventory"), control_planes=2, workers=2)


HASH = "sha256:" + "ab" * 32
WORDS = ["kubeadm", "join", "192.168.1.10:6443", "--token", "abcdef.0123456789abcdef", "--discovery-token-ca-cert-hash"]
WORDS += [HASH, HASH[:-1], "--control-plane", "\n", "\\", "evil:6443", ";", "$(id)", "\0", "[::1]:6443", ":99999"]


@cases(150, 10_000)
@given(st.lists(st.sampled_from(WORDS) | st.text(max_size=8), max_size=14).map(" ".join) | st.binary(max_size=300))
def test_a_join_command_is_exactly_one_or_refused(made: Inventory, said: str | bytes) -> None:
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else said
    try:
        command = parse_join_command(text)
    except KbootstrapError:
        with pytest.raises(KbootstrapError):
            outputs.accept("join", text, made)
    else:
        assert set(command.ca_hashes) == {HASH}
        assert command.token.reveal() == "abcdef.0123456789abcdef"
        assert set(command.endpoint) <= set("0123456789.:[]-abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


@cases(100, 10_000)
@given(st.sampled_from(sorted(outputs._READERS)), st.text(max_size=100) | st.sampled_from(WORDS))
def test_any_value_is_accepted_or_refused_with_a_message(made: Inventory, name: str, text: str) -> None:
    try:
        taken = outputs.accept(name, text, made)
    except (ValueError, KbootstrapError) as error:
        said = str(error)
    else:
        said = ""
        # Connections are hostnames of the inventory and words of two lists; the rest is bounded text.
        assert taken.value in (text, Secret(text)) or (name == "connections" and taken.value)
    assert len(said) < 1000


ADMIN_CONF = admin_conf()
TRICKS = [
    "exec:",
    "    exec:\n      command: sh\n",
    "server: https://evil:6443",
    "&a",
    "*a",
    "!!python/name:os.system",
    "- ",
]
TRICKS += [
    "tokenFile: /etc/passwd",
    "proxy-url: http://evil",
    "\n",
    "  ",
    '"',
    "{",
    "[",
    "|",
    "2001-99-99",
    "\x85",
    "\0",
]


@st.composite
def damaged(draw: st.DrawFn, text: str) -> str:
    for _ in range(draw(st.integers(0, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 20])))
        text = text[:start] + draw(st.sampled_from(TRICKS) | st.text(max_size=6)) + text[end:]
    return text


@cases(100, 10_000)
@given(damaged(ADMIN_CONF))
def test_a_kubeconfig_never_holds_more_than_it_should(text: str) -> None:
    try:
        taken = kubeconfig.checked(text, "demo", "192.168.1.10:6443")
    except ValueError as error:
        said = str(error)
        assert said.startswith(("it ", "its ", "a kubeconfig"))
        return
    data = yaml.safe_load(taken)
    (cluster,), (user,), (context,) = data["clusters"], data["users"], data["contexts"]
    assert cluster["cluster"].pop("server") == "https://192.168.1.10:6443"
    assert set(cluster["cluster"]) == {"certificate-authority-data"}
    assert set(user["user"]) == {"client-certificate-data", "client-key-data"}
    for value in (*cluster["cluster"].values(), *user["user"].values()):
        base64.b64decode(value, validate=True)
    assert context["context"] == {"cluster": "demo", "user": "demo-admin"}
    assert kubeconfig.checked(taken, "demo", "192.168.1.10:6443") == taken


class AnyTag(yaml.SafeLoader):
    """Reads also what has a tag that it does not know: other entries of a kubeconfig stay as they were written."""


AnyTag.add_constructor(None, lambda _loader, _node: None)


@cases(60, 5_000)
@given(damaged(ADMIN_CONF) | st.binary(max_size=100), st.booleans())
def test_an_operators_kubeconfig_is_changed_whole_or_not_at_all(
    tmp_path_factory: pytest.TempPathFactory, existing: str | bytes, merge: bool
) -> None:
    path = tmp_path_factory.getbasetemp() / "config"
    before = existing if isinstance(existing, bytes) else existing.encode("utf-8", "surrogatepass")
    path.write_bytes(before)
    ours = kubeconfig.checked(ADMIN_CONF, "demo", "192.168.1.10:6443")
    try:
        kubeconfig.save(ours, path, "demo", merge=merge)
    except KbootstrapError:
        assert path.read_bytes() == before
    else:
        saved = yaml.load(path.read_text(encoding="utf-8"), AnyTag)  # noqa: S506 - it makes no objects
        assert [entry for entry in saved["users"] if entry["name"] == "demo-admin"] == yaml.safe_load(ours)["users"]


# --- facts -----------------------------------------------------------------------------------------------------------

KEYS = "os_id os_version os_name os_like os_platform arch kernel uid cpus memory_kib disk_free_kib hostname machine_id"
KEYS += " product_uuid systemd cgroup2 selinux address mac route listening runtime has epoch admin_conf kubelet_conf"
KEYS += " manifests init_begun ca_sha256 kubelet_server apiserver_version complete nonsense"
LEAST = ["uid=0", "cpus=2", "memory_kib=2048", "disk_free_kib=4096", "epoch=5", "complete=1"]
FACTS = [
    "",
    "0",
    "1",
    "-1",
    "9" * 5000,
    "nan",
    "inf",
    "1e308",
    "0x1F",
    "1_0",
    "\u0663",
    "\u00b2",
    "centos",
    "7",
    "debian",
    "1.34.2",
]
FACTS += [
    "eth0 10.0.0.1/24",
    "eth0 fe80::1%eth0/64",
    "10.0.0.0/8 eth0",
    "default",
    "\x1b[31mred",
    "[bold]x[/bold]",
    "a: b",
]
FACTS += ["$(id)", "'; id; '", "1.34.2 -o APT::Update::Pre-Invoke::=id", "kube-apiserver:v", "\u202e", "a\tb"]


@cases(100, 10_000)
@given(st.lists(st.tuples(st.sampled_from(KEYS.split()), st.sampled_from(FACTS) | st.text(max_size=20)), max_size=12))
def test_false_facts_are_refused_or_found(made: Inventory, lies: list[tuple[str, str]]) -> None:
    lines = LEAST + [f"{key}={value}" for key, value in lies if "\n" not in value]
    try:
        facts = parse(lines, received_at=1.7e9)
    except KbootstrapError as error:
        said = error.message
    else:
        assert isinstance(facts, Facts)
        said = "".join(f.text + f.hint for f in findings(made, {"cp1": facts, "w1": parse(LEAST, received_at=1.7e9)}))
    assert printable(said) == said
    said.encode()


# --- text sent to a host ---------------------------------------------------------------------------------------------


def wild_texts(number: int, seed: int) -> Iterator[str]:
    """Texts that could confuse a shell: its special characters, newlines, and characters of all Unicode planes."""
    source = random.Random(seed)  # noqa: S311 - reproducible, not secret
    signs = "'\"\\`$(){}[]<>|&;*?!#~%=^-+ \t\n\r\x01\x1b\x7f"
    special = [
        "$(id)",
        "`id`",
        "'",
        "''",
        "\\'",
        "\\",
        "\n",
        "\n\n",
        "-n",
        "-e",
        "%s",
        "EOF",
        "$HOME",
        "!!",
        "~root",
        "",
    ]
    for _ in range(number):
        parts = []
        for _ in range(source.randrange(12)):
            kind = source.randrange(4)
            if kind == 0:
                parts.append(source.choice(special))
            elif kind == 1:
                parts.append(source.choice(signs))
            else:
                # A variable cannot hold NUL, and surrogates are not characters.
                code = source.randrange(1, source.choice([0x80, 0x800, 0x10000, sys.maxunicode + 1]))
                parts.append("" if 0xD800 <= code <= 0xDFFF else chr(code))
        yield "".join(parts)


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("seed", range(count(1, 20)))
def test_any_text_survives_the_shell(shell: str, seed: int) -> None:
    texts = list(wild_texts(5000, seed))
    script = "".join(f"V={quote(text)}\nprintf '%s\\0' \"$V\"\n" for text in texts)
    said = subprocess.run([shell], input=script.encode(), capture_output=True, check=True)
    assert said.stderr == b""
    heard = said.stdout.split(b"\0")[:-1]
    assert len(heard) == len(texts)
    assert [(text, back) for text, back in zip(texts, heard, strict=True) if text.encode() != back] == []
