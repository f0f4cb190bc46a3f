"""The fault matrix: `up` is struck at one moment of one step, runs again, and must end as if nothing had happened.

The steps and the moments within them are those of a real run, never a list somebody wrote. At its moment a host waits
(bin/breakpoint of the simulated fleet), so that every case strikes exactly where it says.
"""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from kbootstrap.errors import KbootstrapError
from support.breakpoints import PATIENCE_S, comes_to_its_moment, until
from support.driver import Fleet, Step
from support.labs import MakeLab

FAULTS = ("kill", "cut", "fail", "reboot")
"""SIGKILL to the orchestrator; no connection until it noticed; a command of the step fails; power off and on."""

FAILS = {
    "ssh": "sudo",
    "facts": "uname",
    "reach": "curl",
    "packages": "sort",
    "modules": "modprobe",
    "package-sources": "awk",
    "hosts": "mktemp",
    "firewall": "systemctl",
    "pod-network": "ip",
    "time": "systemctl",
    "time-sync": "chronyc",
    "mirrors": "sort",
    "cri": "crictl",
    "resolve": "awk",
    "user-kubeconfig": "cksum",
    "nodes": "kubectl",
    "pods": "kubectl",
    "packet": "kubectl",
}
"""What fails in a step that names no command of its own."""
ALIASES = {"admin": "kubectl", "kb_apt": "apt-get"}
"""Words of the shell vocabulary, and the program behind them."""
NOTHING_CAN_FAIL = {"selinux", "proxy"}
"""Steps that run no program at all where there is nothing to do."""
IN_PYTHON = {"requirements"}
"""Steps that take no time and run nothing on a host."""

# What may differ between two runs that both ended well.
BORN_ANEW = r"""
/etc/kubernetes/pki/.*                 keys and certificates
/etc/kubernetes/[a-z-]+\.conf          credentials
/etc/kubernetes/manifests/kube-controller-manager\.yaml   the cluster's name in this lab
/home/kb/\.kube/config                 a copy of admin.conf
/var/lib/etcd/member/.*                the cluster's data
/run/flannel/subnet\.env               who joined first got the first piece of the pod network
/var/lib/kbootstrap/(init|join)\.log    what kubeadm said
/var/lib/kbootstrap/kubeconfig         a checksum of admin.conf
/var/lib/kbootstrap/pod-network        the run that sent the packet
/var/lib/kbootstrap/kubeadm-init\.yaml the SSH addresses of this lab, which are in the certificate
/var/lib/kbootstrap/original           compared line by line
/var/lib/sim/(cluster|owners)          the lab's own records
"""
"""Files that are there in both, with the same mode, and with another content."""
COMES_AND_GOES = r"""
/run/kbootstrap/owner                  who was there last
/run/sim(/.*)?                         the lab's own records
/var/lib/sim/(moment|faults)(/.*)?     the lab's faults
/var/log(/.*)?                         logs
"""
"""Files and folders one run has and another does not."""


Note = Callable[[str, object], None]
"""pytest's ``record_property``."""


def _patterns(table: str) -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{line.split()[0]})" for line in table.strip().splitlines()))


_BORN_ANEW, _COMES_AND_GOES = _patterns(BORN_ANEW), _patterns(COMES_AND_GOES)


@dataclass(frozen=True)
class Case:
    """One fault at one moment of one step on one host. ``command`` is what fails, for the fault of that name."""

    fault: str
    host: str
    phase: str
    step: str
    moment: str
    command: str = ""

    def __str__(self) -> str:
        what = f"fail {self.command}" if self.command else self.fault
        return f"{what} at {self.host} {self.phase}.{self.step} ({self.moment})"


@dataclass(frozen=True)
class Reference:
    """An undisturbed run: its steps, the moments of each, and how it left the hosts."""

    steps: list[Step]
    moments: dict[Step, list[tuple[str, str]]]
    end: set[tuple[str, ...]]
    make: Callable[[], Fleet] = field(compare=False)


def reference(lab: MakeLab, distributions: tuple[str, ...]) -> Reference:
    """Run `up` once on fresh hosts, a master and the rest workers, and note everything about it."""

    def make() -> Fleet:
        fleet = lab(1, len(distributions) - 1, distributions=distributions)
        fleet.change_inventory(lambda text: text.replace(f"name: {fleet.name}\n", "name: matrix\n", 1))
        return fleet

    fleet = make()
    for host in fleet.hosts:
        fleet.fault(host, "watch")
    steps = sorted(fleet.up().states)
    moments = {step: list(_of_step(step, _noted(fleet, step[0]))) for step in steps}
    silent = [step for step, those in moments.items() if not those and step[2] not in IN_PYTHON]
    assert silent == [], f"no moment was seen of these steps: {silent}"
    for host in fleet.hosts:
        fleet.fault(host, "heal")
    return Reference(steps, moments, end_state(fleet), make)


