"""Real steps in a real shell on simulated hosts of every distribution, in dash and in bash."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from support.driver import Fleet
from support.examples import DEBIAN12, EL7, EL9, context, inventory
from support.labs import maker

from kbootstrap.inventory.models import Cluster
from kbootstrap.kubernetes import repositories
from kbootstrap.phases import UP
from kbootstrap.phases.common import repository_step
from kbootstrap.phases.reset import RESTORE
from kbootstrap.remote.facts import Facts
from kbootstrap.remote.script import build, quote, shell_file
from kbootstrap_lab import simulated

FACTS = {"centos9": EL9, "centos7": EL7, "debian12": DEBIAN12}
PHASES = ("prepare", "runtime", "repository")


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    """Two hosts of each distribution: one for dash, one for bash."""
    distributions = tuple(distribution for distribution in FACTS for _ in range(2))
    with maker(simulated, tmp_path_factory.mktemp("steps")) as make:
        yield make(1, len(distributions) - 1, distributions=distributions)


def run(fleet: Fleet, host: str, shell: str, mode: str, script: str) -> dict[str, str]:
    """Run a script. Returns the state of every step."""
    said = fleet.text(host, f"{shell} -s {mode}", stdin=script)
    return dict(re.findall(r"^@kbootstrap end (\S+) (\S+)", said, re.M))


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("distribution", FACTS)
def test_every_step_holds_after_apply(fleet: Fleet, distribution: str, shell: str, tmp_path: Path) -> None:
    index = 2 * list(FACTS).index(distribution) + (shell == "bash")
    host = fleet.hosts[index]
    minor = "1.31" if distribution == "centos7" else "1.34"
    made = context(inventory(tmp_path, workers=len(fleet.hosts) - 1, kubernetes=minor), FACTS[distribution])
    # The simulated internet has its own signing keys, which the lab's inventory pins.
    lab = re.findall(r"package_key: \['(\w+)'\]", fleet.inventory.read_text())
    cluster = made.inventory.cluster.model_copy(
        update={
            "package_key": (lab[0],),
            "runtime": made.inventory.cluster.runtime.model_copy(update={"package_key": (lab[1],)}),
        }
    )
    made = context(made.inventory.model_copy(update={"cluster": cluster}), FACTS[distribution])
    for phase in (phase for phase in UP if phase.name in PHASES):
        steps = phase.steps(made, made.inventory.host(host))
        script = build(steps, FACTS[distribution].family)
        planned = run(fleet, host, shell, "plan", script)
        done = run(fleet, host, shell, "apply", script)
        assert set(planned) == set(done) == {step.id for step in steps}
        for step_id, state in planned.items():
            expected = {"change": {"changed"}, "ok": {"ok"}, "unknown": {"ok", "changed"}}[state]
            assert done[step_id] in expected, (phase.name, step_id, state)
        assert set(run(fleet, host, shell, "plan", script).values()) == {"ok"}


def test_ports_are_opened_in_ufw_and_closed_again(fleet: Fleet, tmp_path: Path) -> None:
    """On a host whose firewall is ufw; the rule that was there stays."""
    host = fleet.hosts[2 * list(FACTS).index("debian12")]
    fleet.text(host, "apt-get update && apt-get install -y ufw && ufw allow 22/tcp && ufw --force enable")
    before = fleet.text(host, "cat /etc/ufw/user.rules")
    made = context(inventory(tmp_path, workers=len(fleet.hosts) - 1, firewall="open-ports"), DEBIAN12)
    (prepare,) = (phase for phase in UP if phase.name == "prepare")
    opens = [step for step in prepare.steps(made, made.inventory.host(host)) if step.id == "firewall"]
    closes = [step for step in RESTORE.steps(made, made.inventory.host(host)) if step.id == "firewall"]
    for steps, rules in (
        (opens, "allow from 10.244.0.0/16\nufw allow from 10.96.0.0/12\nufw route allow"),
        (closes, ""),
    ):
        script = build(steps, "debian")
        assert run(fleet, host, "sh", "plan", script) == {"firewall": "change"}
        assert run(fleet, host, "sh", "apply", script) == {"firewall": "changed"}
        assert run(fleet, host, "sh", "plan", script) == {"firewall": "ok"}
        assert rules in fleet.text(host, "ufw show added")
    assert fleet.text(host, "cat /etc/ufw/user.rules") == before


@pytest.mark.parametrize("distribution", ["centos9", "debian12"])
def test_a_repository_with_another_key_than_the_pinned_one_is_not_added(fleet: Fleet, distribution: str) -> None:
    host = fleet.hosts[2 * list(FACTS).index(distribution)]
    pinned = replace(
        repositories.docker(Cluster(kubernetes="1.34"), FACTS[distribution]), id="other", fingerprints=("A" * 40,)
    )
    step = replace(repository_step(pinned, "why"), retries=0)
    said = fleet.run(host, "sh -s apply", stdin=build([step], FACTS[distribution].family)).stdout
    assert f"the inventory pins {'A' * 40}" in said
    assert "end other-repository failed 64" in said
    left = "/etc/yum.repos.d/other.repo /etc/apt/sources.list.d/other.list /etc/apt/keyrings/other.asc"
    assert fleet.run(host, f"ls {left} /etc/pki/rpm-gpg/RPM-GPG-KEY-other 2>/dev/null").stdout == ""


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize("facts", FACTS.values(), ids=FACTS)
def test_every_repository_is_written_with_its_checks_on(facts: Facts, shell: str) -> None:
    """Signatures of packages, and of metadata where upstream signs it, with keys from the host's disk; and HTTPS."""
    cluster = Cluster(kubernetes="1.31")
    for source, signed in (
        (repositories.kubernetes(cluster, facts), True),
        (repositories.docker(cluster, facts), False),
    ):
        words = (source.id, source.title, source.url, source.suite, source.exclude, str(int(source.signed_metadata)))
        call = "repo_text " + " ".join(map(quote, words))
        script = shell_file(f"shell/os/{facts.family}.sh") + call
        text = subprocess.run([shell, "-c", script], capture_output=True, text=True, check=True).stdout
        assert source.fingerprints
        assert "http://" not in text + "".join(source.key_urls)
        if facts.family == "debian":
            # apt refuses unsigned metadata by itself, and the metadata has the packages' checksums.
            assert re.search(rf"^deb \[signed-by=/etc/apt/keyrings/{source.id}.asc\] https://", text, re.M)
            continue
        lines = text.splitlines()
        assert "gpgcheck=1" in lines
        assert f"repo_gpgcheck={int(signed)}" in lines
        assert f"gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-{source.id}" in lines
        assert f"baseurl={source.url}" in lines
