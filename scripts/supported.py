"""The page docs/supported.md: which Kubernetes minors run on which distribution."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from kbootstrap import versions
from kbootstrap.distributions import OsRelease
from kbootstrap.inventory import models
from kbootstrap.phases.preflight.requirements import findings
from kbootstrap.remote.facts import Facts
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS, Distribution

_LOOKS_LIKE = "1.20, in the container lab, on a Debian root that looks like it"
TRIED = {
    "centos7": _LOOKS_LIKE,
    "centos8": _LOOKS_LIKE,
    "centos9": _LOOKS_LIKE,
    "debian12": "1.20, in the container lab",
    "debian13": "1.20, in the container lab",
    "rocky8": _LOOKS_LIKE,
    "rocky10": _LOOKS_LIKE,
}
"""The distributions on which real kubeadm was run, and with what."""


def page() -> Iterator[str]:
    yield "# What is supported\n"
    yield "Generated from the code by `scripts/docs`: every distribution that the simulated hosts can look like, with"
    yield f"Kubernetes {versions.show(versions.OLDEST)} to {versions.show(versions.NEWEST)}, containerd and Flannel."
    yield "- *Tried*: with real kubeadm."
    yield "- *Simulated*: `up` reaches Ready on simulated hosts with this os-release, kernel, package manager and these"
    yield "  repositories. `scripts/test --tier faults` tries every combination; CI tries every distribution once."
    yield "- *Refused*: preflight says this before anything is changed.\n"
    yield "The simulated hosts show that kbootstrap knows the distribution. They do not show that its real packages"
    yield "work: nobody has tried these yet.\n"
    yield "| distribution | tried | simulated | refused |"
    yield "|---|---|---|---|"
    for name in sorted(DISTRIBUTIONS):
        distribution = DISTRIBUTIONS[name]
        good, bad = by_outcome(distribution)
        refused = "<br>".join(f"{_ranges(minors)}: {reason}" for reason, minors in bad.items())
        yield f"| {distribution.pretty_name} | {TRIED.get(name, '')} | {_ranges(good)} | {refused} |"
    yield ""
    yield "A relative of one of these is recognised by its os-release (`ID_LIKE`, `PLATFORM_ID`, `UBUNTU_CODENAME`)."
    yield "A host whose packages nobody knows is refused with what its os-release says."


def by_outcome(distribution: Distribution) -> tuple[list[int], dict[str, list[int]]]:
    """The minors that preflight accepts, and the others by its reason."""
    fields = dict(re.findall(r'^(\w+)="(.*)"$', distribution.os_release, re.M))
    names = ("ID", "VERSION_ID", "ID_LIKE", "PLATFORM_ID", "VERSION_CODENAME", "UBUNTU_CODENAME", "DEBIAN_CODENAME")
    values: list[Any] = [fields.get(name, "") for name in names]
    values[2] = tuple(values[2].split())
    host = {"name": "cp1", "address": "192.168.1.10", "role": "control-plane"}
    good: list[int] = []
    bad: dict[str, list[int]] = {}
    for minor in range(versions.OLDEST[1], versions.NEWEST[1] + 1):
        cluster = {"kubernetes": f"1.{minor}", "package_repository": "https://mirror.example"}
        inventory = models.Inventory.model_validate({"cluster": cluster, "hosts": [host]})
        facts = Facts(
            os=OsRelease(*values),
            arch="x86_64",
            kernel=distribution.kernel,
            cgroup=distribution.cgroup,
            uid=0,
            systemd=True,
            cpus=2,
            memory_mib=4096,
            disk_free_mib=40000,
            addresses={"192.168.1.10": "eth0"},
        )
        reasons = [finding.text for finding in findings(inventory, {"cp1": facts}) if finding.level == "error"]
        if reasons:
            # One reason for all minors: without the number of this one.
            bad.setdefault(
                re.sub(rf" of Kubernetes 1\.{minor}\b|; 1\.{minor} does.*", "", reasons[0]).replace(
                    f"Kubernetes 1.{minor}", "Kubernetes"
                ),
                [],
            ).append(minor)
        else:
            good.append(minor)
    return good, bad


def _ranges(minors: list[int]) -> str:
    """``1.20-1.31, 1.34`` for 20 to 31 and 34."""
    parts: list[list[int]] = []
    for minor in minors:
        if parts and parts[-1][-1] == minor - 1:
            parts[-1].append(minor)
        else:
            parts.append([minor])
    return ", ".join(f"1.{part[0]}" + (f"-1.{part[-1]}" if len(part) > 1 else "") for part in parts)
