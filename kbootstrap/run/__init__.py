"""The verbs. Each connects to the hosts, gathers their facts, runs a workflow, and returns the result.

``plan`` and ``up`` run the same workflow: the same checks decide in both. All functions raise KbootstrapError, or a
subclass for the cause, for an error before the run starts. Failures on a host are in the result.
"""

from __future__ import annotations

from pathlib import Path

from kbootstrap.events import RunEnded
from kbootstrap.inventory.models import Inventory
from kbootstrap.run import cluster_status
from kbootstrap.run.cluster_status import ClusterStatus
from kbootstrap.run.export import export_scripts
from kbootstrap.run.options import Control, Options
from kbootstrap.run.run import Run, View
from kbootstrap.run.workflow import CHECK, RESET, UP, VERIFY, Workflow
from kbootstrap.steps import Mode

_DEFAULTS = Options()


def _ignore(_event: object) -> None:
    """The view of a caller that does not pass one."""


def _execute(
    workflow: Workflow, mode: Mode, inventory: Inventory, options: Options, control: Control | None, view: View
) -> RunEnded:
    return Run(workflow, mode, inventory, options, control or Control(), view).execute()


def plan(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """What ``up`` would do. Changes nothing on any host."""
    return _execute(UP, "plan", inventory, options, control, view)


def up(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """Make the cluster match the inventory, and verify that every node is Ready."""
    return _execute(UP, "apply", inventory, options, control, view)


def plan_reset(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """What ``reset`` would do. Changes nothing on any host."""
    return _execute(RESET, "plan", inventory, options, control, view)


def reset(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """Remove the hosts from the cluster and restore their original state."""
    return _execute(RESET, "apply", inventory, options, control, view)


def check(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """Check the requirements on every host. Changes nothing."""
    return _execute(CHECK, "plan", inventory, options, control, view)


def verify(
    inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None, view: View = _ignore
) -> RunEnded:
    """Wait until every node is Ready, every system pod runs and a packet passes, or report the reason.

    With ``options.deep``, test every connection between the nodes; the event ``NetworkTested`` has each of them.
    """
    return _execute(VERIFY, "apply", inventory, options, control, view)


def status(inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None) -> ClusterStatus:
    """The cluster as its API server sees it. Raises KbootstrapError when the API server does not answer."""
    return cluster_status.read_status(inventory, options, control or Control())


def kubeconfig(inventory: Inventory, *, options: Options = _DEFAULTS, control: Control | None = None) -> str:
    """The administrator's kubeconfig, as YAML. Raises KbootstrapError when there is no cluster."""
    return cluster_status.read_kubeconfig(inventory, options, control or Control())


def write_scripts(
    inventory: Inventory,
    directory: Path,
    *,
    options: Options = _DEFAULTS,
    control: Control | None = None,
    view: View = _ignore,
) -> RunEnded:
    """Write the scripts that ``up`` would send to ``directory``, per host. Runs a plan to get the facts they need."""
    return export_scripts(inventory, directory, options=options, control=control or Control(), view=view)
