"""Writes the scripts of a run to files, to read them or to run them by hand."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from kbootstrap.errors import InventoryError
from kbootstrap.events import RunEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.inventory.proxy import environment
from kbootstrap.kubernetes.kubeadm import JoinCommand
from kbootstrap.phases import join, join_token
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.remote import script
from kbootstrap.run.options import Control, Options
from kbootstrap.run.run import Run, View
from kbootstrap.run.workflow import UP
from kbootstrap.secret import Secret

OTHER_FOLDER = "Choose another folder for --script. [script-folder]"

README = """\
These are the scripts of `kbootstrap up` for {inventory}: one folder per host, one file per phase, numbered in their
order. Copy each folder to its host. Run a file there as root:

    sh 02-prepare.sh plan      says what differs, changes nothing
    sh 02-prepare.sh apply     makes the changes

Run a number on every host that has it before the next number. A line `@kbootstrap end STEP failed` says what failed;
what stands above it says why. The last number verifies that every node is Ready.

The files hold no secret. A host joins with a token, which is made when it is needed. On {first}:

    kubeadm token create --ttl 30m --description 'kbootstrap join' --print-join-command

It prints `kubeadm join ... --token TOKEN --discovery-token-ca-cert-hash HASH`. On each host that joins:

    export KB_TOKEN=TOKEN KB_CA_HASH=HASH
    sh {join}-join.sh apply
{control_planes}
The script delete-join-token deletes the token again.
"""

CONTROL_PLANES = """
Control plane hosts join one after the other. They also need the key of the cluster's certificates. This command prints
it on {first} as its last line; it is valid for two hours:

    kubeadm init phase upload-certs --upload-certs

On each of these hosts, before their script:

    export KB_CERTIFICATE_KEY=KEY
"""


def export_scripts(
    inventory: Inventory, directory: Path, *, options: Options, control: Control, view: View
) -> RunEnded:
    """Write the scripts that ``up`` would send, one per host and phase. Makes a plan, for the facts they need.

    Raises InventoryError for a folder that is a link, or that cannot be written.
    """
    run = Run(UP, "plan", inventory, options, control, view)
    ended = run.execute()
    context = _with_placeholders(run.state.context())
    hosts = [host for host in inventory.hosts if host.name in context.facts]
    numbered = list(enumerate((*UP.before, *UP.phases), start=1))
    try:
        for host in hosts:
            folder = _emptied(directory, host.name)
            for number, phase in numbered:
                if (
                    host in phase.hosts(inventory)
                    and phase is not join_token.PHASE
                    and (steps := phase.steps(context, host))
                ):
                    text = script.build(steps, context.facts[host.name].family, environment(inventory))
                    _write(folder / f"{number:02d}-{phase.name}.sh", text, 0o700)
        _write(directory / "README", _readme(inventory, numbered), 0o600)
    except OSError as error:
        raise InventoryError(f"{error.filename}: {error.strerror}", OTHER_FOLDER) from None
    return ended


def _with_placeholders(context: Context) -> Context:
    """The context with names in place of the secrets of a join, which the join script fills in."""
    command = JoinCommand(context.inventory.endpoint, Secret("@KB_TOKEN@"), ("@KB_CA_HASH@",))
    outputs = replace(context.outputs, join=command, certificate_key=Secret("@KB_CERTIFICATE_KEY@"))
    return replace(context, outputs=outputs)


def _readme(inventory: Inventory, numbered: list[tuple[int, Phase]]) -> str:
    first = inventory.first_control_plane.name
    number = next(number for number, phase in numbered if phase is join.PHASE)
    more = CONTROL_PLANES.format(first=first) if len(inventory.control_planes) > 1 else ""
    return README.format(inventory=inventory.path.name, first=first, join=f"{number:02d}", control_planes=more)


def _emptied(directory: Path, name: str) -> Path:
    """The folder of a host, without the scripts of an earlier export. A link is refused and not followed."""
    for folder in (directory, directory / name):
        if folder.is_symlink():
            raise InventoryError(f"{folder} is a link", OTHER_FOLDER)
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    for old in folder.glob("[0-9][0-9]-*.sh"):
        old.unlink()
    return folder


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file. A link that somebody has put there is replaced and not followed."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
