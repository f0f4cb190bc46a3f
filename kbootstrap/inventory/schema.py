"""The JSON Schema of an inventory, for editors. The models are its source, so it accepts what ``load`` accepts.

What compares several keys (names that are used twice, networks that overlap) is no part of it.
"""

from __future__ import annotations

from typing import Any

from kbootstrap.inventory.models import Inventory
from kbootstrap.inventory.source import EXTENSION


def json_schema() -> dict[str, Any]:
    """The schema, JSON Schema draft 2020-12. Its texts are those of docs/inventory.md."""
    schema = Inventory.model_json_schema()
    _close(schema)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        **schema,
        "patternProperties": {f"^{EXTENSION}": {"description": "Yours: a place for anchors, not read."}},
    }


def _close(part: Any) -> None:
    """Mappings whose keys have a pattern take no other keys. pydantic leaves them open."""
    if isinstance(part, dict):
        if "patternProperties" in part:
            part["additionalProperties"] = False
        for inner in part.values():
            _close(inner)
    elif isinstance(part, list):
        for inner in part:
            _close(inner)
