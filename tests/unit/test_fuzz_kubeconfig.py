"""A host's kubeconfig brings nothing but credentials, and the operator's keeps every entry that is not ours."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import event, given, reject
from hypothesis import strategies as st
from support.examples import admin_conf
from support.fuzzing import cases, count

from kbootstrap.errors import KbootstrapError
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.text import printable

ENDPOINT = "192.168.1.10:6443"
ADMIN_CONF = admin_conf("T1VSUw==", ENDPOINT)
SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}


# --- a kubeconfig from a host ----------------------------------------------------------------------------------------

LINES = [
    "    server: https://evil:6443",
    f"    server: https://{ENDPOINT}@evil:6443",
    f"    server: https://{ENDPOINT}/",
    f"    server: HTTPS://{ENDPOINT}",
    f"    server: http://{ENDPOINT}",
    "    Server: https://evil:6443",
    "    proxy-url: http://evil",
    "    insecure-skip-tls-verify: true",
    "    tls-server-name: evil",
    "    certificate-authority: /etc/passwd",
    "    certificate-authority-data: RVZJTA==",
    "    client-key: /etc/passwd",
    "    client-key-data: x",
    "    tokenFile: /etc/passwd",
    "    token: x",
    "    exec:",
    "      command: sh",
    "      apiVersion: client.authentication.k8s.io/v1",
    "      args: x",
    "    auth-provider:",
    "      name: oidc",
    "- cluster:",
    "- name: evil",
    "  name: evil",
    "  user:",
    "users:",
    "clusters:",
    "contexts:",
    "exec: {}",
    "",
    "---",
    "...",
    "# exec:",
]
ODD = st.characters(exclude_categories=["Cs"]) | st.sampled_from(list("\x85\u2028\ufeff\0\t\r '\"#:-&*!|>{}[]%@`,?"))


@st.composite
def hosts_answers(draw: st.DrawFn) -> str:
    """An admin.conf with lines that are removed, repeated, moved, indented anew, or of a kubeconfig that does harm."""
    lines = ADMIN_CONF.splitlines()
    for _ in range(draw(st.integers(0, 5))):
        if not lines:
            break
        at = draw(st.integers(0, len(lines) - 1))
        what = draw(st.sampled_from(["insert", "insert", "replace", "remove", "move", "repeat", "indent", "letter"]))
        if what == "insert":
            lines.insert(at, draw(st.sampled_from(LINES)))
        elif what == "replace":
            lines[at] = draw(st.sampled_from(LINES))
        elif what == "remove":
            del lines[at]
        elif what == "move":
            lines.insert(draw(st.integers(0, len(lines))), lines.pop(at))
        elif what == "repeat":
            end = draw(st.integers(at, min(len(lines), at + 8)))
            lines[at:at] = lines[at:end] * draw(st.sampled_from([1, 1, 2, 300]))
        elif what == "indent":
            lines[at] = " " * draw(st.sampled_from([0, 2, 4, 6, 3000])) + lines[at].lstrip()
        else:
            place = draw(st.integers(0, len(lines[at])))
            lines[at] = lines[at][:place] + draw(ODD) + lines[at][place + draw(st.integers(0, 1)) :]
    return "\n".join(lines) + draw(st.sampled_from(["\n", "\n", "", "\n\n", "\r\n"]))


@cases(30, 10_000)
@given(hosts_answers())
def test_a_hosts_kubeconfig_is_rebuilt_from_credentials_alone_or_refused(text: str) -> None:
    begun = time.process_time()
    try:
        taken = kubeconfig.checked(text, "demo", ENDPOINT)
    except ValueError as error:
        taken, said = "", str(error)
        assert len(said) < 1000
    assert time.process_time() - begun < 5
    event("refused" if not taken else "taken")
    if taken:
        cluster, user, context = (
            entry(yaml.BaseLoader(taken).get_single_data(), section) for section in ("clusters", "users", "contexts")
        )
        assert set(cluster) == {"certificate-authority-data", "server"}
        assert cluster["server"].lower() == f"https://{ENDPOINT}"
        assert set(user) == {"client-certificate-data", "client-key-data"}
        assert context == {"cluster": "demo", "user": "demo-admin"}
        assert set(yaml.safe_load(taken)) == {"apiVersion", "kind", "current-context", *SECTIONS}
        for word in ("exec", "auth-provider", "proxy-url", "evil", "token", "insecure"):
            assert word not in taken


def entry(data: Any, section: str) -> Any:
    (only,) = data[section]
    assert set(only) == {"name", SECTIONS[section]}
    return only[SECTIONS[section]]


# --- the operator's kubeconfig ---------------------------------------------------------------------------------------

WORDS = [
    "",
    "~",
    "null",
    "yes",
    "1.30",
    "0x1F",
    "1e5",
    "2001-01-01",
    "=",
    "<<",
    "<",
    "- a",
    "a: b",
    "#",
    "'",
    "|",
    "!a",
]
WORDS += [
    "demo",
    "demo-admin",
    "kubernetes-admin",
    "prod",
    "https://10.0.0.1:6443",
    "T1VSUw==",
    "VEhFSVJT",
    "\u00fc\u20ac",
]
WORDS += [
    "a\nb\n",
    "\n",
    " a\n b",
    "a\n\n\nb ",
    "\ta",
    "a ",
    " ",
    "x" * 300,
    "word " * 60,
    "\U0001f600",
    "\x85",
    "\u2028x",
]
TEXT = st.sampled_from(WORDS) | st.text(max_size=12)
LEAF = TEXT | st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | st.binary(max_size=4)
INNER = LEAF | st.lists(LEAF, max_size=2) | st.dictionaries(TEXT, LEAF, max_size=2)
VALUE = LEAF | st.lists(INNER, max_size=2) | st.dictionaries(TEXT, INNER, max_size=2)
NAME = st.sampled_from(["prod", "demo", "demo-admin", "test", "kubernetes-admin", "1", "~"]) | TEXT


def entries(inner: str) -> st.SearchStrategy[list[dict[str, Any]]]:
    keys = st.sampled_from(["server", "certificate-authority-data", "token", "exec", "proxy-url", "extensions"]) | TEXT
    made = st.fixed_dictionaries({"name": NAME, inner: st.dictionaries(keys, VALUE, max_size=3)})
    return st.lists(
        made | st.builds(lambda one, more: {**more, **one}, made, st.dictionaries(TEXT, LEAF, max_size=2)), max_size=3
    )


CONFIG = st.fixed_dictionaries(
    {"clusters": entries("cluster")},
    optional={
        "users": entries("user") | st.none(),
        "contexts": entries("context") | st.none(),
        "current-context": NAME | st.none(),
        "apiVersion": TEXT,
        "kind": TEXT,
        "preferences": VALUE,
        "extensions": VALUE,
    },
)
FORM = st.fixed_dictionaries(
    {},
    optional={
        "default_style": st.sampled_from(["'", '"', "|", ">"]),
        "default_flow_style": st.booleans(),
        "canonical": st.booleans(),
        "indent": st.integers(2, 8),
        "width": st.sampled_from([20, 80, 10_000]),
        "allow_unicode": st.booleans(),
        "explicit_start": st.booleans(),
        "explicit_end": st.booleans(),
        "version": st.just((1, 1)),
        "tags": st.just({"!e!": "tag:example.com,2000:"}),
        "sort_keys": st.booleans(),
    },
)
BITS = [
    "\n",
    "  ",
    "- ",
    ": ",
    "'",
    '"',
    "{",
    "}",
    "[",
    "]",
    "|\n",
    ">-\n",
    "|2\n",
    "# x\n",
    "&a ",
    "*a",
    "<<: *a\n",
    "!x ",
]
BITS += ["!!binary ", "!!str ", "? ", "---\n", "...\n", "%YAML 1.2\n", "\t", "\r\n", "\ufeff", "~", "null", "[" * 300]
BITS += ["  name: demo\n", "clusters: &a\n", "users: *a\n", "users: null\n", "current-context: ~\n", "a: &a [*a]\n"]
HANDWRITTEN = """\
# mine
apiVersion: v1
kind: Config
shared: &shared {exec: {command: aws, args: [eks, get-token, --region, 'eu'], env: null}}
clusters:
- name: prod   # the big one
  cluster: &prod
    server: "https://prod:6443"
    certificate-authority-data: >-
      VEhF
      SVJT
