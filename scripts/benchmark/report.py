"""The report: text for the terminal, tables and a plot for docs/performance.md."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmark import plot
from benchmark.targets import Figures, targets
from benchmark.tools import TOOLS

DOCS = Path(__file__).parents[2] / "docs"
NAMES = {
    "kbootstrap": "kbootstrap",
    "ssh": "OpenSSH in parallel, one script",
    "fabric": "fabric, one run per step",
    "pyinfra": "pyinfra",
    "ansible-mitogen": "Ansible + mitogen",
    "ansible-tuned": "Ansible, tuned",
    "ansible": "Ansible, defaults",
}


def text(figures: Figures) -> str:
    """Every row, for a terminal."""
    heading = ["tool", "hosts", "rtt", "run", "wall s", "client CPU s", "server CPU s", "MB", "execs", "trips"]
    keys = ["wall_s", "client_cpu_s", "server_cpu_s", "rss_mb", "execs_per_host", "round_trips_per_host"]
    rows = [
        [row["tool"], *(str(row[key]) for key in ("hosts", "rtt_ms", "run")), *(_number(row.get(key)) for key in keys)]
        for row in figures.rows
    ]
    widths = [max(len(row[column]) for row in [heading, *rows]) for column in range(len(heading))]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in [heading, *rows])
    return "\n".join(lines)


def write_page(figures: Figures) -> None:
    """Replace the generated parts of docs/performance.md, and draw the plot."""
    page = DOCS / "performance.md"
    written = page.read_text(encoding="utf-8")
    parts = {"machine": machine, "targets": target_table, "wall": wall_table, "cost": cost_table, "first": first_table}
    for name, make in parts.items():
        written = _fill(written, name, make(figures))
    page.write_text(written, encoding="utf-8")
    picture = DOCS / "images" / "performance.svg"
    picture.parent.mkdir(exist_ok=True)
    picture.write_text(plot.draw(figures, NAMES), encoding="utf-8")


def _fill(page: str, name: str, lines: Iterable[str]) -> str:
    pattern = re.compile(rf"(<!-- bench: {name} -->\n).*?(<!-- end -->)", re.DOTALL)
    if not pattern.search(page):
        raise ValueError(f"docs/performance.md has no place for {name!r}")
    return pattern.sub(lambda found: found[1] + "\n" + "\n".join(lines) + "\n\n" + found[2], page)


# --- tables ----------------------------------------------------------------------------------------------------------


def machine(figures: Figures) -> Iterator[str]:
    result, at = figures.result, figures.result["machine"]
    made = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    yield (
        f"Measured on {result['made']} in {result['took_s'] / 60:.0f} minutes: {at['cpu']}, {at['cores']} cores,"
        f" {at['memory_gib']} GiB, {at['os']}, Linux {at['kernel']}. {made[0].upper()}{made[1:]}."
    )


def target_table(figures: Figures) -> Iterator[str]:
    return _table(["", "target", "figure", "OpenSSH", ""], [target.cells() for target in targets(figures)])


def wall_table(figures: Figures) -> Iterator[str]:
    """Wall and client CPU seconds of the second run, a column per cell."""
    columns = [(hosts, rtt) for rtt in figures.values("rtt_ms") for hosts in figures.values("hosts")]
    heading = ["tool", *(f"{hosts}{f', {rtt} ms' if rtt else ''}" for hosts, rtt in columns)]

    def cell(tool: str, hosts: int, rtt: int) -> str:
        row = figures.row(tool, hosts, rtt)
        return f"{_number(row['wall_s'])} / {_number(row['client_cpu_s'])}" if row else ""

    rows = [[NAMES[tool], *(cell(tool, *column) for column in columns)] for tool in _tools(figures)]
    return _table(heading, rows)


def first_table(figures: Figures) -> Iterator[str]:
    """The first run's wall seconds."""
    counts = figures.values("hosts")

    def cell(tool: str, hosts: int) -> str:
        row = figures.row(tool, hosts, 0, 1)
        return _number(row["wall_s"]) if row else ""

    rows = [[NAMES[tool], *(cell(tool, hosts) for hosts in counts)] for tool in _tools(figures)]
    return _table(["tool", *map(str, counts)], rows)


def cost_table(figures: Figures) -> Iterator[str]:
    """The other costs of a run, at the largest size that was measured for each tool."""
    heading = ["tool", "hosts", "client CPU per further host", "server CPU per host", "peak memory", "connections"]
    heading += ["execs", "round trips", "runs"]
    rows = []
    for tool in _tools(figures):
        row = max((row for row in figures.rows if _is(row, tool, 0)), key=lambda row: int(row["hosts"]), default=None)
        if row is None:
            continue
        counted = [row["round_trips_per_host"] for row in figures.rows if _is(row, tool, None) and row["rtt_ms"]]
        further = figures.per_further_host(tool)
        rows.append(
            [
                NAMES[tool],
                str(row["hosts"]),
                "" if further is None else f"{further:.1f} ms",
                f"{row['server_cpu_s'] / row['hosts'] * 1000:.0f} ms",
                f"{row['rss_mb']:.0f} MB",
                _number(row["connections_per_host"]),
                _number(row["execs_per_host"]),
                _number(counted[-1]) if counted else "",
                str(row["repeats"]),
            ]
        )
    return _table(heading, rows)


def _is(row: dict[str, object], tool: str, rtt_ms: int | None) -> bool:
    return row["tool"] == tool and row["run"] == 2 and rtt_ms in (None, row["rtt_ms"])


def _tools(figures: Figures) -> list[str]:
    return [tool for tool in TOOLS if any(row["tool"] == tool for row in figures.rows)]


def _number(value: float | None) -> str:
    """A number with three significant digits."""
    if value is None:
        return ""
    digits: Callable[[float], str] = lambda x: f"{x:.0f}" if x >= 100 else f"{x:.3g}"  # noqa: E731
    return digits(float(value))


def _table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(heading) + " |"
    yield "|---" * len(heading) + "|"
    yield from ("| " + " | ".join(row) + " |" for row in rows)
