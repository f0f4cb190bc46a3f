"""Writes the scripts of a run to files, to read them or to run them by hand."""

from __future__ import annotations

import os
from pathlib import Path

from kbootstrap.events import RunEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.inventory.proxy import environment
from kbootstrap.remote import script
from kbootstrap.run.options import Control, Options
from kbootstrap.run.run import Run, View
from kbootstrap.run.workflow import UP

README = """\
These are the scripts that `kbootstrap up` would send to the hosts: one folder per host, one file per phase, numbered in
their order. Run one as root on its host:

    sh 02-prepare.sh plan      prints what differs, changes nothing
    sh 02-prepare.sh apply     makes the changes

Run a number on every host before the next number. Two things are created during a run, so these files do not have them:
- the join command: run `kubeadm token create --print-join-command` on the first control plane host. On each host that
  joins, run what it prints instead of the join script. A control plane host also needs --control-plane and a
  certificate key.
- the token to delete afterwards: `kubeadm token delete`.
"""


def export_scripts(
    inventory: Inventory, directory: Path, *, options: Options, control: Control, view: View
) -> RunEnded:
    """Write the scripts that ``up`` would send, one per host and phase. Makes a plan, for the facts they need."""
    run = Run(UP, "plan", inventory, options, control, view)
    ended = run.execute()
    context = run.state.context()
    for host in inventory.hosts:
        if host.name not in context.facts:
            continue
        folder = directory / host.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number, phase in enumerate((*UP.before, *UP.phases), start=1):
            if host in phase.hosts(inventory) and (steps := phase.steps(context, host)):
                text = script.build(steps, context.facts[host.name].family, environment(inventory))
                _write(folder / f"{number:02d}-{phase.name}.sh", text, 0o700)
    _write(directory / "README", README, 0o600)
    return ended


def _write(path: Path, text: str, mode: int) -> None:
    """Write a new file. A link that somebody has put there is replaced and not followed."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "w", encoding="utf-8") as file:
        file.write(text)
