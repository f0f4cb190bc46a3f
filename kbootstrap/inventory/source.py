"""Reads an inventory file: YAML with line numbers, without duplicate keys, with secrets from variables and files.

Problems are collected and not raised one by one; ``kbootstrap.inventory.load`` shows them all.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.yaml_mistakes import not_yaml
from kbootstrap.plain_file import read_plain

MAX_BYTES = 4 * 1024 * 1024
MAX_NODES = 200_000
"""Limits for a file and for its number of nodes with aliases resolved: nested aliases grow exponentially."""

MAX_SECRET_BYTES = 64 * 1024
ENV_PREFIX = "KB_"
_TRUST = "--trust-inventory allows it: its hosts get the secret"

MAX_NUMBER = 200
"""The longest number or date, in characters."""

SECRET_KEYS = frozenset({"password", "passphrase", "sudo_password"})

KeyPath = tuple[str | int, ...]
_STRING = "tag:yaml.org,2002:str"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"

EXTENSION = "x-"
"""Top-level keys that begin so are the author's: a place for anchors, not read."""
_REFERENCE = re.compile(r"\$\{(env|file):([^}]*)\}\Z")


@dataclass(frozen=True)
class Problem:
    """One mistake: where it is (``place`` is the key path, ``line`` and ``column`` count from 1) and what it is."""

    line: int
    column: int
    place: KeyPath
    text: str


@dataclass
class Source:
    """A file as plain data; ``marks`` has the line and the column of every key path, counted from 1."""

    path: Path
    data: Any = None
    marks: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    clear_secrets: list[KeyPath] = field(default_factory=list)

    def add(self, place: KeyPath, text: str) -> None:
        """Add a mistake, at a key path or at the nearest path above it that is in the file."""
        near = place
        while near and near not in self.marks:
            near = near[:-1]
        self.problems.append(Problem(*self.marks.get(near, (1, 1)), place, text))

    def mistakes(self) -> list[Problem]:
        """The mistakes in the order of the file. One in a part that aliases repeat is one mistake."""
        found: dict[tuple[int, int, str], Problem] = {}
        for problem in sorted(self.problems, key=lambda problem: (problem.line, str(problem.place))):
            found.setdefault((problem.line, problem.column, problem.text), problem)
        return list(found.values())


def read(path: Path, env: Mapping[str, str], *, trusted: bool = False) -> Source:
    """Read a file and resolve its aliases. Raises InventoryError when it is not readable or not YAML.

    Only a ``trusted`` file may name any variable of ``env`` and any file: a secret goes to the hosts of the inventory,
    and whoever wrote the inventory chose those.
    """
    source = Source(path)
    text = _text(path)
    try:
        root = compose(text)
        if root is not None:
            source.data = _Unfolder(source, env, trusted).value(root, ())
    except yaml.YAMLError as error:
        line, what = not_yaml(text, error)
        raise InventoryError(f"{path}:{line}: this is not YAML: {what}") from None
    except RecursionError:
        raise InventoryError(f"{path}: lists and mappings are nested too deeply") from None
    return source


def compose(text: str) -> yaml.Node | None:
    """The nodes of a YAML text. Raises yaml.YAMLError, or RecursionError when they are nested too deeply.

    libyaml, where installed, takes an eighth of the time. After an error the Python parser runs again, because its
    messages are better. Text with tabs always goes to the Python parser: libyaml accepts tabs that it refuses, and the
    result must not depend on the parser.
    """
    if yaml.__with_libyaml__ and "\t" not in text:

        class Loader(yaml.composer.Composer, yaml.CSafeLoader):
            """Events from libyaml, nodes from Python: the C composer crashes on deeply nested lists."""

            def __init__(self, stream: str) -> None:
                yaml.CSafeLoader.__init__(self, stream)
                yaml.composer.Composer.__init__(self)

        with contextlib.suppress(yaml.YAMLError, UnicodeEncodeError):
            return yaml.compose(text, Loader=Loader)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _text(path: Path) -> str:
    try:
        return read_plain(path, MAX_BYTES, pipes=True).decode("utf-8")
    except FileNotFoundError:
        raise InventoryError(
            f"{path}: there is no such file",
            "Write one with `kbootstrap init user@host...`. [inventory]",
        ) from None
    except UnicodeDecodeError as error:
        raise InventoryError(f"{path}: this is not UTF-8 text (byte {error.start})") from None
    except OSError as error:
        raise InventoryError(f"{path}: {error.strerror}") from None


def _key(node: yaml.Node) -> str | None:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _mark(node: yaml.Node) -> tuple[int, int]:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _whole(text: str) -> bool:
    """Whether the text has no lone surrogates. YAML escapes and non-UTF-8 variables make them; UTF-8 has none."""
    return not any("\ud800" <= char <= "\udfff" for char in text)