def _noted(fleet: Fleet, host: str) -> list[tuple[str, str]]:
    lines = fleet.text(host, "cat /run/sim/moments").splitlines()
    return [(moment, detail) for moment, _, detail in (line.partition("\t") for line in lines)]


def _of_step(step: Step, noted: Iterable[tuple[str, str]]) -> Iterable[tuple[str, str]]:
    """From the beginning of a step to its end; what stand-ins say in between has no step's name."""
    own = f"{step[1]} {step[2]} "
    inside = False
    for moment, detail in noted:
        inside = moment.startswith(own) or (inside and not re.search(r" begin 0\Z", moment))
        if inside and not moment.startswith(own + "end"):
            yield moment, detail


def cases(known: Reference, seed: int) -> list[Case]:
    """Every fault at every step; the seed decides at which of the step's moments, and which of its commands fails."""
    found = []
    for step in known.steps:
        for fault in FAULTS:
            case = _case(known, step, fault, random.Random(f"{seed} {fault} {step}"))  # noqa: S311 - no secret
            found += [case] if case else []
    return found


def _case(known: Reference, step: Step, fault: str, chance: random.Random) -> Case | None:
    moments = known.moments[step]
    if not moments:
        return None
    names = [moment for moment, _ in moments]
    if fault != "fail":
        return Case(fault, *step, chance.choice(names[1:] or names))
    begin = next((name for name in names if name.endswith(" apply 0")), names[0])
    commands = [detail.split()[0] for moment, detail in moments if re.search(r" command \d+\Z", moment)]
    if not commands and step[2] in NOTHING_CAN_FAIL:
        return None
    command = chance.choice(commands) if commands else FAILS[step[2]]
    return Case(fault, *step, begin, ALIASES.get(command, command))


def run(known: Reference, chosen: list[Case], note: Note) -> None:
    """Have these cases survive; all of them are tried, and ``note`` is told how many of which fault there were."""
    lost: dict[Case, str] = {}
    for case in chosen:
        try:
            survive(known, case)
        except (AssertionError, KbootstrapError, subprocess.TimeoutExpired) as error:
            lost[case] = str(error)
    note("cases", dict(Counter(case.fault for case in chosen)))
    note("survivors", dict(Counter(case.fault for case in chosen if case not in lost)))
    assert not lost, "\n\n".join(f"{case}\n{error}" for case, error in lost.items())


def survive(known: Reference, case: Case) -> None:
    """Strike, run `up` again, compare. Raises AssertionError where anything is not as it would have been."""
    fleet = known.make()
    try:
        if not strike(fleet, case):
            # A step that only waits does not always have to: what is sure to come is its beginning.
            first = known.moments[case.host, case.phase, case.step][0][0]
            assert case.moment != first, "the moment never came"
            fleet.backend.down(fleet.name)
            fleet = known.make()
            assert strike(fleet, Case(case.fault, case.host, case.phase, case.step, first, case.command))
        converge(fleet)
        found = end_state(fleet)
        assert found == known.end, _difference(known.end, found)
    finally:
        fleet.backend.down(fleet.name)


def strike(fleet: Fleet, case: Case) -> bool:
    """Start `up`, do what the case says at its moment, and see the run to its end. False when the moment never came."""
    # Nothing of ours runs on the host before sudo, so what fails there must be set before.
    from_the_start = (case.fault, case.step) == ("fail", "ssh")
    if from_the_start:
        fleet.fault(case.host, "fail-command", command=case.command)
    else:
        fleet.fault(case.host, "breakpoint", moment=case.moment)
    process = fleet.start("up", "--yes", "--output", "lines", str(fleet.inventory))
    struck, said = True, ""
    try:
        if not from_the_start:
            struck = comes_to_its_moment(fleet, case.host, lambda: process.poll() is not None)
            said = _harm(fleet, case, process) if struck else ""
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
        process.wait()
    allowed = _exit_codes(case) if struck else {0}
    assert process.returncode in allowed, f"exit code {process.returncode}\n{said}{out}{err}"
    assert "Traceback" not in err
    if struck and case.fault == "fail":
        left = fleet.text(case.host, "ls /var/lib/sim/faults 2>/dev/null || true")
        assert left == "", f"{case.command} was never run"
    until("the host is up", lambda: _is_up(fleet, case.host))
    return struck


