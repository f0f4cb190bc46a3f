"""The distributions of container hosts: the files of one distribution, on a root of Debian."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from kbootstrap_lab import distributions
from kbootstrap_lab.backend import DISTRIBUTIONS
from kbootstrap_lab.errors import LabError

DEFAULT_SUITE = "bookworm"
_SUITES = {"debian13": "trixie"}
DEAD = "mirrorlist.centos.org"
"""The server that CentOS Linux 7 and 8 ask for mirrors. It ended in July 2024."""


@dataclass(frozen=True)
class Distribution:
    """What a host looks like.

    ``suite`` is the Debian that it is made of. ``dead_sources`` are its repository files by name, where they ask a
    server that has ended: those of CentOS 7 and 8.
    """

    family: str
    release: str
    suite: str
    os_release: str
    dead_sources: dict[str, str]

    @property
    def signing_keys(self) -> list[str]:
        """The paths of the keys that the dead sources name."""
        lines = "\n".join(self.dead_sources.values()).splitlines()
        return sorted({line.removeprefix("gpgkey=file://") for line in lines if line.startswith("gpgkey=")})

    def write_files(self, folder: Path) -> None:
        """Write what the image of a host needs: ``os-release``, and the dead sources below ``yum.repos.d``."""
        (folder / "os-release").write_text(self.os_release, encoding="utf-8")
        (folder / "yum.repos.d").mkdir()
        for name, text in self.dead_sources.items():
            (folder / "yum.repos.d" / name).write_text(text, encoding="utf-8")


def known(name: str) -> Distribution:
    """A distribution of container hosts. Raises LabError for another one."""
    if name not in DISTRIBUTIONS:
        raise LabError(
            f"container hosts cannot look like {name}",
            f"They can look like {', '.join(DISTRIBUTIONS)}. For another one: --image IMAGE.",
        )
    data = distributions.read(name)
    return Distribution(
        family=distributions.family(data),
        release=data["release"],
        suite=_SUITES.get(name, DEFAULT_SUITE),
        os_release=distributions.os_release(data["os_release"]),
        dead_sources={Path(path).name: text for path, text in data["files"].items() if DEAD in text},
    )
