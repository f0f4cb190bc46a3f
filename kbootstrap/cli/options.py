"""Shared by the commands that connect to hosts: their options, and the functions that read them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kbootstrap.cli import completion
from kbootstrap.secret import Secret
from kbootstrap.text import printable
from kbootstrap.ui import Style

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.options import Options

F = TypeVar("F", bound=Callable[..., Any])


def _note(context: click.Context, _parameter: click.Parameter, given: Path | None) -> None:
    context.meta[completion.OPTION] = given


INVENTORY = click.option(
    "--inventory",
    "-f",
    "named",
    type=click.Path(dir_okay=False, path_type=Path),
    is_eager=True,
    expose_value=False,
    callback=_note,
    help="The inventory, instead of the argument. Default: $KBOOTSTRAP_INVENTORY, else ./kbootstrap.yaml.",
)
OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Choice(["auto", "live", "lines", "json"]),
    default="auto",
    help="How to show the run: auto is live on a terminal and lines elsewhere; json prints one object per line.",
)
LIMIT = click.option(
    "--limit",
    metavar="HOSTS",
    multiple=True,
    shell_complete=completion.hosts,
    help="Only these hosts: names, patterns (w*) or roles (role=worker), separated by commas or given repeatedly.",
)
TRUST = click.option(
    "--trust-inventory",
    is_flag=True,
    help="Let the inventory read any variable and file, and use an ssh_config that runs programs.",
)
FROM = click.option(
    "--from",
    "start",
    metavar="PHASE",
    shell_complete=completion.phases,
    help="Skip the phases before this one (see `kbootstrap phases`).",
)
ONLY = click.option("--only", metavar="PHASE", shell_complete=completion.phases, help="Only this phase.")
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Show every step, all output and complete differences.")


def common(function: F) -> F:
    """The options of every command that connects."""
    for option in (
        click.option("--parallelism", type=click.IntRange(1, 1000), help="Work on at most this many hosts at once."),
        click.option("--ask-sudo-password", "-K", is_flag=True, help="Ask for the sudo password."),
        click.option("--ask-password", "-k", is_flag=True, help="Ask for the SSH password."),
        TRUST,
        INVENTORY,
        click.argument(
            "inventory", required=False, type=click.Path(dir_okay=False, path_type=Path), callback=_the_inventory
        ),
    ):
        function = option(function)
    return function


def _the_inventory(context: click.Context, _parameter: click.Parameter, given: Path | None) -> Path:
    """The inventory that is meant (see completion.inventory_of), which must be one."""
    option: Path | None = context.meta.get(completion.OPTION)
    if given is not None and option is not None:
        raise click.UsageError(f"two inventories are given: {given} and {option}")
    found = completion.inventory_of(context, given)
    if found is completion.DEFAULT_INVENTORY and not found.exists():
        raise click.UsageError(
            f"no inventory is given, and there is no {found} here. Give a file, set KBOOTSTRAP_INVENTORY,"
            " or write one with `kbootstrap init user@host...`."
        )
    return found


def shown(function: F) -> F:
    """The options of every command that shows a run of chosen hosts."""
    return LIMIT(OUTPUT(VERBOSE(function)))


def load(path: Path, common: dict[str, Any]) -> Inventory:
    """Load the inventory, with the options of ``common``, and print its warnings."""
    from kbootstrap.inventory import load as load_inventory

    loaded = load_inventory(path, trusted=common["trust_inventory"])
    for warning in loaded.warnings:
        click.echo(f"{Style(sys.stderr).yellow('Warning:')} {printable(warning)}", err=True)
    return loaded


def chosen(common: dict[str, Any], limit: tuple[str, ...] = (), **others: Any) -> Options:
    """The options of a run: those of ``common`` and those of the command. Asks for passwords."""
    from kbootstrap.run.options import Options

    def ask(wanted: bool, prompt: str) -> Secret | None:
        if not wanted:
            return None
        try:
            typed = click.prompt(prompt, hide_input=True, err=True)
            typed.encode()
        except UnicodeError:
            raise click.UsageError(f"{prompt}: this is not UTF-8 text; check the encoding of the terminal") from None
        return Secret(typed)

    return Options(
        limit=limit or None,
        parallelism=common["parallelism"],
        ssh_password=ask(common["ask_password"], "SSH password"),
        sudo_password=ask(common["ask_sudo_password"], "sudo password"),
        **others,
    )
