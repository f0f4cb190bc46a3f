"""Runs `kbootstrap up --yes -o json INVENTORY` with the bench's phases and kbootstrap's own code for everything else.

Only the requirements are left out, because a bench host cannot be a node (no systemd, one machine-id for all hosts).

    kbootstrap_up.py INVENTORY [plan]
"""

from __future__ import annotations

import functools
import sys

from benchmark.steps import PHASES
from kbootstrap import cli, run
from kbootstrap.events import RunEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.run.options import Control, Options
from kbootstrap.run.run import Run, View
from kbootstrap.run.workflow import Workflow
from kbootstrap.steps import Mode

UP = Workflow("up", phases=PHASES)


def execute(mode: Mode, inventory: Inventory, *, options: Options, control: Control, view: View) -> RunEnded:
    return Run(UP, mode, inventory, options, control, view).execute()


if __name__ == "__main__":
    run.up = functools.partial(execute, "apply")
    run.plan = functools.partial(execute, "plan")
    path, *verbs = sys.argv[1:]
    sys.argv = ["kbootstrap", *(verbs or ["up", "--yes", "--output", "json"]), path]
    cli.main()
