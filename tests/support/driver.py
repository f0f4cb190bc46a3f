"""What tests do with a running lab, whichever backend it has: kbootstrap as an operator runs it, and a look past it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from support import warm

RUN_S = 600
"""Longest run of kbootstrap in a test; three control plane hosts that share a busy core need half of it."""


@dataclass(frozen=True)
class Fleet:
    """A running lab: its backend's module, what that made, and the inventory.

    A copy of another lab has the name of that one's ``cluster``, and the events of the run it was ``made_by``.
    """

    backend: ModuleType
    lab: Any
    inventory: Path
    cluster: str = ""
    made_by: Events | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "cluster", self.cluster or self.name)

    @property
    def name(self) -> str:
        return str(self.lab.name)

    @property
    def hosts(self) -> list[str]:
        return [host.name for host in self.lab.hosts]

    def run(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a shell command as root on a host, past SSH."""
        result: subprocess.CompletedProcess[str] = self.backend.run(self.name, host, command, stdin, timeout)
        return result

    def text(self, host: str, command: str, stdin: str = "", timeout: float = 60) -> str:
        """The output of a command that must succeed."""
        result = self.run(host, command, stdin, timeout)
        assert result.returncode == 0, f"{host}: {command!r} exits {result.returncode}\n{result.stdout}{result.stderr}"
        return result.stdout

    def fault(self, host: str, kind: str, **options: Any) -> str:
        return str(self.backend.fault(self.name, host, kind, **options))

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

    def snapshot(self, *but: str) -> set[tuple[str, str, str]]:
        """``files`` of every host, as one set: a comparison shows just what differs."""
        return {(host, path, what) for host in self.hosts for path, what in self.files(host, *but).items()}

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[str]:
        """Start `kbootstrap ARGUMENTS`; its journals lie beside the inventory, its input is empty."""
        return warm.start(list(arguments), {**self.environment(), **environment})

    @staticmethod
    def start_words(*arguments: str) -> list[str]:
        return [sys.executable, "-m", "kbootstrap", *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, "XDG_STATE_HOME": str(self.inventory.parent / "state")}

    def kbootstrap(self, *arguments: str, code: int = 0, **environment: str) -> str:
        """What `kbootstrap ARGUMENTS` prints; it must end with this exit code."""
        process = self.start(*arguments, **environment)
        out, err = process.communicate(timeout=RUN_S)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}{err}"
        assert "Traceback" not in err
        return out if code == 0 else out + err

    def events(self, verb: str, *options: str, code: int = 0, **environment: str) -> Events:
        """A run with ``--output json``."""
        process = self.start(verb, str(self.inventory), "--output", "json", *options, **environment)
        out, err = process.communicate(timeout=RUN_S)
        assert process.returncode == code, f"exit code {process.returncode}\n{out}{err}"
        return Events.read(out)

    def up(self, *options: str, code: int = 0, **environment: str) -> Events:
        return self.events("up", "--yes", *options, code=code, **environment)

    def plan(self, *options: str, code: int = 0, **environment: str) -> Events:
        return self.events("plan", *options, code=code, **environment)

    def change_inventory(self, change: Callable[[str], str]) -> None:
        """Rewrite the inventory's text; it must become another one."""
        before = self.inventory.read_text()
        after = change(before)
        assert after != before
        self.inventory.write_text(after)


Step = tuple[str, str, str]
"""Host, phase and step."""


@dataclass(frozen=True)
class Events:
    """The lines of a run with ``--output json``, without those about steps that begin."""

    lines: list[dict[str, Any]]

    @classmethod
    def read(cls, text: str) -> Events:
        lines = [json.loads(line) for line in text.splitlines()]
        return cls([line for line in lines if line["type"] != "step-started"])

    @property
    def run(self) -> dict[str, Any]:
        assert self.lines[0]["type"] == "run"
        return self.lines[0]

    @property
    def result(self) -> dict[str, Any]:
        assert self.lines[-1]["type"] == "result"
        return self.lines[-1]

    @property
    def states(self) -> dict[Step, str]:
        steps = [line for line in self.lines if line["type"] == "step"]
        states = {(line["host"], line["phase"], line["step"]): line["state"] for line in steps}
        assert len(states) == len(steps), "a step was reported twice"
        return states

    def those(self, state: str) -> set[Step]:
        return {step for step, its in self.states.items() if its == state}

    @property
    def counts(self) -> Counter[str]:
        return Counter(self.states.values())
