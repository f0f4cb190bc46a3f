"""The thirteen steps: one shell file each with `check` and `apply`, the same text for every tool."""

from __future__ import annotations

from pathlib import Path

from kbootstrap.inventory.models import Host as InventoryHost
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.remote import script
from kbootstrap.steps import Step

NAMES = (
    *("hostname", "hosts", "swap", "selinux", "firewall", "modules", "sysctl", "time"),
    *("runtime", "crictl", "repository", "kubelet", "folders"),
)
ROOT = "/run/node"
"""The folder on a host in which the steps prepare a node."""
_FOLDER = Path(__file__).parent / "steps"
_SHELL = {name: str(Path("..", "..", *_FOLDER.parts[-3:], f"{name}.sh")) for name in NAMES}
"""Every step's file as a path below the package's phases."""


def command(name: str) -> str:
    """A step as shell text for tools without check and apply. NAME comes from the environment."""
    text = script.shell_file(f"phases/{_SHELL[name]}")
    return f"ROOT={script.quote(ROOT)}\n{text}{(_FOLDER / 'end').read_text(encoding='utf-8')}"


def one_script() -> str:
    """All steps as one script, with a subshell for each step. The first failed step ends the script."""
    return "".join(f"(\n{command(name)}) </dev/null || exit 1\n" for name in NAMES)


def _steps(context: Context, host: InventoryHost) -> list[Step]:
    return [Step(name, f"Prepare {name}", _SHELL[name], "", {"ROOT": ROOT, "NAME": host.name}) for name in NAMES]


def _hosts(inventory: Inventory) -> list[InventoryHost]:
    return list(inventory.hosts)


PHASES = (Phase("prepare", "Prepare the host", "", hosts=_hosts, steps=_steps),)
"""The thirteen steps as one phase of kbootstrap."""
