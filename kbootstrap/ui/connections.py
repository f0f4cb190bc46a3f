"""The result of `verify --deep` as text: a matrix for few nodes, the failing pairs and counts for many."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from kbootstrap.events import Connection, NetworkTested
from kbootstrap.text import counted
from kbootstrap.ui import Style

MOST_COLUMNS = 12
"""With more nodes than this, the matrix does not fit a screen."""
MOST_PAIRS = 40
"""Most failing connections that are listed; the JSON output has all of them."""
KINDS = {"pod": "pod to pod", "service": "Service", "dns": "DNS", "node-port": "NodePort", "node": "test pod"}
_MARKS = {"ok": "ok", "failed": "FAILED", "untested": "?", "": "-"}


def connection_lines(style: Style, event: NetworkTested) -> Iterator[str]:
    """The matrix (rows: from, columns: to), or the failing connections; then how many of each kind worked."""
    nodes = list(dict.fromkeys(name for each in event.connections for name in (each.source, each.target) if name))
    yield ""
    if len(nodes) <= MOST_COLUMNS:
        yield from _matrix(style, event, nodes)
    else:
        yield from _failing(style, event.connections)
    yield from _counts(event.connections)


def _matrix(style: Style, event: NetworkTested, nodes: Sequence[str]) -> Iterator[str]:
    state: dict[tuple[str, str, str], str] = {}
    for each in event.connections:
        state[each.kind, each.source if each.kind != "node-port" else each.target, each.target] = each.state
    failed = {each.source for each in event.connections if each.kind == "node"}
    rows = [["FROM \\ TO", *nodes, "Service", "DNS", "NodePort"]]
    for source in nodes:
        pairs = ["" if source == target else state.get(("pod", source, target), "") for target in nodes]
        others = [state.get(("service", source, ""), ""), state.get(("dns", source, ""), "")]
        own = "(no pod)" if source in failed and not any(pairs) else ""
        rows.append(
            [source + own, *(_MARKS[each] for each in (*pairs, *others, state.get(("node-port", source, source), "")))]
        )
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        yield line.replace("FAILED", style.red("FAILED")) if row is not rows[0] else style.dim(line)


def _failing(style: Style, connections: Sequence[Connection]) -> Iterator[str]:
    failing = [each for each in connections if each.state == "failed"]
    for each in failing[:MOST_PAIRS]:
        yield style.red("FAILED") + f"  {named(each)}: {each.detail}"
    if len(failing) > MOST_PAIRS:
        yield f"... and {len(failing) - MOST_PAIRS} more (-o json has all of them)"


def named(connection: Connection) -> str:
    """A connection in words: from, to and kind."""
    there = f" -> {connection.target}" if connection.target else ""
    return f"{connection.source}{there}, {KINDS[connection.kind]}"


def _counts(connections: Sequence[Connection]) -> Iterator[str]:
    worked: Counter[str] = Counter(each.kind for each in connections if each.state == "ok")
    tried: Counter[str] = Counter(each.kind for each in connections)
    parts = [
        f"{worked[kind]} of {tried[kind]} {title}" for kind, title in KINDS.items() if tried[kind] and kind != "node"
    ]
    missing = tried["node"]
    yield ", ".join([*parts, *([f"{counted(missing, 'node')} not tested"] if missing else [])])