- {name: 'old', cluster: {<<: *prod, insecure-skip-tls-verify: yes}}
users:
- name: prod
  user: *shared
- name: "demo-other"
  user:
    token: |
      line 1

        line 2
    password: 0123
contexts: [{name: prod, context: {cluster: prod, user: prod, namespace: "1"}}]
current-context: prod
"""


def dumped(data: Any, form: dict[str, Any]) -> str:
    return str(yaml.safe_dump(data, **form))


@st.composite
def damaged(draw: st.DrawFn, files: st.SearchStrategy[str], least: int) -> str:
    """A kubeconfig with a few parts overwritten."""
    text = draw(files)
    for _ in range(draw(st.sampled_from([least, least, 1, 2, 3]))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 20])))
        other = draw(st.integers(0, len(text)))
        new = draw(st.sampled_from(BITS) | st.text(max_size=4) | st.just(text[other : other + 60]))
        text = text[:start] + new + text[end:]
    return text


OURS = kubeconfig.checked(ADMIN_CONF, "demo", ENDPOINT)
OUR_NAMES = {"clusters": "demo", "users": "demo-admin", "contexts": "demo"}
WHOLE = yaml.BaseLoader(OURS).get_single_data()


def plain(node: Any, seen: tuple[int, ...] = ()) -> Any:
    """A node as its tags and values, without anchors and styles."""
    if isinstance(node, yaml.ScalarNode):
        return node.tag, node.value
    assert id(node) not in seen, "no entry of a loadable file has itself in it"
    seen += (id(node),)
    if isinstance(node, yaml.SequenceNode):
        return node.tag, [plain(child, seen) for child in node.value]
    return node.tag, [(plain(key, seen), plain(value, seen)) for key, value in node.value]


def kept(text: str) -> dict[str, Any]:
    """What a file has beside our entries: each value with its type."""
    root = yaml.compose(text, yaml.SafeLoader)
    found = {key.value: value for key, value in root.value} if root else {}
    result = {key: plain(value) for key, value in found.items() if key not in (*SECTIONS, "current-context")}
    for section, name in OUR_NAMES.items():
        entries = found[section].value if isinstance(found.get(section), yaml.SequenceNode) else []
        result[section] = [plain(one) for one in entries if named(one) != name]
    current = plain(found["current-context"])[1] if "current-context" in found else ""
    return {**result, "current-context": "demo" if current in ("", "null", "~") else current}


def named(one: yaml.MappingNode) -> str:
    """The name of an entry. No loader agrees with another about one with two names, so such files are not tried."""
    names = [str(value.value) for key, value in one.value if key.value == "name"]
    if len(names) != 1:
        reject()
    return names[0]


NONE = kept(OURS)
"""A file of ours alone."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kubeconfigs")


