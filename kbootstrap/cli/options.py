"""Shared by the commands that connect to hosts: their options, and the functions that read them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kbootstrap.secret import Secret
from kbootstrap.text import printable
from kbootstrap.ui import Style

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.options import Options

F = TypeVar("F", bound=Callable[..., Any])

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
    help="Only these hosts: names, patterns (w*) or roles (role=worker), separated by commas or given repeatedly.",
)
VERBOSE = click.option("--verbose", "-v", is_flag=True, help="Show every step, all output and complete differences.")


def common(function: F) -> F:
    """The options of every command that connects."""
    for option in (
        click.option("--parallelism", type=click.IntRange(1, 1000), help="Work on at most this many hosts at once."),
        click.option("--ask-sudo-password", "-K", is_flag=True, help="Ask for the sudo password."),
        click.option("--ask-password", "-k", is_flag=True, help="Ask for the SSH password."),
        click.option(
            "--trust-inventory",
            is_flag=True,
            help="Let the inventory read any variable and file, and use an ssh_config that runs programs.",
        ),
        click.argument("inventory", type=click.Path(dir_okay=False, path_type=Path)),
    ):
        function = option(function)
    return function


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
