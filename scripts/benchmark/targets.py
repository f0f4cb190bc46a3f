"""The targets with their figures, and the ratios that --quick checks."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


class Figures:
    """The figures of a result by cell, of the second run (nothing to change) unless stated otherwise."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.result = result
        self.rows: list[dict[str, Any]] = result["rows"]
        self._cells = {(row["tool"], row["hosts"], row["rtt_ms"], row["run"]): row for row in self.rows}

    def row(self, tool: str, hosts: int, rtt_ms: int = 0, run: int = 2) -> dict[str, Any] | None:
        return self._cells.get((tool, hosts, rtt_ms, run))

    def get(self, tool: str, hosts: int, what: str, rtt_ms: int = 0) -> float | None:
        row = self.row(tool, hosts, rtt_ms)
        value = row.get(what) if row else None
        return None if value is None else float(value)

    def ratio(self, tool: str, other: str, hosts: int, what: str = "wall_s") -> float | None:
        """The figure of a tool divided by that of another tool."""
        ours, theirs = self.get(tool, hosts, what), self.get(other, hosts, what)
        return None if ours is None or theirs is None else ours / theirs

    def values(self, key: str) -> list[int]:
        return sorted({row[key] for row in self.rows})

    def probe(self, *path: str) -> Any:
        found: Any = self.result.get("probes") or {}
        for key in path:
            found = found.get(key, {})
        return found or None

    def per_further_host(self, tool: str) -> float | None:
        """Client CPU per additional host in ms, between the smallest and the largest number of hosts above one."""
        known = [(n, cpu) for n in self.values("hosts") if n > 1 and (cpu := self.get(tool, n, "client_cpu_s"))]
        if len(known) < 2:
            return None
        (few, less), (many, more) = known[0], known[-1]
        return (more - less) / (many - few) * 1000

    def waited_round_trips(self, tool: str, rtt_ms: int = 20) -> float | None:
        """Round trips that a run on one host waits for: the wall time added by a delay, divided by the delay."""
        slow, fast = self.get(tool, 1, "wall_s", rtt_ms), self.get(tool, 1, "wall_s")
        return None if slow is None or fast is None else (slow - fast) * 1000 / rtt_ms


@dataclass(frozen=True)
class Target:
    """A target. ``openssh`` is the same figure for parallel OpenSSH with one script, the limit of the machine."""

    what: str
    wanted: float
    figure: float | None
    unit: str = ""
    at_least: bool = False
    openssh: float | None = None

    @property
    def met(self) -> bool | None:
        if self.figure is None:
            return None
        compare: Callable[[float, float], bool] = operator.ge if self.at_least else operator.le
        return compare(float(f"{self.figure:.3g}"), self.wanted)

    def cells(self) -> tuple[str, str, str, str, str]:
        verdict = {True: "met", False: "**not met**", None: "not measured here"}[self.met]
        return self.what, self.limit, self.shown, self._show(self.openssh), verdict

    @property
    def limit(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.wanted:g}{self.unit}"

    @property
    def shown(self) -> str:
        return self._show(self.figure)

    def _show(self, figure: float | None) -> str:
        return "" if figure is None else f"{figure:.3g}{self.unit}"


