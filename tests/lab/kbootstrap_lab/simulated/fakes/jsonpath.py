"""kubectl's JSONPath (https://kubernetes.io/docs/reference/kubectl/jsonpath/), its common part."""

from __future__ import annotations

import json
import re
from typing import Any

from kbootstrap_lab.simulated.fakes.common import Failed

_STEP = re.compile(
    r"""\.(?P<field>(?:\\.|[^\s.,\[\]{}$@'"])+)
      | \[\?\(\s*@(?P<left>[^=!<>]*?)\s*(?P<operator>==|!=|<=|>=|<|>)\s*(?P<right>"[^"]*"|'[^']*'|[^\s)]+)\s*\)\]
      | \['(?P<quoted>(?:\\.|[^'])+)'\]
      | \["(?P<double>(?:\\.|[^"])+)"\]
      | \[(?P<index>-?\d+)\]
      | \[(?P<all>\*)\]
      | \[(?P<start>-?\d*):(?P<stop>-?\d*)\]""",
    re.VERBOSE,
)


def render(template: str, data: Any) -> str:
    """The text of a template for an object. Raises Failed, as kubectl does, when it cannot be parsed."""
    if not template.startswith("{") and "{" not in template:
        template = "{" + template + "}"
    parts = _parse(template)
    text, rest = _render(parts, data, data)
    if rest:
        raise _error(template)
    return text


def _error(template: str) -> Failed:
    return Failed(f"error: error parsing jsonpath {template}, simulated kubectl does not know it")


def _parse(template: str) -> list[tuple[str, str]]:
    """Pieces: ("text", ...) outside braces, ("code", ...) inside."""
    parts: list[tuple[str, str]] = []
    position = 0
    while position < len(template):
        if template[position] != "{":
            end = template.find("{", position)
            end = len(template) if end < 0 else end
            parts.append(("text", template[position:end]))
            position = end
            continue
        end = _closing(template, position)
        parts.append(("code", template[position + 1 : end].strip()))
        position = end + 1
    return parts


def _closing(template: str, start: int) -> int:
    quote = ""
    position = start + 1
    while position < len(template):
        letter = template[position]
        if letter == "\\":
            position += 1
        elif quote:
            quote = "" if letter == quote else quote
        elif letter in "\"'":
            quote = letter
        elif letter == "}":
            return position
        position += 1
    raise Failed(f"error: error parsing jsonpath {template}, unclosed action")


def _render(parts: list[tuple[str, str]], root: Any, here: Any) -> tuple[str, list[tuple[str, str]]]:
    """Render up to the ``{end}`` that closes this block; returns the text and what follows."""
    out = []
    while parts:
        (kind, text), parts = parts[0], parts[1:]
        if kind == "text":
            out.append(text)
        elif text == "end":
            return "".join(out), [("end", ""), *parts]
        elif text.startswith("range "):
            body = parts
            rest = _after_end(body)
            for value in find(text.removeprefix("range ").strip(), root, here):
                out.append(_render(body, root, value)[0])
            parts = rest
        else:
            out.append(_code(text, root, here))
    return "".join(out), []


def _after_end(parts: list[tuple[str, str]]) -> list[tuple[str, str]]:
    depth = 1
    for index, (kind, text) in enumerate(parts):
        if kind == "code" and text.startswith("range "):
            depth += 1
        elif kind == "code" and text == "end":
            depth -= 1
            if depth == 0:
                return parts[index + 1 :]
    raise Failed("error: error parsing jsonpath, not in range")


def _code(text: str, root: Any, here: Any) -> str:
    if text[:1] in "\"'" and text[:1] == text[-1:]:
        escapes = {"n": "\n", "t": "\t", "\\": "\\", '"': '"', "'": "'", "r": "\r"}
        return re.sub(r"\\(.)", lambda match: escapes.get(match[1], match[0]), text[1:-1])
    return " ".join(_show(value) for value in find(text, root, here))


def _show(value: Any) -> str:
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (dict, list)):
        return json.dumps(value, separators=(",", ":"), sort_keys=True)
    return "" if value is None else str(value)


def find(path: str, root: Any, here: Any) -> list[Any]:
    """All values at a path. A missing key gives no value."""
    values = [root if path.startswith("$") else here]
    position = 1 if path[:1] in ("$", "@") else 0
    if path in (".", ""):
        return values
    while position < len(path):
        match = _STEP.match(path, position)
        if match is None:
            raise _error("{" + path + "}")
        values = [found for value in values for found in _step(match, value)]
        position = match.end()
    return values


def _step(match: re.Match[str], value: Any) -> list[Any]:
    key = match["field"] or match["quoted"] or match["double"]
    if key is not None and key != "*":
        key = re.sub(r"\\(.)", r"\1", key)
        return [value[key]] if isinstance(value, dict) and key in value else []
    if match["all"] or key == "*":
        return list(value) if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    if not isinstance(value, list):
        return []
    if match["index"] is not None:
        index = int(match["index"])
        return [value[index]] if -len(value) <= index < len(value) else []
    if match["operator"] is None:
        return value[int(match["start"] or 0) : int(match["stop"]) if match["stop"] else None]
    return [item for item in value if _holds(match, item)]


def _holds(match: re.Match[str], item: Any) -> bool:
    found = find(match["left"].strip(), item, item)
    right = match["right"]
    wanted = right[1:-1] if right[0] in "\"'" else right
    if not found:
        return False
    left = _show(found[0])
    if match["operator"] in ("==", "!="):
        return (left == wanted) == (match["operator"] == "==")
    try:
        a, b = float(left), float(wanted)
    except ValueError:
        raise _error(match[0]) from None
    return {"<": a < b, ">": a > b, "<=": a <= b, ">=": a >= b}[match["operator"]]
