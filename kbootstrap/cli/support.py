"""support-bundle: everything that somebody else needs to find the cause of a problem, in one archive."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kbootstrap.cli import completion, runs
from kbootstrap.cli.options import chosen, common
from kbootstrap.errors import InventoryError, KbootstrapError
from kbootstrap.text import counted

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.history import Recorded
    from kbootstrap.run.support import HostReport


@click.command("support-bundle")
@common
@click.option("--run", "name", metavar="RUN", shell_complete=completion.runs, help="Only the journal of this run.")
@click.option(
    "--file",
    "path",
    required=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the archive (tar.gz) to this new file (mode 0600).",
)
def support_bundle(inventory: Path, name: str | None, path: Path, **asks: Any) -> None:
    """Collect journals, facts, logs and versions for somebody who helps you.

    Has the journals of the newest runs of the cluster, the result of `kbootstrap validate`, and of every host its
    facts, versions, the logs of kubelet and runtime, and the states of the pods. Passwords, tokens and private keys
    are masked. Changes nothing on any host; one that does not answer is named in the archive.
    """
    from kbootstrap.run.bundle import Bundle, new_file, write_archive

    recorded = _chosen_runs(name)
    try:
        file = new_file(path)
    except OSError as error:
        raise InventoryError(f"{path} cannot be written: {error.strerror}", "Name a new file. [run-history]") from None
    redactor = click.get_current_context().find_root().obj
    try:
        validated, loaded = _validated(inventory, trusted=asks["trust_inventory"])
        hosts = _hosts(loaded, asks) if loaded else {}
        bundle = Bundle(validated, _of_cluster(recorded, name, loaded), hosts)
        with file:
            write_archive(bundle, redactor, file)
    except BaseException:
        file.close()
        path.unlink(missing_ok=True)
        raise
    for host, report in hosts.items():
        if report.problem:
            click.echo(redactor.clean(f"{host}: not complete: {report.problem}"), err=True)
    if loaded is None:
        click.echo("the inventory has mistakes, so no host was asked; validate.txt in the archive names them", err=True)
    click.echo(f"wrote {path}: {counted(len(bundle.runs), 'run')}, {counted(len(hosts), 'host')}", err=True)


def _chosen_runs(name: str | None) -> list[Recorded]:
    from kbootstrap.run.history import all_runs, find_run

    return [find_run(name)] if name else [run for run in all_runs() if run.events]


def _of_cluster(recorded: list[Recorded], name: str | None, loaded: Inventory | None) -> tuple[Recorded, ...]:
    """The newest runs of the inventory's cluster; of all clusters when the inventory cannot be read."""
    from kbootstrap.run.bundle import NEWEST_RUNS

    if name is None and loaded is not None:
        recorded = [run for run in recorded if run.started and run.started.cluster == loaded.cluster.name]
    return tuple(recorded[:NEWEST_RUNS])


def _validated(path: Path, *, trusted: bool) -> tuple[str, Inventory | None]:
    """What `kbootstrap validate` says, and the inventory if it can be used."""
    from kbootstrap.inventory import load

    try:
        loaded = load(path, completion.AnyVariable(os.environ), trusted=trusted)
    except InventoryError as error:
        return f"{error.message}\n{error.hint}", None
    text = "\n".join([*(f"warning: {warning}" for warning in loaded.warnings), f"{path}: no mistakes"])
    try:
        return text, load(path, trusted=trusted)
    except InventoryError as error:
        return f"{text}\nwith this environment: {error.message}\n{error.hint}", None


def _hosts(loaded: Inventory, asks: dict[str, Any]) -> dict[str, HostReport]:
    from kbootstrap.run.support import HostReport, collect

    options = chosen(asks)
    click.echo(f"asking {counted(len(loaded.hosts), 'host')} ...", err=True)
    try:
        return collect(loaded, options, runs.control())
    except KbootstrapError as error:
        return {host.name: HostReport(problem=error.message) for host in loaded.hosts}


COMMANDS = (support_bundle,)
