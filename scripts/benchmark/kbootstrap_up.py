"""`kbootstrap up --yes INVENTORY` with the bench's phases: the same command line, inventory, views, journal, engine and
transport. Only the requirements are left out, because a bench host is no node (no systemd, one machine-id for all).

    kbootstrap_up.py INVENTORY [plan]
"""

from __future__ import annotations

import sys

from benchmark.steps import PHASES
from kbootstrap import cli, run
from kbootstrap.events import RunEnded
from kbootstrap.inventory.models import Inventory


def up(inventory: Inventory, *, options: run.Options, view: run.View) -> RunEnded:
    return run.Run("up", "apply", inventory, options, view).execute(PHASES)


def plan(inventory: Inventory, *, options: run.Options, view: run.View) -> RunEnded:
    return run.Run("plan", "plan", inventory, options, view).execute(PHASES)


if __name__ == "__main__":
    run.up, run.plan = up, plan
    path, *verbs = sys.argv[1:]
    sys.argv = ["kbootstrap", *(verbs or ["up", "--yes"]), path]
    cli.main()
