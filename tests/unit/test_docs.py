"""The pages: what they link to is there, and the picture is one that any viewer shows."""

from __future__ import annotations

from pathlib import Path

import generate_docs
import pytest
from support.examples import ROOT


def test_every_link_and_image_of_the_pages_leads_somewhere() -> None:
    assert list(generate_docs.dead_links()) == []


def test_a_dead_link_or_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "there.md").write_text("[up](../README.md#a-part) [out](https://example.com/x)")
    (tmp_path / "README.md").write_text("![picture](docs/images/none.svg) [a](docs/there.md) [b](docs/gone.md#x)")
    monkeypatch.setattr(generate_docs, "DOCS", docs)
    assert list(generate_docs.dead_links()) == [
        "README.md: there is no docs/images/none.svg",
        "README.md: there is no docs/gone.md",
    ]


def test_the_picture_is_small_and_fetches_nothing() -> None:
    text = (ROOT / "docs/images/up.svg").read_text()
    assert len(text) < 100_000
    assert "url(" not in text.replace("url(#", "")
    assert "4&#160;of&#160;4&#160;nodes&#160;Ready" in text
