"""init, validate and schema: commands that help to write an inventory."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import IO

import click

from kbootstrap.cli.completion import DEFAULT_INVENTORY, AnyVariable, inventory_of
from kbootstrap.cli.options import TRUST
from kbootstrap.errors import InventoryError
from kbootstrap.text import counted, printable
from kbootstrap.versions import NEWEST, show


@click.command()
@click.argument("targets", nargs=-1, metavar="[USER@HOST...]")
@click.option(
    "--control-planes",
    type=click.IntRange(1, 9),
    default=1,
    help="How many of the hosts, counted from the first, are control plane hosts.",
)
@click.option("--name", default="kubernetes", help="The cluster's name.")
@click.option(
    "--kubernetes",
    default=show(NEWEST),
    show_default=True,
    help="The Kubernetes version: a minor such as 1.37, or an exact one such as 1.37.2.",
)
@click.option(
    "--from-vagrant",
    type=click.File("r"),
    help="Read the hosts from the output of `vagrant ssh-config` (- for standard input).",
)
@click.option(
    "--from-ansible",
    type=click.File("r"),
    help="Read the hosts from an Ansible inventory: INI, YAML, or the output of `ansible-inventory --list`.",
)
@click.option(
    "--file",
    "-f",
    "path",
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    default=DEFAULT_INVENTORY,
    show_default=True,
    help="Write it to this new file (mode 0600); - is standard output.",
)
def init(
    targets: tuple[str, ...],
    control_planes: int,
    name: str,
    kubernetes: str,
    from_vagrant: IO[str] | None,
    from_ansible: IO[str] | None,
    path: Path,
) -> None:
    """Write a commented inventory. A file that exists is never overwritten.

    The first host becomes the control plane, unless --control-planes or Ansible's groups name more hosts.
    """
    from kbootstrap import versions
    from kbootstrap.inventory import generate, past_end_of_life, today
    from kbootstrap.inventory.from_ansible import from_ansible as read_ansible
    from kbootstrap.inventory.from_vagrant import from_vagrant as read_vagrant

    if sum(map(bool, (targets, from_vagrant, from_ansible))) != 1:
        raise click.UsageError("give hosts as user@host, or give one of --from-vagrant and --from-ansible")
    if from_vagrant is not None:
        hosts = read_vagrant(_text(from_vagrant), control_planes)
    elif from_ansible is not None:
        imported = read_ansible(_text(from_ansible))
        hosts = imported.hosts
        for note in imported.notes:
            click.echo(note, err=True)
    else:
        hosts = generate.from_targets(targets, control_planes)
    hosts = generate.with_addresses(hosts)
    for host in filter(generate.is_named, hosts):
        click.echo(f"{host.name}: cannot resolve {host.address}; set internal_address in the inventory", err=True)
    text = generate.render(hosts, name=name, kubernetes=kubernetes)
    for warning in past_end_of_life(versions.parse(kubernetes)[0], today()):
        click.echo(f"Warning: {warning}", err=True)
    if str(path) == "-":
        click.echo(text, nl=False)
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise InventoryError(
            f"{path} already exists", "Choose another file name, or remove the file first. [inventory]"
        ) from None
    except OSError as error:
        raise InventoryError(f"{path} cannot be written: {error.strerror}") from None
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    named = "" if path == DEFAULT_INVENTORY else f" {shlex.quote(str(path))}"
    click.echo(f"wrote {path}; next: kbootstrap plan{named}", err=True)


def _text(file: IO[str]) -> str:
    try:
        return file.read()
    except UnicodeDecodeError:
        raise InventoryError(f"{file.name} is not UTF-8 text") from None


@click.command()
@click.argument("inventories", nargs=-1, type=click.Path(dir_okay=False, path_type=Path), metavar="[INVENTORY]...")
@click.option(
    "--inventory", "-f", "more", multiple=True, type=click.Path(dir_okay=False, path_type=Path), help="The same."
)
@TRUST
@click.pass_context
def validate(
    context: click.Context, inventories: tuple[Path, ...], more: tuple[Path, ...], trust_inventory: bool
) -> None:
    """Check inventories without any connection, for CI and editors.

    Lists every mistake of all files with its line. Environment variables that an inventory refers to need not be set.
    """
    from kbootstrap.inventory import load

    wrong: list[InventoryError] = []
    for path in (*inventories, *more) or (inventory_of(context, None),):
        try:
            loaded = load(path, AnyVariable(os.environ), trusted=trust_inventory)
        except InventoryError as error:
            wrong.append(error)
            continue
        for warning in loaded.warnings:
            click.echo(f"{path}: warning: {printable(warning)}", err=True)
        click.echo(
            f"{path}: no mistakes ({counted(len(loaded.hosts), 'host')}, Kubernetes {loaded.cluster.kubernetes})"
        )
    if wrong:
        raise InventoryError("\n".join(error.message for error in wrong), wrong[0].hint)


@click.command()
def schema() -> None:
    """Print the JSON Schema of an inventory, for editors."""
    from kbootstrap.inventory.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


COMMANDS = (init, validate, schema)
