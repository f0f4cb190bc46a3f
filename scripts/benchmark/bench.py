"""The matrix of tools, numbers of hosts and round-trip times. Runs are repeated, interleaved and verified."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmark import machine, probes, report, steps, targets
from benchmark.servers import HERE, BenchError, Servers
from benchmark.tools import OTHERS, TOOLS, Job

TIMEOUT_S = 1200

Sample = dict[str, float]


@dataclass(frozen=True)
class Cell:
    """One tool, number of hosts and round-trip time: ``repeat`` pairs of a first and a second run."""

    tool: str
    hosts: int
    rtt_ms: int
    repeat: int


@dataclass
class Samples:
    """The measurements of a cell: one sample per run (1 changes everything, 2 nothing) and repetition."""

    cell: Cell
    runs: dict[int, list[Sample]] = field(default_factory=lambda: {1: [], 2: []})

    def rows(self) -> Iterator[dict[str, Any]]:
        for run, samples in self.runs.items():
            if samples:
                row = {"tool": self.cell.tool, "hosts": self.cell.hosts, "rtt_ms": self.cell.rtt_ms, "run": run}
                medians = {key: round(statistics.median(s[key] for s in samples), 4) for key in samples[0]}
                walls = [round(sample["wall_s"], 4) for sample in samples]
                yield {**row, **medians, "repeats": len(samples), "wall_s_all": walls}


class Bench:
    def __init__(self, servers: Servers, folder: Path) -> None:
        self._servers = servers
        self._folder = folder
        self._jobs = 0

    def once(self, tool: str, hosts: int, rtt_ms: int) -> Sample:
        """Run a tool once and verify its work. Returns the cost."""
        self._jobs += 1
        folder = self._folder / f"{self._jobs:04d}"
        folder.mkdir()
        servers = self._servers
        job = Job(servers.hosts(hosts, rtt_ms), servers.key, servers.known_hosts, folder)
        command = (TOOLS | OTHERS)[tool](job)
        servers.counted(rtt_ms)
        servers.account()
        cost = self._measure(folder, command.argv, command.env)
        used, counted = servers.account(), servers.counted(rtt_ms)
        output = (folder / "output").read_text(errors="replace")
        wrong = servers.verify(hosts)
        if cost["exit_code"] or wrong:
            raise BenchError(f"{tool} on {hosts} hosts ended with {cost['exit_code']}; wrong: {wrong[:5]}\n{output}")
        sample = {
            **{key: cost[key] for key in ("wall_s", "client_cpu_s", "rss_mb")},
            "server_cpu_s": used["cpu_s"],
            "execs_per_host": used["execs"] / hosts,
            "connections_per_host": used["connections"] / hosts,
        }
        return sample | ({"round_trips_per_host": counted["round_trips"] / hosts} if rtt_ms else {})

    def _measure(self, folder: Path, argv: list[str], env: dict[str, str]) -> dict[str, Any]:
        result = folder / "result.json"
        namespaces = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        measure = [sys.executable, "-I", str(HERE / "measure.py"), str(result), str(folder / "output")]
        home = {"HOME": str(folder), "PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"}
        command = self._servers.client(*namespaces, *measure, *argv)
        subprocess.run(command, env=home | env, cwd=folder, check=True, timeout=TIMEOUT_S)
        cost: dict[str, Any] = json.loads(result.read_text())
        return cost

    def prepare(self, tool: str, hosts: int) -> None:
        """Run a tool on reset hosts, so that nothing is left to change."""
        self._servers.reset()
        self.once(tool, hosts, 0)

    def warm_up(self, tools: list[str]) -> None:
        """Run every tool once on one host, without counting it: this compiles byte code and fills the file cache."""
        for tool in tools:
            self.prepare(tool, 1)

    def group(self, cells: list[Cell]) -> list[Samples]:
        """Measure cells of the same size and round-trip time, interleaved: every repetition runs all tools."""
        samples = [Samples(cell) for cell in cells]
        for repetition in range(max(cell.repeat for cell in cells)):
            for those in samples:
                if repetition < those.cell.repeat:
                    self._servers.reset()
                    for run in (1, 2):
                        sample = self.once(those.cell.tool, those.cell.hosts, those.cell.rtt_ms)
                        those.runs[run].append(sample)
                        _say(those.cell, run, sample)
        return samples


def _say(cell: Cell, run: int, sample: Sample) -> None:
    figures = " ".join(f"{key}={value:.2f}" for key, value in sample.items())
    line = f"{cell.tool:<15} {cell.hosts:>3} hosts {cell.rtt_ms:>2} ms run {run}: {figures}"
    print(f"{time.strftime('%H:%M:%S')} {line}", file=sys.stderr, flush=True)


# --- which cells -----------------------------------------------------------------------------------------------------

LIMITS: dict[str, dict[tuple[int, bool], int]] = {
    "ansible": {(4, False): 3, (20, False): 1, (4, True): 1},
    "ansible-tuned": {(4, False): 3, (20, False): 3, (50, False): 1, (100, False): 1, (4, True): 3},
    "ansible-mitogen": {(4, False): 3, (20, False): 3, (50, False): 1, (100, False): 1, (4, True): 3},
}
"""Most repetitions of the tools that take minutes, by hosts and whether the line has a delay; what is not named here is
left out unless the tool is asked for by name. ``--full`` lifts all of it and takes hours."""
QUICK_TOOLS = ["kbootstrap", "ssh", "pyinfra"]
ALONE = ("kbootstrap", "ssh")
"""Tools that also run on a single host, for the round trips of one connection."""


def cells(options: argparse.Namespace) -> Iterator[list[Cell]]:
    """Groups of cells that are interleaved: one per size and round-trip time."""
    tools = options.tools or list(TOOLS)
    for rtt_ms in options.rtt:
        for hosts in options.hosts:
            group = []
            for tool in tools:
                most = LIMITS.get(tool, {}).get((hosts, rtt_ms > 0), int(tool not in LIMITS or bool(options.tools)))
                if tool not in LIMITS or options.full:
                    most = options.repeat
                if most and (hosts > 1 or tool in ALONE):
                    group.append(Cell(tool, hosts, rtt_ms, min(most, options.repeat)))
            if group:
                yield group


def parse(arguments: list[str]) -> argparse.Namespace:
    def numbers(text: str) -> list[int]:
        return [int(word) for word in text.split(",")]

    parser = argparse.ArgumentParser(prog="scripts/bench", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="OUT", help="write the figures here")
    parser.add_argument("--quick", action="store_true", help="a minute on few hosts; fails when a ratio gets worse")
    parser.add_argument("--hosts", type=numbers, help="numbers of hosts (default 1,4,20,50,100)")
    parser.add_argument("--rtt", type=numbers, help="round-trip times in ms (default 0,20)")
    parser.add_argument("--tools", type=lambda text: text.split(","), help=f"some of {','.join(TOOLS)}")
    parser.add_argument("--repeat", type=int, help="repetitions, of which the median counts (default 5)")
    parser.add_argument("--full", action="store_true", help="every tool in every cell; takes hours")
    parser.add_argument("--docs", action="store_true", help="put the figures into docs/performance.md")
    parser.add_argument(
        "--from", dest="source", type=Path, metavar="JSON", help="figures of an earlier run, for --docs"
    )
    options = parser.parse_args(arguments)
    if options.tools and (unknown := set(options.tools) - set(TOOLS)):
        parser.error(f"there is no tool {', '.join(sorted(unknown))}; there are {', '.join(TOOLS)}")
    quick: bool = options.quick
    options.hosts = options.hosts or ([8] if quick else [1, 4, 20, 50, 100])
    options.rtt = options.rtt or ([0] if quick else [0, 20])
    options.repeat = options.repeat or (3 if quick else 5)
    options.tools = options.tools or (QUICK_TOOLS if quick else None)
    return options


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Run the matrix and the probes. Raises BenchError when a tool does not do its work."""
    groups = list(cells(options))
    tools = list(dict.fromkeys(cell.tool for group in groups for cell in group))
    began = time.time()
    rows: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="kb-bench-") as name:
        folder = Path(name)
        with Servers(folder, max(options.hosts), steps.one_script()) as servers:
            bench = Bench(servers, folder)
            bench.warm_up(tools)
            for group in groups:
                rows += [row for samples in bench.group(group) for row in samples.rows()]
            probed = {} if options.quick else probes.run(bench, servers, options)
    return {
        "machine": machine.describe(),
        "versions": machine.versions(),
        "made": time.strftime("%Y-%m-%d", time.gmtime(began)),
        "took_s": round(time.time() - began),
        "rows": rows,
        "probes": probed,
    }


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    result = json.loads(options.source.read_text(encoding="utf-8")) if options.source else measure(options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    figures = targets.Figures(result)
    print(report.text(figures))
    if options.docs:
        report.write_page(figures)
    if options.quick:
        lost = list(targets.lost(figures))
        print("\n".join(lost) or "no ratio got worse")
        return 1 if lost else 0
    return 0
