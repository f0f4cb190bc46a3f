"""An inventory of any bytes is loaded, or refused by one kind of error, in a bounded time and with a bounded text."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import yaml
from hypothesis import event, given
from hypothesis import strategies as st
from support.examples import document
from support.fuzzing import cases

from kbootstrap.errors import InventoryError
from kbootstrap.inventory import load
from kbootstrap.inventory.models import Inventory
from kbootstrap.text import printable

FULL_DOCUMENT = document(
    3, 1, control_plane_endpoint="192.168.1.100:6443", kubeadm={"extra_args": {"kubelet": {"v": "2"}}}
)
FULL_DOCUMENT["ssh"] = {"user": "root", "password": "${env:KB_X}", "port": 22, "sudo_password": "${file:secret}"}
VALID = [
    yaml.safe_dump(document()).encode(),
    yaml.safe_dump(document(), default_flow_style=True).encode(),
    yaml.safe_dump(FULL_DOCUMENT, sort_keys=False).encode(),
    yaml.safe_dump(FULL_DOCUMENT, default_style='"').encode(),
]


def bomb(levels: int) -> bytes:
    """Aliases that stand for nine others each."""
    lines = ["a0: &a0 [x]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(["", *lines, ""]).encode()


PIECES = [
    b"\n",
    b"\r\n",
    b"\r",
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\xed\xa0\x80",
    b"\xc3",
    b"\xc2\x85",
    b"\x1b[",
]
PIECES += [
    b"  ",
    b"\t",
    b"- ",
    b": ",
    b"? ",
    b"{",
    b"}",
    b"[",
    b"]",
    b"'",
    b'"',
    b"&a ",
    b"*a",
    b"<<: *a\n",
    b"|\n",
    b"#",
]
PIECES += [
    b"!!python/object/apply:os.system [id]",
    b"!!set ",
    b"!!timestamp ",
    b"---\n",
    b"...\n",
    b"%YAML 9.9\n",
    b"~",
]
PIECES += [b"${env:KB_X}", b"${env:HOME}", b"${file:/etc/hostname}", b"${file:.}", b"\xe2\x80\xae", b"\xf0\x9f\x98\x80"]
PIECES += [
    b"[" * 500,
    b"- " * 400,
    b"? " * 300,
    bomb(3),
    bomb(12),
    b"x" * 5000,
    b"9" * 5000,
    b"1:" * 400 + b"1",
    b"a, " * 500,
]


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid inventory whose bytes are flipped, removed, repeated, overwritten, moved, cut or of another encoding."""
    text = draw(st.sampled_from(VALID))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.sampled_from([0, 0, 1, 1, 8, 80])))
        what = draw(st.sampled_from(["flip", "piece", "piece", "piece", "bytes", "copy", "move", "repeat"]))
        new = b""
        if what == "flip" and start < len(text):
            end = start + 1
            new = bytes([text[start] ^ 1 << draw(st.integers(0, 7))])
        elif what == "piece":
            new = draw(st.sampled_from(PIECES))
        elif what == "bytes":
            new = draw(st.binary(max_size=4))
        elif what == "copy":
            other = draw(st.integers(0, len(text)))
            new = text[other : other + 60]
        elif what == "move":
            text, new = text[:start] + text[end:], text[start:end]
            start = end = draw(st.integers(0, len(text)))
        elif what == "repeat":
            new = text[start:end] * draw(st.sampled_from([2, 2, 30]))
        text = text[:start] + new + text[end:]
    last = draw(st.sampled_from(["", "", "", "", "", "", "cut", "utf-16", "latin-1"]))
    if last == "cut":
        return text[: draw(st.integers(0, len(text)))]
    return text.decode("utf-8", "replace").encode(last, "replace") if last else text


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("inventories")
    (made / "secret").write_text("hush-hush\n")
    return made


def test_the_inventories_are_good_before_they_are_damaged(folder: Path) -> None:
    for text in VALID:
        (folder / "inventory.yaml").write_bytes(text)
        assert load(folder / "inventory.yaml", env={"KB_X": "hush-hush"}).hosts


@cases(30, 10_000)
@given(damaged(), st.booleans())
def test_any_bytes_are_an_inventory_or_one_clear_error(folder: Path, content: bytes, trusted: bool) -> None:
    path = folder / "inventory.yaml"
    path.write_bytes(content)
    begun = time.process_time()
    try:
        made = load(path, env={"KB_X": "hush-hush", "HOME": "kept private"}, trusted=trusted)
    except InventoryError as error:
        said = error.message + (error.hint or "")
        event("refused")
    else:
        assert isinstance(made, Inventory)
        said = "".join(made._warnings)
        event("loaded")
    assert time.process_time() - begun < 10
    assert printable(said) == said
    said.encode()
    assert len(said) < 10_000 + 50 * len(content)
    assert "kept private" not in said
    assert "hush-hush" not in said
    assert path.read_bytes() == content
