"""Every step of `up` is complete and documented, and the scripts are exactly the reviewed ones."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import cast

import pytest
from support.examples import DEBIAN12, EL9, MIRROR, context, inventory

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event
from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes.kubeadm import JoinCommand
from kbootstrap.phases import PREFLIGHT, RESET, delete_join_token, join
from kbootstrap.phases import UP as CHANGES
from kbootstrap.phases.catalogue import NODE, catalogue, everything
from kbootstrap.phases.outputs import Outputs
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.redact import Redactor
from kbootstrap.remote.facts import Facts
from kbootstrap.remote.script import PACKAGE, build, library_path, quote, resolve
from kbootstrap.remote.session import Session
from kbootstrap.run import check
from kbootstrap.run.engine import Engine
from kbootstrap.run.scheduler import Scheduler
from kbootstrap.run.state import RunState
from kbootstrap.secret import Secret
from kbootstrap.steps import Step

UP = (*PREFLIGHT, *CHANGES)
SHELL = sorted(path for path in (PACKAGE / "phases").rglob("*.sh"))
STEPS = [(phase, step) for phase, steps in everything() for step in steps]


def test_every_step_says_what_and_why() -> None:
    for phase, step in STEPS:
        assert step.title[0].isupper(), step.id
        assert step.why.endswith("."), step.id
        assert 0 < step.timeout <= 3600, step.id
        assert phase.why.endswith("."), phase.name
    shells = [(phase.name, step.id, step.script) for phase, step in STEPS]
    assert len(set(shells)) == len(shells)


def test_the_catalogue_names_no_host_of_its_example_and_keeps_variants_together() -> None:
    for phase, steps in everything():
        for step in steps:
            assert not re.search(r"\b(cp|w)[0-9]\b", step.id + " " + step.title), step
        ids = [step.id for step in steps]
        assert [name for name, _ in itertools.groupby(ids)] == list(dict.fromkeys(ids)), phase.name
    assert ("labels", f"labels-{NODE}", f"Label and taint {NODE}") in [(p.name, s.id, s.title) for p, s in STEPS]


def test_the_catalogue_has_the_phases_of_every_command_and_the_steps_in_python() -> None:
    names = {command: [phase.name for phase, _ in phases] for command, phases in catalogue().items()}
    assert names["up"] == ["connect", "facts", *(phase.name for phase in UP)]
    assert names["status"] == ["status"]
    assert names["reset"] == [phase.name for phase in RESET]
    python = [(phase.name, step.id) for phase, step in STEPS if not step.script]
    assert python == [("connect", "ssh"), ("facts", "facts"), ("preflight", "requirements")]


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.stem)
def test_every_shell_file_is_one_step(path: Path) -> None:
    text = path.read_text()
    assert re.findall(r"^(check|apply)\(\)", text, re.M) == ["check", "apply"]
    assert str(path.relative_to(PACKAGE / "phases")) in {step.script for _, step in STEPS}
    header = text.partition("\n\n")[0]
    assert header.startswith("# shellcheck shell=sh\n# ")


@pytest.mark.parametrize("path", SHELL, ids=lambda path: path.stem)
def test_every_parameter_is_documented_and_given(path: Path) -> None:
    header, _, body = path.read_text().partition("\n\n")
    step = next(step for _, step in STEPS if step.script == str(path.relative_to(PACKAGE / "phases")))
    used = set(re.findall(r"\$\{?([A-Z][A-Z0-9_]+)", body)) - {"SUDO_USER"}
    own = set(re.findall(r"^\s*([A-Z][A-Z0-9_]+)=", body, re.M))
    assert {name for name in used - own if not name.startswith("KB_")} <= set(step.params)
    assert {name for name in used & set(step.params) if name not in header} == set()


def with_outputs(made: Context) -> Context:
    """A context with the outputs of earlier phases of the same run."""
    outputs = Outputs(
        kubernetes_version=f"{made.inventory.cluster.kubernetes}.7",
        join=JoinCommand("192.168.1.10:6443", Secret("abcdef.0123456789abcdef"), (f"sha256:{'a' * 64}",)),
        certificate_key=Secret("f" * 64),
    )
    return replace(made, outputs=outputs)


def digest(folder: str, name: str) -> str:
    """A short checksum of a shell file."""
    return hashlib.sha256((PACKAGE / folder / name).read_bytes()).hexdigest()[:12]


def shell_listing(made: Context, phases: tuple[Phase, ...], family: str) -> str:
    """The runner and every library, with their checksums."""
    steps = [step for phase in phases for host in phase.hosts(made.inventory) for step in phase.steps(made, host)]
    names = sorted(resolve((name for step in steps for name in step.libraries), family))
    paths = ["shell/runner.sh", *(library_path(name, family) for name in names)]
    return "# " + ", ".join(f"{path.removeprefix('shell/')} {digest('', path)}" for path in paths) + "\n"


def listing(made: Context, host: str, phases: tuple[Phase, ...] = UP) -> str:
    """The steps of a host by phase, with the checksum of their script and their parameters."""
    lines = []
    for phase in phases:
        target = made.inventory.host(host)
        if target not in phase.hosts(made.inventory):
            continue
        for step in phase.steps(made, target):
            lines.append(
                f"\n# {host} {phase.name}.{step.id}: {step.title} ({step.script} {digest('phases', step.script)})"
            )
            for name, value in sorted(step.params.items()):
                lines.append(f"{name}={quote(value.reveal() if isinstance(value, Secret) else value)}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("minor", ["1.20", "1.34"])
@pytest.mark.parametrize("family", ["el", "debian"])
def test_the_scripts_are_the_reviewed_ones(
    tmp_path: Path, family: str, minor: str, golden: Callable[[str, str], None]
) -> None:
    facts: Facts = EL9 if family == "el" else DEBIAN12
    made = with_outputs(
        context(inventory(tmp_path, control_planes=2, kubernetes=minor, package_repository=MIRROR), facts)
    )
    text = shell_listing(made, UP, family) + "".join(listing(made, host) for host in ("cp1", "cp2", "w1"))
    golden(f"{family}-{minor}.txt", text)


def test_the_scripts_of_reset_are_the_reviewed_ones(tmp_path: Path, golden: Callable[[str, str], None]) -> None:
    """For the whole cluster; for one control plane host and a worker of a cluster that stays; with every option."""
    made = context(inventory(tmp_path, control_planes=2))
    text = shell_listing(replace(made, leaving=frozenset(("cp1", "cp2", "w1"))), RESET, "el")
    for title, other in {
        "everything": replace(made, leaving=frozenset(("cp1", "cp2", "w1"))),
        "cp2 and w1, with --purge --keep-host-settings": replace(
            made, leaving=frozenset(("cp2", "w1")), purge=True, keep_settings=True
        ),
    }.items():
        text += f"\n\n## {title}\n" + "".join(listing(other, host, RESET) for host in ("cp1", "cp2", "w1"))
    golden("reset.txt", text)


def test_steps_depend_only_on_their_context(tmp_path: Path) -> None:
    made = with_outputs(context(inventory(tmp_path, control_planes=2)))
    for phase in UP:
        for host in phase.hosts(made.inventory):
            assert phase.steps(made, host) == phase.steps(made, host)


def test_a_script_runs_by_hand_and_starts_with_a_plan(tmp_path: Path) -> None:
    made = context(inventory(tmp_path))
    prepare = next(phase for phase in UP if phase.name == "prepare")
    script = build(prepare.steps(made, made.inventory.host("w1")), "el")
    assert "KB_MODE=${KB_MODE:-${1:-plan}}" in script
    assert script.count("kb_step '") == len(prepare.steps(made, made.inventory.host("w1")))


def test_no_step_of_a_debian_host_speaks_of_rpm(tmp_path: Path) -> None:
    made = with_outputs(context(inventory(tmp_path), replace(DEBIAN12)))
    assert "yum.repos.d" not in listing(made, "w1")
    assert "/deb/" in listing(made, "w1")


@pytest.mark.parametrize("phase", [join.PHASE, delete_join_token.PHASE], ids=lambda phase: phase.name)
def test_steps_that_cannot_be_made_fail_their_phase_and_not_the_run(tmp_path: Path, phase: Phase) -> None:
    """The other hosts continue, and the summary is shown."""

    def refuse(_context: Context, _host: Host) -> list[Step]:
        raise KbootstrapError("no such version")

    made = with_outputs(context(inventory(tmp_path, workers=2)))
    state = RunState(made, dict(made.facts), made.outputs)
    events: list[Event] = []
    scheduler = Scheduler(events.append, parallelism=4)
    sessions = {host.name: cast(Session, object()) for host in made.inventory.hosts}
    engine = Engine(state, sessions, "apply", events.append, Redactor(), scheduler)
    done = engine.run((replace(phase, steps=refuse),), lambda _phase, _host: True)
    assert state.lost == {host.name for host in phase.hosts(made.inventory)}
    assert done == {(phase.name, host.name): False for host in phase.hosts(made.inventory)}


def test_a_bug_of_ours_is_never_a_success(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When any error ends a worker thread, the exit code of the run is not 0."""

    def broken(*_arguments: object) -> None:
        raise RuntimeError("a bug of ours")

    monkeypatch.setattr("kbootstrap.run.hosts.SshTransport", broken)
    codes = []
    with contextlib.suppress(RuntimeError):
        codes.append(check(inventory(tmp_path)).exit_code)
    assert 0 not in codes
