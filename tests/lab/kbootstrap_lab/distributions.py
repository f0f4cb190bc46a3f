"""What hosts can look like: os-release, release, and the files of package repositories, one file per distribution.

All backends share these files. The rest of each file (kernel, swap, servers ...) is for simulated hosts.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FILES = {path.stem: path for path in sorted(Path(__file__).with_name("distros").glob("*.toml"))}
"""The file of every distribution, by its name."""


def read(name: str) -> dict[str, Any]:
    """The content of a distribution's file."""
    return tomllib.loads(FILES[name].read_text(encoding="utf-8"))


def family(data: Mapping[str, Any]) -> str:
    """The package family, ``el`` or ``debian``."""
    return "debian" if data["base"] == "debian12" else "el"


def os_release(fields: Mapping[str, str]) -> str:
    """The text of /etc/os-release."""
    return "".join(f'{key}="{value}"\n' for key, value in fields.items())
