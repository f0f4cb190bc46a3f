"""The documentation: links have targets, and every viewer can show the picture."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import generate_docs
import pytest
from support.examples import ROOT

from kbootstrap.inventory import mirrors

_FENCE = re.compile(r"^ *```.*?^ *```$", re.DOTALL | re.MULTILINE)
_LINK = re.compile(r"\]\(([^)\s]+)[^)]*\)")
_HEADING = re.compile(r"^#{1,6} +(.+?) *#*$", re.MULTILINE)


def pages(root: Path) -> Iterator[Path]:
    """Every Markdown page below the folder, without virtual environments, caches and builds."""
    for folder, folders, names in os.walk(root):
        folders[:] = [
            name for name in folders if name == ".github" or not name.startswith((".", "build", "node_modules"))
        ]
        yield from (Path(folder, name) for name in names if name.endswith(".md"))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes from the headings of a page."""
    found: list[str] = []
    for heading in _HEADING.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
        text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", text).replace(" ", "-")
        repeated = sum(1 for other in found if re.fullmatch(re.escape(slug) + r"(-\d+)?", other))
        found.append(f"{slug}-{repeated}" if repeated else slug)
    return set(found)


def broken_links(root: Path) -> Iterator[str]:
    """Relative links of all pages whose file or anchor does not exist."""
    for page in sorted(pages(root)):
        for target in _LINK.findall(_FENCE.sub("", page.read_text(encoding="utf-8"))):
            path, _, anchor = target.partition("#")
            file = page.parent / path if path else page
            if "://" in target or target.startswith("mailto:"):
                continue
            if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
                yield f"{page.relative_to(root)}: {target}"


def test_every_link_and_anchor_of_every_page_exists() -> None:
    assert list(broken_links(ROOT)) == []


def test_a_broken_link_or_anchor_is_named(tmp_path: Path) -> None:
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv/other.md").write_text("[a](gone.md)")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text(
        "# What it does, and *why*\n[up](../README.md#a-part) [here](#again-1) [x](https://example.com/x#y)\n"
        "## Again\n## Again\n```sh\n# no heading\n[a](no-link.md)\n```\n"
    )
    (tmp_path / "README.md").write_text(
        "# A `part`\n[a](docs/there.md#what-it-does-and-why) [b](docs/there.md#no-heading)\n"
        "![c](gone.svg) [d](#a) [e](docs)"
    )
    assert list(broken_links(tmp_path)) == [
        "README.md: docs/there.md#no-heading",
        "README.md: gone.svg",
        "README.md: #a",
    ]


def test_the_examples_of_the_library_page_are_python() -> None:
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "docs/library.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) >= 5
    for text in examples:
        compile(text, "docs/library.md", "exec")


def test_every_link_and_image_of_the_pages_has_a_file() -> None:
    assert list(generate_docs.dead_links()) == []


def test_a_dead_link_or_image_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    docs = tmp_path / "docs"
    docs.mkdir()
    (docs / "there.md").write_text("[up](../OTHER.md#a-part) [out](https://example.com/x)")
    (tmp_path / "OTHER.md").write_text("![picture](docs/images/none.svg) [a](docs/there.md) [b](docs/gone.md#x)")
    monkeypatch.setattr(generate_docs, "DOCS", docs)
    assert list(generate_docs.dead_links()) == [
        "OTHER.md: there is no docs/images/none.svg",
        "OTHER.md: there is no docs/gone.md",
    ]


def test_links_of_a_readme_are_absolute_and_lead_to_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = generate_docs.HOME
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/there.md").write_text("")
    (tmp_path / "README.md").write_text(
        f"[a](docs/there.md) [b](#part) [c][there] [d][none] [e]({home}/blob/main/docs/gone.md#x) [f](https://kubernetes.io)\n"
        f"[there]: {home}/blob/main/docs/there.md\n[picture]: {home}/raw/main/docs/up.svg\n"
    )
    monkeypatch.setattr(generate_docs, "DOCS", tmp_path / "docs")
    assert list(generate_docs.dead_links()) == [
        "README.md: the link docs/there.md is relative, so it is dead on PyPI",
        "README.md: there is no docs/gone.md",
        "README.md: there is no docs/up.svg",
    ]
    assert list(generate_docs.undefined_links()) == [
        "README.md: the link none is used and not defined",
        "README.md: the link picture is defined and not used",
    ]


READMES = ("README.md", "README.zh-CN.md")


def parts(text: str) -> dict[str, list[Any]]:
    """What both languages have: commands, sections with their table rows and numbered steps, and links."""
    # The Chinese README goes through the mirrors in a section of the third level.
    text = re.sub(r"^### .*?(?=^## )", "", text, flags=re.DOTALL | re.MULTILINE)
    sections = re.split(r"^## .*$", text, flags=re.MULTILINE)
    return {
        "commands": re.findall(r"^ *```\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE),
        "rows": [section.count("\n|") for section in sections],
        "steps": [len(re.findall(r"^[0-9]\. ", section, re.MULTILINE)) for section in sections],
        "links": sorted(set(generate_docs.DEFINED.findall(text)) - set(READMES)),
    }


def test_the_readmes_of_both_languages_are_kept_together() -> None:
    english, chinese = ((ROOT / name).read_text(encoding="utf-8") for name in READMES)
    assert parts(english) == parts(chinese)
    assert len(parts(english)["commands"]) >= 5
    assert "[README.zh-CN.md]" in english.partition("##")[0]
    assert "[README.md]" in chinese.partition("##")[0]


def test_the_chinese_readme_has_the_addresses_of_the_mirrors() -> None:
    text = (ROOT / "README.zh-CN.md").read_text(encoding="utf-8")
    for name in ("aliyun", "tsinghua"):
        preset = mirrors.PRESETS[name]
        addresses = [preset["package_repository"], preset["runtime"]["package_repository"]]
        addresses += [mirrors.OS_REPOSITORIES[name], preset["image_repository"], preset["network"]["image_repository"]]
        assert {address for address in addresses if f"`{address}`" not in text} == set()


def test_the_picture_is_small_and_fetches_nothing() -> None:
    text = (ROOT / "docs/images/up.svg").read_text()
    assert len(text) < 100_000
    assert "url(" not in text.replace("url(#", "")
    assert "4&#160;of&#160;4&#160;nodes&#160;Ready" in text
