"""The computations of the bench: the relay's counts, the targets, the checks of --quick, the plot."""

from __future__ import annotations

import struct
from typing import Any
from xml.etree import ElementTree

import pytest
from benchmark import plot, report, steps
from benchmark.bench import Cell, Samples, cells, parse
from benchmark.relay import Counter
from benchmark.targets import Figures, lost, targets

CLIENT, SERVER = (b"\xc6\x12\xff\xfe", 40000), (b"\xc6\x12\x00\x01", 22)


def packet(source: tuple[bytes, int], target: tuple[bytes, int], payload: int, flags: int = 0x10) -> bytes:
    tcp = struct.pack("!HHIIBBHHH", source[1], target[1], 0, 0, 5 << 4, flags, 0, 0, 0) + b"x" * payload
    return struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(tcp), 0, 0, 64, 6, 0) + source[0] + target[0] + tcp


def talk(turns: str) -> Counter:
    """A conversation: S for SYN, c and s for payload of client and server, a for a bare acknowledgement."""
    counter = Counter()
    for turn in turns:
        if turn == "s":
            counter.to_client(packet(SERVER, CLIENT, 10))
        else:
            counter.from_client(packet(CLIENT, SERVER, 0 if turn in "Sa" else 10, 0x02 if turn == "S" else 0x10))
    return counter


@pytest.mark.parametrize(
    ("turns", "round_trips"), [("S", 1), ("Sc", 1), ("Scs", 1), ("Scsa", 1), ("Scsc", 2), ("Sccssccsc", 3)]
)
def test_round_trips_are_counted_when_the_client_answers(turns: str, round_trips: int) -> None:
    assert talk(turns).round_trips == round_trips


def test_connections_are_counted_apart() -> None:
    counter = talk("Scs")
    other = (CLIENT[0], 40001)
    counter.from_client(packet(other, SERVER, 10))
    assert (counter.round_trips, counter.connections) == (1, 1)


def row(tool: str, hosts: int, wall: float, **more: Any) -> dict[str, Any]:
    base = {"client_cpu_s": wall / 2, "server_cpu_s": 1.0, "rss_mb": 50.0, "execs_per_host": 1, "repeats": 3}
    return {
        "tool": tool, "hosts": hosts, "rtt_ms": 0, "run": 2, "wall_s": wall, "connections_per_host": 1, **base, **more
    }  # fmt: skip


def figures(*rows: dict[str, Any]) -> Figures:
    return Figures({"rows": list(rows), "probes": {"startup_cpu_s": {"python": 0.02, "help": 0.06}}})


GOOD = [row("kbootstrap", 8, 0.5), row("ssh", 8, 0.3), row("fabric", 8, 1.5), row("pyinfra", 8, 2.5)]


def test_a_target_is_met_not_met_or_not_measured() -> None:
    found = {t.what: t.met for t in targets(figures(row("kbootstrap", 4, 1.0), row("pyinfra", 4, 2.0)))}
    assert found["`--help` CPU against bare Python"] is True
    assert found["faster than pyinfra, 4 hosts"] is False
    assert found["faster than pyinfra, 100 hosts"] is None


def test_quick_accepts_good_ratios() -> None:
    assert not list(lost(figures(*GOOD)))


@pytest.mark.parametrize(
    "worse",
    [
        row("kbootstrap", 8, 2.0, client_cpu_s=0.25),
        row("kbootstrap", 8, 0.5, server_cpu_s=3.0),
        row("kbootstrap", 8, 0.5, execs_per_host=2),
        row("kbootstrap", 8, 0.5, connections_per_host=2),
        row("kbootstrap", 8, 0.5, client_cpu_s=2.0),
    ],
)
def test_quick_fails_on_a_lost_ratio(worse: dict[str, Any]) -> None:
    assert list(lost(figures(worse, *GOOD[1:])))


def test_quick_fails_when_a_peer_was_not_measured() -> None:
    assert any("not measured" in text for text in lost(figures(*GOOD[:2])))


def test_rows_are_medians_of_each_run() -> None:
    samples = Samples(Cell("kbootstrap", 4, 0, 3))
    samples.runs[2] = [{"wall_s": wall} for wall in (3.0, 1.0, 2.0)]
    (found,) = samples.rows()
    assert (found["run"], found["wall_s"], found["repeats"], found["wall_s_all"]) == (2, 2.0, 3, [3.0, 1.0, 2.0])


def test_slow_tools_run_less_unless_asked_for() -> None:
    def plan(*arguments: str) -> dict[tuple[str, int, int], int]:
        return {(c.tool, c.hosts, c.rtt_ms): c.repeat for group in cells(parse([*arguments])) for c in group}

    assert plan()["kbootstrap", 100, 20] == 5
    assert plan()["ansible-tuned", 100, 0] == 1
    assert ("ansible", 100, 0) not in plan()
    assert plan("--tools", "ansible", "--hosts", "100")["ansible", 100, 0] == 1
    assert plan("--full")["ansible", 100, 0] == 5


def test_every_tool_gets_the_same_text() -> None:
    script = steps.one_script()
    assert len(steps.NAMES) == 13
    assert all(steps.command(name) in script for name in steps.NAMES)
    # Ansible would take these for its own.
    assert not any(mark in script for mark in ("{{", "{%", "{#"))


def test_the_page_has_a_place_for_everything_and_the_plot_is_xml(tmp_path: Any, monkeypatch: Any) -> None:
    (tmp_path / "performance.md").write_text((report.DOCS / "performance.md").read_text())
    monkeypatch.setattr(report, "DOCS", tmp_path)
    machine = {"cpu": "some", "cores": 2, "memory_gib": 1, "os": "Linux", "kernel": "6"}
    told = {"machine": machine, "versions": {"python": "3"}, "made": "2026-01-01", "took_s": 60, "probes": {}}
    rows = [*GOOD, *(row(tool, 20, 3.0) for tool in ("kbootstrap", "ssh", "fabric", "pyinfra"))]
    report.write_page(Figures({**told, "rows": rows}))
    page = (tmp_path / "performance.md").read_text()
    assert "| kbootstrap | 0.5 / 0.25 | 3 / 1.5 |" in page
    assert ElementTree.parse(tmp_path / "images" / "performance.svg").getroot().tag.endswith("svg")  # noqa: S314 # ours
    assert plot.COLOURS.keys() == report.NAMES.keys()
