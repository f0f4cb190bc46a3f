"""Reads the YAML of other programs: mappings, lists and texts, each with its place for errors."""

from __future__ import annotations

from collections.abc import Container, Iterator
from dataclasses import dataclass
from typing import Any

import yaml

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.source import MAX_NODES, compose
from kbootstrap.inventory.yaml_mistakes import not_yaml


def plain_yaml(text: str, what: str) -> Any:
    """The text as mappings, lists and texts; ``what`` names it in errors. Raises InventoryError.

    ``port: 022`` stays as it is written, an empty value is None, and tags (!vault) do not count.
    """
    try:
        root = compose(text)
        return None if root is None else _Reader(what).value(root)
    except yaml.YAMLError as error:
        line, said = not_yaml(text, error)
        raise InventoryError(f"line {line} of {what} is not YAML: {said}") from None
    except RecursionError:
        raise InventoryError(f"{what} is nested too deeply") from None


class _Reader:
    def __init__(self, what: str) -> None:
        self._what = what
        self._left = MAX_NODES

    def value(self, node: yaml.Node) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InventoryError(f"{self._what} is too large")
        if isinstance(node, yaml.MappingNode):
            return {str(self.value(key)): self.value(value) for key, value in node.value}
        if isinstance(node, yaml.SequenceNode):
            return [self.value(each) for each in node.value]
        empty = node.tag == "tag:yaml.org,2002:null"
        return None if empty else node.value


@dataclass(frozen=True)
class Part:
    """A part of such a text. ``place`` says where it is, and ``value`` is what is there; None where nothing is."""

    value: Any
    place: str

    def at(self, *keys: str) -> Part:
        """The part below these keys. Raises InventoryError where a key is asked of something else than a mapping."""
        part = self
        for key in keys:
            if part.value is not None and not isinstance(part.value, dict):
                raise InventoryError(f"{part.place} is not a mapping")
            part = Part((part.value or {}).get(key), f"{part.place}.{key}")
        return part

    def text(self, *keys: str, default: str = "") -> str:
        """The text below these keys."""
        part = self.at(*keys)
        if part.value is not None and not isinstance(part.value, str):
            raise InventoryError(f"{part.place} is not a text")
        return part.value or default

    def members(self, *keys: str) -> Iterator[Part]:
        """The members of the list below these keys."""
        part = self.at(*keys)
        if part.value is not None and not isinstance(part.value, list):
            raise InventoryError(f"{part.place} is not a list")
        for number, value in enumerate(part.value or []):
            yield Part(value, f"{part.place}[{number}]")

    def names(self, but: Container[str] = ()) -> list[str]:
        """The keys of a mapping, ``but`` these; none where nothing is."""
        self.at("")
        return [name for name in self.value or {} if name not in but]