def targets(figures: Figures) -> Iterator[Target]:
    """Every target of the project, with its figure when one run of the bench can measure it."""
    us, openssh = "kbootstrap", "ssh"
    many = [hosts for hosts in figures.values("hosts") if hosts > 1]
    for what in ("connections", "execs"):
        worst = max((figures.get(us, hosts, f"{what}_per_host") or 0 for hosts in many), default=None)
        yield Target(f"SSH {what} per host", 1, worst)
    counted, theirs = (figures.get(tool, 4, "round_trips_per_host", 20) for tool in (us, openssh))
    yield Target("round trips of the whole preparation, counted on the wire", 9.5, counted, openssh=theirs)
    waited, theirs = map(figures.waited_round_trips, (us, openssh))
    yield Target("round trips that one host's run waits for", 9.5, waited, openssh=theirs)
    for hosts, wanted in ((4, 1.6), (20, 1.2), (50, 1.0), (100, 1.0)):
        yield Target(f"wall against parallel OpenSSH, {hosts} hosts", wanted, figures.ratio(us, openssh, hosts), "x")
    for peer, name, sizes in (
        ("pyinfra", "pyinfra", {4: 4.5, 20: 4.5, 50: 4.5, 100: 4.5}),
        ("ansible-tuned", "tuned Ansible", {4: 40, 20: 60, 100: 100}),
        ("ansible-mitogen", "mitogen", {4: 17, 100: 30}),
    ):
        for hosts, wanted in sizes.items():
            faster, theirs = (figures.ratio(peer, tool, hosts) for tool in (us, openssh))
            yield _faster(f"faster than {name}, {hosts} hosts", wanted, faster, theirs)
    less, theirs = (figures.ratio("pyinfra", tool, 100, "client_cpu_s") for tool in (us, openssh))
    yield _faster("less client CPU than pyinfra, 100 hosts", 10, less, theirs)
    taken, theirs = (figures.get(tool, 100, "client_cpu_s") for tool in (us, openssh))
    yield Target("client CPU, 100 hosts", 1.1, taken, " s", openssh=theirs)
    taken, theirs = map(figures.per_further_host, (us, openssh))
    yield Target("client CPU per further host", 7, taken, " ms", openssh=theirs)
    for rtt, wanted in (("0", 45), ("20", 225)):
        seconds = figures.probe("connect_s", rtt)
        figure = None if seconds is None else seconds * 1000
        yield Target(f"connect, log in, exec on one host, {rtt} ms RTT", wanted, figure, " ms")
    startup = figures.probe("startup_cpu_s")
    times = startup["help"] / startup["python"] if startup else None
    yield Target("`--help` CPU against bare Python", 5, times, "x")
    taken, theirs = (figures.get(tool, 100, "rss_mb") for tool in (us, openssh))
    yield Target("peak memory, 100 hosts", 55, taken, " MB", openssh=theirs)
    for probed in figures.probe("plan") or []:
        if probed["hosts"] > 1:
            slower = probed["up_s"] / probed["plan_s"]
            yield Target(f"a second `up` against `plan`, {probed['hosts']} hosts", 1, slower, "x")
    sent = figures.probe("bulk")
    speed = sent["openssh"] / sent["kbootstrap"] if sent else None
    yield _faster("300 MB to 4 hosts against OpenSSH's `cat >`", 0.9, speed)
    yield Target("`up` on a real cluster against its critical path", 1.05, None, "x")


def _faster(what: str, wanted: float, figure: float | None, openssh: float | None = None) -> Target:
    return Target(what, wanted, figure, "x", at_least=True, openssh=openssh)


def guards(figures: Figures) -> Iterator[Target]:
    """The checks of --quick: counts, which have no margin, and ratios between tools measured together, which have one.

    CPU time hardly depends on the load of the machine. Wall time does, even as a ratio, so it has the largest margin.
    """
    us = "kbootstrap"
    for hosts in figures.values("hosts"):
        yield Target("SSH execs per host", 1, figures.get(us, hosts, "execs_per_host"))
        yield Target("SSH connections per host", 1, figures.get(us, hosts, "connections_per_host"))
        less = figures.ratio("pyinfra", us, hosts, "client_cpu_s")
        yield _faster("less client CPU than pyinfra", 1.3, less)
        more = figures.ratio(us, "ssh", hosts, "server_cpu_s")
        yield Target("CPU of the hosts against OpenSSH with one script", 2.5, more, "x")
        yield _faster("faster than pyinfra", 1.3, figures.ratio("pyinfra", us, hosts))
        yield Target("wall against parallel OpenSSH", 6, figures.ratio(us, "ssh", hosts), "x")


def lost(figures: Figures) -> Iterator[str]:
    for guard in guards(figures):
        if guard.met is not True:
            yield f"lost: {guard.what}: {guard.shown or 'not measured'}, wanted {guard.limit}"
