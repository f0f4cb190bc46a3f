"""The JSON Schema says what the loader says: checked with a validator that knows nothing of kbootstrap."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from click.testing import CliRunner
from support.examples import ROOT, document

from kbootstrap.cli import cli
from kbootstrap.inventory.schema import json_schema
from kbootstrap.inventory.source import read
from kbootstrap.inventory.validation import validated

WHOLE = json_schema()
SCHEMA = jsonschema.Draft202012Validator(WHOLE)

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 7, 22, 70000, 1.5, 12345678901234567890),
    *("", " ", "a", "A", "a b", "a\tb", "yes", "true"),
    *("10.0.0.1", "10.0.0.256", "010.0.0.1", "10.0.0", "10.0.0.1:22", "root@10.0.0.1", "10.0.0.0/16", "10.0.0.0/33"),
    *("fd00::1", "fd00::/64", "a.example.com", "a_b", "-a", "a-", "a.example.com:6443", "a:0", "a:65536", ":6443"),
    *("http://a", "https://a.example/b?c=d", "ftp://a", "http://u:p@a", 'https://a/"', "~/.ssh/id_rsa", "key=value"),
    *("a=b:NoSchedule", "a:NoExecute", "a=b", "a=b:Never", "example.com/a", "/a", "x" * 64, "x" * 254, "x" * 2001),
    *("1.34", "v1.34.2", "1.4", "1.99", "2.0", "1.34.x", "latest", "master", "worker", "control-plane", "Worker"),
    *("containerd", "docker", "flannel", "calico", "vxlan", "none", "aliyun", "vault", "keep", "chrony", "ignore"),
    *("password", "passwordless", "strict", "accept-new", "disable", "open-ports", "permissive", "memory", "swap"),
    *("SHA256:" + "A" * 43, "SHA256:A", "A" * 40, "ab" * 20, "ab cd " * 10, "*.example.com", ".example.com", "*"),
    *([], ["a"], ["10.0.0.1"], ["http://a"], ["memory"], ["A" * 40], [1], [None], [[]], [{}], ["a", "a:1"]),
    *({}, {"a": "b"}, {"a": 1}, {"a": True}, {"a": None}, {"a": []}, {"A B": "c"}, {"docker.io": ["http://a"]}),
    *({"name": "containerd"}, {"name": "flannel"}, {"kind": "KubeletConfiguration"}, {"unknown": 1}, {"x-own": 1}),
)


def places(schema: dict[str, Any], seen: set[str], place: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key of every section, as a path; a member of a list is ``0``. A section that is used twice counts once."""
    for part in (schema, *schema.get("anyOf", [])):
        name = part.get("$ref", "").rpartition("/")[2]
        if name and name not in seen:
            seen.add(name)
            yield from places(WHOLE["$defs"][name], seen, place)
        for key, inner in part.get("properties", {}).items():
            yield (*place, key)
            yield from places(inner, seen, (*place, key))
        if isinstance(part.get("items"), dict):
            yield (*place, "0")
            yield from places(part["items"], seen, (*place, "0"))


def changed(place: tuple[str, ...], value: Any) -> Any:
    """A good inventory with another value at a place."""
    data: Any = document()
    inner = data
    for key, following in itertools.pairwise(place):
        if key == "0":
            inner = inner[0]
            continue
        empty: Any = [{}] if following == "0" else {}
        if key == "bastions" and following == "0":
            empty = [{"address": "10.0.0.9"}]
        inner = inner.setdefault(key, empty)
    inner[0 if place[-1] == "0" else place[-1]] = value
    return data


def accepted(folder: Path, data: Any) -> bool:
    """Whether the loader takes it, apart from what it compares across keys."""
    file = folder / "inventory.yaml"
    file.write_text(json.dumps(data), encoding="utf-8")
    source = read(file, {})
    return validated(source) is not None and not source.problems


def test_loader_and_schema_agree_on_every_value_of_every_key(tmp_path: Path) -> None:
    found = sorted(set(places(WHOLE, set())))
    assert len(found) > 70
    tried = {True: 0, False: 0}
    different = []
    for place in found:
        for value in VALUES:
            data = changed(place, value)
            taken = accepted(tmp_path, data)
            tried[taken] += 1
            if taken != SCHEMA.is_valid(data):
                different.append(f"{'.'.join(place)}: {value!r} is {'taken' if taken else 'refused'} by the loader")
    assert not different
    assert min(tried.values()) > 500


@pytest.mark.parametrize("path", sorted((ROOT / "inventories").glob("*.yaml")), ids=lambda path: path.name)
def test_the_samples_are_valid(path: Path) -> None:
    SCHEMA.validate(yaml.safe_load(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize(
    "arguments",
    [
        ("10.0.0.1",),
        ("root@10.0.0.1:2222", "ops@10.0.0.2", "10.0.0.3"),
        ("--control-planes", "3", "--kubernetes", "1.30.2", "--name", "prod", *(f"10.0.0.{n}" for n in range(1, 6))),
    ],
)
def test_what_init_writes_is_valid_and_names_the_schema(arguments: tuple[str, ...]) -> None:
    ended = CliRunner().invoke(cli, ["init", "-f", "-", *arguments])
    assert ended.exit_code == 0
    SCHEMA.validate(yaml.safe_load(ended.stdout))
    assert ended.stdout.startswith("# yaml-language-server: $schema=https://")


def test_the_authors_own_keys_and_no_others(tmp_path: Path) -> None:
    for key, wanted in (("x-mine", True), ("X-mine", False), ("mine", False)):
        data = {**document(), key: {"a": [1]}}
        assert (accepted(tmp_path, data), SCHEMA.is_valid(data)) == (wanted, wanted)
