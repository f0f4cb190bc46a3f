"""The state directory of a lab. It holds every file that the lab creates on this machine."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

from kbootstrap_lab.errors import LabError, no_such_lab

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?\Z")


def home_relative(path: Path) -> str:
    """A path below the home directory, written with ``~``."""
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
    """Create the lab's directory with mode 0700 and record the backend. Raises LabError when the lab exists."""
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
    """Remove the files of a lab. Does nothing when there are none."""
    shutil.rmtree(state_dir(name), ignore_errors=True)


def names() -> list[str]:
    """The names of all labs, running or not."""
    root = labs_dir()
    return sorted(path.name for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def backend_name(name: str) -> str:
    """The name of the backend that made an existing lab. Raises LabError when there is no such lab."""
    try:
        return (state_dir(name) / "backend").read_text().strip()
    except OSError:
        raise no_such_lab(name) from None
