"""Local labs: hosts to try kbootstrap on without owning any.

A lab has a name and a backend. Everything it leaves on this machine lies in one directory, ``state_dir(name)``, so a
lab that crashed can still be found and removed. Backends: ``simulated`` (private roots behind a real SSH server, see
docs/simulated-fleet.md) and ``containers`` (systemd and real kubeadm).
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
from collections.abc import Iterable
from pathlib import Path
from types import ModuleType

from kbootstrap.model import KbootstrapError

BACKENDS = ("simulated", "containers")
FAULTS = ("cut", "slow", "stop", "kill", "heal", "reboot", "disk-full", "clock-skew")
"""What ``lab fault HOST`` can do in every backend; ``heal`` undoes all the others."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


class LabError(KbootstrapError):
    """A lab cannot be made, found or removed."""


def no_such_lab(name: str) -> LabError:
    return LabError(
        f"there is no lab named {name}", "`kbootstrap lab up` makes one, `kbootstrap lab status` lists them."
    )


def no_such_host(name: str, host: str, hosts: Iterable[str]) -> LabError:
    return LabError(f"lab {name} has no host {host}", f"It has {', '.join(hosts)}.")


def home_relative(path: Path) -> str:
    """A path below the home directory with ``~``, as people write it."""
    home = os.path.expanduser("~") + "/"
    return "~/" + str(path).removeprefix(home) if str(path).startswith(home) else str(path)


def labs_dir() -> Path:
    """Where labs keep their state: ``kbootstrap/labs`` below ``$XDG_STATE_HOME`` (default ``~/.local/state``)."""
    home = os.environ.get("XDG_STATE_HOME") or Path("~/.local/state").expanduser()
    return Path(home) / "kbootstrap" / "labs"


def state_dir(name: str) -> Path:
    """The directory of one lab. Raises LabError for a name that is not a DNS label of at most 40 characters."""
    if not _NAME.match(name):
        raise LabError(
            f"{name!r} is not a lab's name", "Use lower-case letters, digits and '-', at most 40 characters."
        )
    return labs_dir() / name


def create_state_dir(name: str, backend: str) -> Path:
    """Make the lab's directory, for its owner only, and note the backend. Raises LabError when the lab exists."""
    path = state_dir(name)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        path.mkdir(mode=0o700)
    except FileExistsError:
        raise LabError(
            f"there is a lab named {name} already", f"`kbootstrap lab down --name {name}` removes it."
        ) from None
    (path / "backend").write_text(backend + "\n")
    return path


def remove_state_dir(name: str) -> None:
    """Remove what is left of a lab on disk; nothing happens when nothing is left."""
    shutil.rmtree(state_dir(name), ignore_errors=True)


def names() -> list[str]:
    """The labs there are, running or not."""
    root = labs_dir()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def backend_name(name: str) -> str:
    """The backend an existing lab was made with. Raises LabError when there is no such lab."""
    try:
        backend = (state_dir(name) / "backend").read_text().strip()
    except OSError:
        raise no_such_lab(name) from None
    if backend not in BACKENDS:
        raise LabError(f"lab {name} was made by {backend!r}, which this version does not know")
    return backend


def backend(name: str) -> ModuleType:
    """The module with ``up``, ``down``, ``status`` and ``fault`` for a backend's name."""
    return importlib.import_module(f"kbootstrap.lab.{name}")