TWICE = st.sampled_from([False] * 7 + [True])


# Each case takes PyYAML 20 ms, so that the 10,000 are in two tests.
@cases(10, 5_000)
@given(damaged(st.builds(dumped, CONFIG, FORM), 0), TWICE)
def test_merging_keeps_every_other_entry_in_any_style(folder: Path, text: str, twice: bool) -> None:
    merge(folder, text, twice)


@cases(10, 5_000)
@given(damaged(st.just(HANDWRITTEN), 1), TWICE)
def test_merging_keeps_every_other_entry_of_a_file_written_by_hand(folder: Path, text: str, twice: bool) -> None:
    merge(folder, text, twice)


def merge(folder: Path, text: str, twice: bool) -> None:
    """Every entry that is not ours is kept value for value, or the file stays as it is."""
    path = folder / "config"
    before = text.encode("utf-8", "surrogatepass")
    path.write_bytes(before)
    begun = time.process_time()
    try:
        kubeconfig.save(OURS, path, "demo", merge=True)
    except KbootstrapError as error:
        said = error.message
        assert path.read_bytes() == before
        assert printable(said) == said
        event("refused")
        return
    finally:
        assert time.process_time() - begun < 10
        assert [each.name for each in folder.iterdir()] == ["config"]
    event("merged")
    saved = path.read_bytes().decode("utf-8")
    others = kept(saved)
    assert others == {**NONE, **kept(text)}
    data = yaml.BaseLoader(saved).get_single_data()
    for section, name in OUR_NAMES.items():
        assert [one for one in data[section] if one["name"] == name] == WHOLE[section]
        assert len(data[section]) == len(others[section]) + 1
    if twice:
        kubeconfig.save(OURS, path, "demo", merge=True)
        assert kept(path.read_text(encoding="utf-8")) == others


@pytest.mark.parametrize("depth", range(0, 400, count(50, 1)))
def test_nesting_of_any_depth_is_kept_or_refused(folder: Path, depth: int) -> None:
    """The parser, the constructor and the writer of YAML end at different depths."""
    path = folder / "config"
    path.write_text(f"clusters: []\nextensions: {'[' * depth}{']' * depth}\n")
    before = path.read_bytes()
    try:
        kubeconfig.save(OURS, path, "demo", merge=True)
    except KbootstrapError:
        assert path.read_bytes() == before
    else:
        assert yaml.BaseLoader(path.read_bytes()).get_single_data()["users"]
