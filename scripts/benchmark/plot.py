"""Two log-log plots as one SVG: wall time and client CPU over the number of hosts, a line per tool."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from html import escape

from benchmark.targets import Figures

COLOURS = {
    "kbootstrap": "#0b62c4",
    "ssh": "#4d4d4d",
    "fabric": "#8a5a00",
    "pyinfra": "#b5007d",
    "ansible-mitogen": "#c43d00",
    "ansible-tuned": "#7a3dc4",
    "ansible": "#008060",
}
WIDTH, HEIGHT, LEFT, TOP, GAP = 330, 300, 60, 50, 80
Point = tuple[float, float]


def draw(figures: Figures, names: Mapping[str, str]) -> str:
    tools = [tool for tool in names if len(_points(figures, tool, "wall_s")) > 1]
    width, height = LEFT + 2 * WIDTH + GAP + 20, TOP + HEIGHT + 50 + 18 * math.ceil(len(tools) / 3)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif"'
        f' font-size="12" role="img" aria-label="Wall time and client CPU by number of hosts">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for number, (what, title) in enumerate((("wall_s", "wall time, s"), ("client_cpu_s", "client CPU, s"))):
        lines = {tool: _points(figures, tool, what) for tool in tools}
        parts += _Panel(LEFT + number * (WIDTH + GAP), title, lines).parts()
    for number, tool in enumerate(tools):
        x, y = LEFT + number % 3 * 250, TOP + HEIGHT + 56 + number // 3 * 18
        parts.append(f'<path d="M{x} {y - 4}h24" stroke="{COLOURS[tool]}" stroke-width="{_weight(tool)}"/>')
        parts.append(f'<text x="{x + 30}" y="{y}">{escape(names[tool])}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _points(figures: Figures, tool: str, what: str) -> list[Point]:
    counts = [hosts for hosts in figures.values("hosts") if hosts > 1]
    return [(hosts, value) for hosts in counts if (value := figures.get(tool, hosts, what))]


def _weight(tool: str) -> float:
    return 3 if tool == "kbootstrap" else 1.5


class _Panel:
    def __init__(self, left: int, title: str, lines: Mapping[str, list[Point]]) -> None:
        self._left = left
        self._title = title
        self._lines = lines
        points = [point for line in lines.values() for point in line] or [(1, 1)]
        self._hosts = sorted({hosts for hosts, _ in points})
        self._low = math.floor(math.log10(min(value for _, value in points)))
        self._high = max(math.ceil(math.log10(max(value for _, value in points))), self._low + 1)

    def _x(self, hosts: float) -> float:
        first, last = math.log(self._hosts[0]), math.log(self._hosts[-1])
        return self._left + WIDTH * (math.log(hosts) - first) / max(last - first, 1e-9)

    def _y(self, value: float) -> float:
        return TOP + HEIGHT * (self._high - math.log10(value)) / (self._high - self._low)

    def parts(self) -> Iterator[str]:
        yield f'<text x="{self._left}" y="{TOP - 20}" font-weight="bold">{escape(self._title)}</text>'
        for power in range(self._low, self._high + 1):
            y = self._y(10**power)
            yield f'<path d="M{self._left} {y:.1f}h{WIDTH}" stroke="#cccccc"/>'
            yield f'<text x="{self._left - 8}" y="{y + 4:.1f}" text-anchor="end">{10.0**power:g}</text>'
        for hosts in self._hosts:
            x = self._x(hosts)
            yield f'<path d="M{x:.1f} {TOP}v{HEIGHT}" stroke="#eeeeee"/>'
            yield f'<text x="{x:.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">{hosts:g}</text>'
        yield f'<text x="{self._left + WIDTH / 2}" y="{TOP + HEIGHT + 34}" text-anchor="middle">hosts</text>'
        for tool, line in self._lines.items():
            path = "L".join(f"{self._x(hosts):.1f} {self._y(value):.1f}" for hosts, value in line)
            yield f'<path d="M{path}" fill="none" stroke="{COLOURS[tool]}" stroke-width="{_weight(tool)}"/>'
            for hosts, value in line:
                yield f'<circle cx="{self._x(hosts):.1f}" cy="{self._y(value):.1f}" r="3" fill="{COLOURS[tool]}"/>'