def _harm(fleet: Fleet, case: Case, process: subprocess.Popen[str]) -> str:
    """Do it while the host waits, then let it go on. Returns what the run said meanwhile."""
    said = ""
    if case.fault == "kill":
        process.kill()
    elif case.fault == "fail":
        fleet.fault(case.host, "fail-command", command=case.command)
    elif case.fault == "reboot":
        fleet.fault(case.host, "reboot")
        return said
    else:
        fleet.fault(case.host, "cut")
        said = _until_noticed(case, process)
        fleet.fault(case.host, "heal")
    fleet.fault(case.host, "release")
    return said


def _until_noticed(case: Case, process: subprocess.Popen[str]) -> str:
    """Read on until the orchestrator speaks of the broken connection, or, before the first script, to its end."""
    assert process.stdout is not None
    said = ""
    for line in process.stdout:
        said += line
        if not _is_early(case) and "the connection broke" in line:
            break
    return said


def _is_early(case: Case) -> bool:
    """Before the first script there is nothing to come back to; later a broken connection alone stops nothing."""
    return case.phase in ("connect", "facts")


def _exit_codes(case: Case) -> set[int]:
    """What the struck run may end with."""
    if case.fault == "kill":
        return {-9}
    if case.fault == "cut":
        return {4} if _is_early(case) else {0}
    return {0, 1, 4}


def _is_up(fleet: Fleet, host: str) -> bool:
    return any(found.name == host and found.state == "up" for found in fleet.backend.status(fleet.name).hosts)


def converge(fleet: Fleet) -> None:
    """`up` once more: it succeeds, leaves nothing to do, and every node is Ready."""
    assert fleet.up().result["status"] == "ok"
    planned = fleet.plan().result
    assert (planned["change"], planned["unknown"]) == (0, 0), "the plan is not empty"
    assert_ready(fleet)


# --- the end state ---------------------------------------------------------------------------------------------------


def assert_ready(fleet: Fleet) -> None:
    said = fleet.text("cp1", "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes --no-headers")
    ready = {line.split()[0] for line in said.splitlines() if line.split()[1] == "Ready"}
    assert ready == set(fleet.hosts), said


def end_state(fleet: Fleet) -> set[tuple[str, ...]]:
    """Every file of every host and what the cluster holds, without what is born anew in every run."""
    found: set[tuple[str, ...]] = set()
    for host in fleet.hosts:
        packages = _package_records(fleet, host)
        for path, what in fleet.files(host).items():
            if _COMES_AND_GOES.fullmatch(path):
                continue
            if _BORN_ANEW.fullmatch(path):
                what = " ".join(what.split()[:2])
            found.add((host, path, packages.get(path, what)))
        found |= {
            (host, "original", line) for line in fleet.text(host, "cat /var/lib/kbootstrap/original").splitlines()
        }
    return found | _cluster(fleet)


def _package_records(fleet: Fleet, host: str) -> dict[str, str]:
    """The package database without the time of each installation."""
    database = "/var/lib/rpm /var/lib/dpkg/status.d"
    lines = fleet.text(host, f"grep -rH -v '^Installed: ' {database} 2>/dev/null || true").splitlines()
    records: dict[str, str] = {}
    for path, _, line in (line.partition(":") for line in lines):
        records[path] = records.get(path, "") + line + "\n"
    return records


def _cluster(fleet: Fleet) -> set[tuple[str, ...]]:
    """Nodes, objects, etcd members and join tokens; which pod network a node got depends on who joined first."""
    state: dict[str, Any] = json.loads(fleet.text("cp1", "cat /.lab/clusters/$(cat /var/lib/sim/cluster).json"))
    facts: set[tuple[str, ...]] = {("cluster", "member", name) for name in state["members"]}
    facts |= {("cluster", "object", name) for name in state["objects"]}
    facts |= {("cluster", "token", record["description"]) for record in state["tokens"].values()}
    for name, node in state["nodes"].items():
        kept = {key: node[key] for key in ("ip", "role", "labels", "annotations", "taints", "cordoned")}
        facts.add(("cluster", f"node {name}", json.dumps(kept, sort_keys=True)))
    return facts


def _difference(wanted: set[tuple[str, ...]], found: set[tuple[str, ...]]) -> str:
    lines = [f"- {' '.join(entry)}" for entry in sorted(wanted - found)]
    lines += [f"+ {' '.join(entry)}" for entry in sorted(found - wanted)]
    return "\n".join(["the end is not the same:", *lines[:40]])
