"""What tests do with a running lab of simulated hosts."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from kbootstrap.lab import simulated


@dataclass(frozen=True)
class Fleet:
    """A running lab and what a test wants from it."""

    lab: simulated.Lab
    inventory: Path

    @property
    def name(self) -> str:
        return self.lab.name

    @property
    def hosts(self) -> list[str]:
        return [host.name for host in self.lab.hosts]

    def run(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a host, past SSH."""
        return simulated.run(self.name, host, command, stdin, timeout)

    def text(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> str:
        """The output of a command that must succeed."""
        result = self.run(host, command, stdin, timeout)
        assert result.returncode == 0, f"{host}: {command!r} exits {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def fault(self, host: str, kind: str, **options: Any) -> str:
        return simulated.fault(self.name, host, kind, **options)

    def files(self, host: str, *but: str) -> dict[str, str]:
        """Every file of a host below /etc, /var, /usr, /opt, /root, /home and /run with its mode and checksum.

        ``but`` names paths (and all below them) that do not count.
        """
        places = "/etc /var /usr /opt /root /home /run"
        listed = self.text(host, f"find {places} -printf '%p\\t%m %y %l\\n' | sort", timeout=120)
        sums = self.text(
            host, f"find {places} -type f -exec sha256sum {{}} + | awk '{{ print $2 \"\\t\" $1 }}'", timeout=120
        )
        content = dict(line.split("\t") for line in sums.splitlines())
        found = dict(line.split("\t", 1) for line in listed.splitlines())
        return {
            path: f"{kind} {content.get(path, '')}".strip()
            for path, kind in found.items()
            if not any(path == skipped or path.startswith(skipped + "/") for skipped in but)
        }


class MakeLab(Protocol):
    def __call__(self, masters: int = 1, workers: int = 0, flavour: str = "centos9", **options: Any) -> Fleet: ...
