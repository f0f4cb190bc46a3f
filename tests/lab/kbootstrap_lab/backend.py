"""The interface of a lab's backend: a package with the functions of ``Backend``, and one line in ``BACKENDS``."""

from __future__ import annotations

import contextlib
import importlib
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from kbootstrap.errors import KbootstrapError
from kbootstrap_lab import state
from kbootstrap_lab.errors import LabError

if TYPE_CHECKING:
    from kbootstrap.secret import Secret

BACKENDS = {
    "simulated": "kbootstrap_lab.simulated",
    "containers": "kbootstrap_lab.containers",
    "vm": "kbootstrap_lab.vm",
}
"""The package of each backend. It is imported when it is used."""

DISTRIBUTIONS = ("centos9", "centos7", "centos8", "rocky8", "rocky10", "debian12", "debian13")
"""What the hosts of a backend can look like; virtual machines are debian12 only."""

FAULTS = ("cut", "slow", "stop", "kill", "heal", "reboot", "disk-full", "clock-skew")
"""The faults of every backend; ``heal`` undoes all the others."""

CONTROL_PLANE_ROLE = "control-plane"
"""The role of a control plane host in the inventory of a lab."""

Say = Callable[[str], None]
"""Takes one line of progress for the user."""


def quiet(_text: str) -> None:
    """Say nothing."""


class LabHost(Protocol):
    """A host of a lab, and how to reach its SSH server."""

    @property
    def name(self) -> str: ...
    @property
    def address(self) -> str: ...
    @property
    def port(self) -> int: ...
    @property
    def distribution(self) -> str: ...
    @property
    def state(self) -> str: ...


class Lab(Protocol):
    """A lab and its hosts."""

    @property
    def name(self) -> str: ...
    @property
    def hosts(self) -> Sequence[LabHost]: ...


class Backend(Protocol):
    """Makes labs. Every function raises LabError; all but ``up`` do so when there is no such lab or host."""

    def up(
        self,
        name: str = "demo",
        control_planes: int = 1,
        workers: int = 3,
        distribution: str = "centos9",
        *,
        inventory: Path | None = None,
        user: str = "kb",
        password: Secret | None = None,
        sudo_password: Secret | None = None,
        distributions: tuple[str, ...] = (),
        latency_ms: float = 0,
        image: str | None = None,
        say: Say = quiet,
    ) -> Lab:
        """Start a lab; returns when every host accepts SSH, and leaves the hosts running.

        ``distributions`` gives each host its own, in order. A backend refuses what it does not have, and has a default
        distribution of its own.
        """

    def down(self, name: str) -> None:
        """Remove a lab and every trace of it, also of one that crashed."""

    def status(self, name: str) -> Lab:
        """The lab with the current state of its hosts."""

    def ssh_command(self, name: str, host: str) -> list[str]:
        """The ssh command that logs in to a host."""

    def logs(self, name: str, host: str) -> str:
        """The logs that explain why a host failed."""

    def fault(self, name: str, host: str, kind: str) -> str:
        """Break a host (see ``FAULTS``) or heal it; returns its state."""

    def run(
        self, name: str, host: str, command: str, stdin: str = "", timeout: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a host, without SSH. Tests check a host with it, without kbootstrap."""


def load(backend: str) -> Backend:
    """The backend with this name."""
    return cast(Backend, importlib.import_module(BACKENDS[backend]))


def of_lab(name: str) -> Backend:
    """The backend that made an existing lab."""
    backend = state.backend_name(name)
    if backend not in BACKENDS:
        raise LabError(
            f"lab {name} was made by {backend!r}, which this version does not know",
            f"Remove it with the version that made it; its files are in {state.state_dir(name)}.",
        )
    return load(backend)


def ca_sha256(backend: Backend, name: str) -> str:
    """The hash of the CA file of a lab's cluster; empty when no control plane host that answers has one."""
    try:
        hosts = [host.name for host in backend.status(name).hosts if host.name.startswith("cp")]
    except (KbootstrapError, OSError):
        return ""
    for host in hosts:
        with contextlib.suppress(KbootstrapError, OSError):
            said = backend.run(name, host, "sha256sum </etc/kubernetes/pki/ca.crt", timeout=10)
            if said.returncode == 0:
                return said.stdout.split()[0]
    return ""


def refuse(backend: str, **options: Any) -> None:
    """Raises LabError when an option was given that this backend does not have."""
    for option, value in options.items():
        if value:
            raise LabError(f"the backend {backend} has no --{option.replace('_', '-')}", "`kbootstrap lab up --help`")
