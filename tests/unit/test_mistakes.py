"""What newcomers get wrong (mistakes.yaml): every mistake is one mistake, at its line, with the sentence that helps."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner
from support.examples import document, written

from kbootstrap.cli import cli
from kbootstrap.errors import InventoryError, KbootstrapError
from kbootstrap.inventory import load

TABLE = yaml.safe_load(Path(__file__).with_name("mistakes.yaml").read_text(encoding="utf-8"))
LIST = re.compile(r"(.*)\[(\d+)\]")


def parts(place: str) -> list[str | int]:
    found: list[str | int] = []
    for part in place.split("."):
        match = LIST.fullmatch(part)
        found += [part] if match is None else [match[1], int(match[2])]
    return found


def section(data: Any, path: list[str | int]) -> Any:
    """The section that holds the last key of a path. A section that is missing is made."""
    for key in path[:-1]:
        data = data[key] if isinstance(key, int) else data.setdefault(key, {})
    return data


def refused(folder: Path, data: object) -> str:
    with pytest.raises(InventoryError) as error:
        load(written(folder, data), env={})
    assert error.value.exit_code == 2
    return error.value.message.replace(f"{folder}/", "")


def test_there_are_many() -> None:
    assert sum(map(len, TABLE.values())) >= 220


@pytest.mark.parametrize(("place", "value", "words"), TABLE["values"], ids=lambda part: str(part)[:40])
def test_a_wrong_value(tmp_path: Path, place: str, value: object, words: str) -> None:
    data = document()
    section(data, parts(place))[parts(place)[-1]] = copy.deepcopy(value)
    said = refused(tmp_path, data)
    assert said.startswith("the inventory has 1 mistake:\n  inventory.yaml:")
    assert words in said
    assert re.search(rf":\d+: {re.escape(place)}|:\d+: hosts", said)


@pytest.mark.parametrize(("place", "written_as", "words"), TABLE["keys"], ids=lambda part: str(part)[:40])
def test_a_wrong_key(tmp_path: Path, place: str, written_as: str, words: str) -> None:
    data = document()
    *_, right = path = parts(place)
    holder = section(data, path)
    content = holder.pop(right)
    holder[written_as] = content
    said = refused(tmp_path, data)
    assert said.startswith("the inventory has 1 mistake:\n")
    assert words in said


@pytest.mark.parametrize(("text", "line", "words"), TABLE["files"], ids=lambda part: str(part)[:40])
def test_a_wrong_file(tmp_path: Path, text: str, line: int, words: str) -> None:
    said = refused(tmp_path, text)
    assert "hunter2" not in said
    assert f"inventory.yaml:{line}: " in said
    assert words in said


@pytest.mark.parametrize(("arguments", "exit_code", "words"), TABLE["commands"], ids=lambda part: str(part)[:40])
def test_a_wrong_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], exit_code: int, words: str
) -> None:
    monkeypatch.chdir(tmp_path)
    good = yaml.safe_dump(document(), sort_keys=False)
    (tmp_path / "good.yaml").write_text(good, encoding="utf-8")
    (tmp_path / "bad.yaml").write_text("cluster:\n  kubernets: '1.34'\nhosts: []\n", encoding="utf-8")
    ended = CliRunner().invoke(cli, arguments)
    error = ended.exception
    assert isinstance(error, (KbootstrapError, SystemExit)), "main() shows these as text"
    code, said = ended.exit_code, ended.output
    if isinstance(error, KbootstrapError):
        code, said = error.exit_code, f"{error.message}\n{error.hint}"
    assert code == exit_code
    assert words in said
    assert (tmp_path / "good.yaml").read_text(encoding="utf-8") == good
