"""Real steps in a real shell on simulated hosts of every flavour, in dash and in bash."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from driver import Fleet
from examples import DEBIAN12, EL9, context, inventory
from labs import maker

from kbootstrap.lab import simulated
from kbootstrap.phases import UP
from kbootstrap.script import build

FACTS = {"centos9": EL9, "centos7": replace(EL9, os_version="7"), "debian12": DEBIAN12}
PHASES = ("prepare", "runtime", "repository")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two hosts of each flavour: one for dash, one for bash."""
    flavours = tuple(flavour for flavour in FACTS for _ in range(2))
    with maker(simulated, tmp_path_factory.mktemp("steps")) as make:
        yield make(1, len(flavours) - 1, flavours=flavours)


def run(fleet: Fleet, host: str, shell: str, mode: str, script: str) -> dict[str, str]:
    """The state of every step of a script."""
    said = fleet.text(host, f"{shell} -s {mode}", stdin=script)
    return dict(re.findall(r"^@kbootstrap end (\S+) (\S+)", said, re.M))


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("flavour", FACTS)
def test_every_step_comes_to_hold(fleet: Fleet, flavour: str, shell: str, tmp_path: Path) -> None:
    index = 2 * list(FACTS).index(flavour) + (shell == "bash")
    host = fleet.hosts[index]
    minor = "1.31" if flavour == "centos7" else "1.34"
    made = context(inventory(tmp_path, workers=len(fleet.hosts) - 1, kubernetes=minor), FACTS[flavour])
    # The simulated internet signs with keys of its own, which the lab's inventory pins.
    lab = re.findall(r"package_key: \['(\w+)'\]", fleet.inventory.read_text())
    cluster = made.inventory.cluster.model_copy(
        update={
            "package_key": (lab[0],),
            "runtime": made.inventory.cluster.runtime.model_copy(update={"package_key": (lab[1],)}),
        }
    )
    made = context(made.inventory.model_copy(update={"cluster": cluster}), FACTS[flavour])
    for phase in (phase for phase in UP if phase.name in PHASES):
        steps = phase.steps(made, made.inventory.host(host))
        script = build(steps, FACTS[flavour].family)
        planned = run(fleet, host, shell, "plan", script)
        done = run(fleet, host, shell, "apply", script)
        assert set(planned) == set(done) == {step.id for step in steps}
        for step_id, state in planned.items():
            expected = {"change": {"changed"}, "ok": {"ok"}, "unknown": {"ok", "changed"}}[state]
            assert done[step_id] in expected, (phase.name, step_id, state)
        assert set(run(fleet, host, shell, "plan", script).values()) == {"ok"}
