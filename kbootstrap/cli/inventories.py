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

ANSIBLE_S = 60
"""Time limit for ansible-inventory, in seconds."""


@click.command()
@click.argument("targets", nargs=-1, metavar="[USER@HOST...]")
@click.option(
    "--control-planes",
    type=click.IntRange(1, 9),
    default=1,
    help="How many of the hosts, counted from the first, are control plane hosts.",
)
@click.option("--name", help="The cluster's name. [default: kubernetes, or that of the file it is made from]")
@click.option(
    "--kubernetes",
    help="The Kubernetes version: a minor such as 1.37, or an exact one such as 1.37.2."
    f" [default: {show(NEWEST)}, or that of the file it is made from]",
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
@click.option("--from-k0sctl", type=click.File("r"), help="Read the hosts from a k0sctl.yaml.")
@click.option(
    "--from-kubekey",
    type=click.File("r"),
    help="Read the hosts from KubeKey's configuration: a Cluster (v1alpha2), or the Inventory of version 4.",
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
    name: str | None,
    kubernetes: str | None,
    from_vagrant: IO[str] | None,
    from_ansible: IO[str] | None,
    from_k0sctl: IO[str] | None,
    from_kubekey: IO[str] | None,
    path: Path,
) -> None:
    """Write a commented inventory. A file that exists is never overwritten.

    The first host becomes the control plane, unless --control-planes or the file of another program names more hosts.
    What is not taken over from such a file is listed.
    """
    from kbootstrap import versions
    from kbootstrap.inventory import generate, past_end_of_life, today
    from kbootstrap.inventory.from_ansible import from_ansible as read_ansible
    from kbootstrap.inventory.from_k0sctl import from_k0sctl as read_k0sctl
    from kbootstrap.inventory.from_kubekey import from_kubekey as read_kubekey
    from kbootstrap.inventory.from_vagrant import from_vagrant as read_vagrant
    from kbootstrap.inventory.imported import Imported

    others = ((from_ansible, read_ansible), (from_k0sctl, read_k0sctl), (from_kubekey, read_kubekey))
    if sum(map(bool, (targets, from_vagrant, *(file for file, _ in others)))) != 1:
        raise click.UsageError("give hosts as user@host, or one of the options --from-...")
    found = Imported(generate.from_targets(targets, control_planes) if targets else [])
    if from_vagrant is not None:
        found = Imported(read_vagrant(_text(from_vagrant), control_planes))
    for file, read in others:
        if file is not None:
            found = read(_ansible_list(file) if file is from_ansible else _text(file))
    for note in found.notes:
        click.echo(note, err=True)
    hosts = generate.with_addresses(found.hosts)
    for host in filter(generate.is_named, hosts):
        click.echo(f"{host.name}: cannot resolve {host.address}; set internal_address in the inventory", err=True)
    cluster = dict(found.cluster)
    imported = (cluster.pop("name", "kubernetes"), cluster.pop("kubernetes", show(NEWEST)))
    name, kubernetes = name or imported[0], kubernetes or imported[1]
    text = generate.render(hosts, name=name, kubernetes=kubernetes, cluster=cluster)
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


def _ansible_list(file: IO[str]) -> str:
    """An Ansible inventory as `ansible-inventory --list` shows it; its own text where that program is of no use."""
    import shutil
    import subprocess

    program = shutil.which("ansible-inventory")
    if program is None or not Path(file.name).is_file():
        return _text(file)
    try:
        done = subprocess.run(  # noqa: S603 - the operator's own program
            [program, "-i", file.name, "--list"], capture_output=True, text=True, timeout=ANSIBLE_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError) as error:
        said = error.stderr if isinstance(error, subprocess.CalledProcessError) else str(error)
        last = printable(said.strip().splitlines()[-1]) if said.strip() else "it failed"
        click.echo(f"ansible-inventory cannot read {file.name}, so it is read without: {last}", err=True)
        return _text(file)
    click.echo(f"{file.name} was read by ansible-inventory, with group_vars and host_vars", err=True)
    return done.stdout


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