class _Unfolder:
    """Converts YAML nodes to plain data and records the line of every key path."""

    def __init__(self, source: Source, env: Mapping[str, str], trusted: bool) -> None:
        self._source = source
        self._env = env
        self._trusted = trusted
        self._nodes = 0
        self._open: set[int] = set()

    def value(self, node: yaml.Node, place: KeyPath) -> Any:
        self._source.marks.setdefault(place, _mark(node))
        with self._opened(node):
            if isinstance(node, yaml.ScalarNode):
                return self._scalar(node, place)
            if isinstance(node, yaml.SequenceNode):
                return [self.value(child, (*place, index)) for index, child in enumerate(node.value)]
            return self._mapping(node, place)

    @contextlib.contextmanager
    def _opened(self, node: yaml.Node) -> Iterator[None]:
        """Count a node, and refuse one that contains itself."""
        self._nodes += 1
        if self._nodes > MAX_NODES or id(node) in self._open:
            line = node.start_mark.line + 1
            raise InventoryError(f"{self._source.path}:{line}: YAML aliases expand to too much data")
        self._open.add(id(node))
        try:
            yield
        finally:
            self._open.discard(id(node))

    def _mapping(self, node: yaml.Node, place: KeyPath) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key_node, value_node in self._pairs(node, place):
            key = _key(key_node)
            if key is None or not _whole(key):
                template = isinstance(key_node, yaml.MappingNode)
                said = " (templates are not filled in here: {{ ... }})" if template else ""
                self._source.add(place, f"a key must be a plain word{said}")
                continue
            if not place and key.startswith(EXTENSION):
                continue
            inner = (*place, key)
            if key in data:
                self._source.problems.append(Problem(*_mark(key_node), inner, "duplicate key"))
            self._source.marks[inner] = _mark(key_node)
            data[key] = self.value(value_node, inner)
        return data

    def _pairs(self, node: yaml.Node, place: KeyPath) -> list[tuple[yaml.Node, yaml.Node]]:
        """The pairs of a mapping: its own, then those of `<<` that it does not have itself (https://yaml.org/type/merge)."""
        own = [pair for pair in node.value if pair[0].tag != _MERGE]
        has = {_key(key) for key, _ in own} - {None}
        for _, merged in (pair for pair in node.value if pair[0].tag == _MERGE):
            for each in merged.value if isinstance(merged, yaml.SequenceNode) else [merged]:
                if not isinstance(each, yaml.MappingNode):
                    self._source.add(place, "<< takes a mapping, or a list of mappings: <<: *anchor")
                    continue
                with self._opened(each):
                    more = [pair for pair in self._pairs(each, place) if _key(pair[0]) not in has]
                own += more
                has |= {_key(key) for key, _ in more} - {None}
        return own

    def _scalar(self, node: yaml.ScalarNode, place: KeyPath) -> Any:
        if node.tag == "tag:yaml.org,2002:float" and place[-1:] == ("kubernetes",):
            # YAML reads 1.30 as the number 1.3, so the version must be quoted. Continue with the text as written.
            self._source.add(
                place, f'write the version in quotes: "{node.value}" (YAML reads {node.value} as a number)'
            )
            return node.value
        if len(node.value) > MAX_NUMBER and node.tag not in (_STRING, _NULL):
            # PyYAML needs minutes for a long 1:1:1:..., which is a number to base 60.
            self._source.add(place, "this is too long for a number or a date")
            return None
        try:
            as_written = node.tag == _STRING or (place[-1:] and place[-1] in SECRET_KEYS and node.tag != _NULL)
            plain = node.value if as_written else yaml.SafeLoader("").construct_object(node)
        except Exception:
            # PyYAML's constructors raise KeyError, IndexError, AttributeError and others for invalid values.
            self._source.add(place, f"{node.value!r} cannot be read as {node.tag.rpartition(':')[2]}")
            return None
        if not isinstance(plain, str):
            return plain
        filled = self._filled_in(plain, place)
        if filled is not None and not _whole(filled):
            self._source.add(place, "this is not UTF-8 text")
            return None
        return filled

    def _filled_in(self, text: str, place: KeyPath) -> Any:
        secret = bool(place) and place[-1] in SECRET_KEYS
        match = _REFERENCE.match(text)
        if match is None:
            if "${" in text and secret:
                self._source.add(place, "a reference must be exactly ${env:NAME} or ${file:PATH}")
            if secret:
                self._source.clear_secrets.append(place)
            return text
        if not secret:
            self._source.add(place, "only secrets (password, passphrase, sudo_password) can use ${...}")
            return text
        return self._from_env(match[2], place) if match[1] == "env" else self._from_file(match[2], place)

    def _from_env(self, name: str, place: KeyPath) -> str | None:
        if not (self._trusted or name.startswith(ENV_PREFIX)):
            self._source.add(place, f"only variables named {ENV_PREFIX}... can be used, not {name} ({_TRUST})")
            return None
        if name not in self._env:
            self._source.add(place, f"the environment variable {name} is not set")
            return None
        return self._env[name]

    def _from_file(self, name: str, place: KeyPath) -> str | None:
        try:
            folder = self._source.path.parent.resolve()
            path = (folder / Path(name).expanduser()).resolve()
            if not (self._trusted or path.is_relative_to(folder)):
                self._source.add(place, f"{name} is not in the folder of the inventory ({_TRUST})")
                return None
            return read_plain(path, MAX_SECRET_BYTES).decode("utf-8").rstrip("\n")
        except UnicodeDecodeError:
            self._source.add(place, f"{name} cannot be read: it is not UTF-8 text")
        except (OSError, ValueError, RuntimeError) as error:
            self._source.add(place, f"{name!r} cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
