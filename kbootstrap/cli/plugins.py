"""Commands of other distributions, from the entry points of the group ``kbootstrap.commands``.

Reading entry points takes as long as the rest of ``--help``, so it happens only when such a command is called. The
known commands are listed without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import click

from kbootstrap.errors import KbootstrapError

GROUP = "kbootstrap.commands"


@dataclass(frozen=True)
class Plugin:
    """A command that is always listed, installed or not."""

    name: str
    summary: str
    package: str
    distribution: str

    @property
    def is_there(self) -> bool:
        return find_spec(self.package) is not None

    @property
    def how_to_get(self) -> str:
        return f"`pip install {self.distribution}`; in a checkout of kbootstrap: `scripts/setup`. [not-installed]"


PLUGINS = (Plugin("lab", "Run local hosts to try kbootstrap on.", "kbootstrap_lab", "kbootstrap-lab"),)


class NotInstalledError(KbootstrapError):
    """The command belongs to a distribution that is not installed."""

    exit_code = 2


class PluginGroup(click.Group):
    """A group with the commands of plugins."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return sorted({*super().list_commands(ctx), *(plugin.name for plugin in PLUGINS)})

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return super().get_command(ctx, cmd_name) or load(cmd_name)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands as click does, with a placeholder for each plugin, so that no plugin is imported."""
        listed = {plugin.name: _listed(plugin) for plugin in PLUGINS if plugin.name not in self.commands}
        self.commands.update(listed)
        try:
            super().format_commands(ctx, formatter)
        finally:
            for name in listed:
                del self.commands[name]


def load(name: str) -> click.Command | None:
    """The plugin command of this name, or a command that says how to install it. None when no plugin has it."""
    from importlib.metadata import entry_points

    known = next((plugin for plugin in PLUGINS if plugin.name == name), None)
    if known is not None and not known.is_there:
        return _missing(known)
    for entry in entry_points(group=GROUP, name=name):
        command: click.Command = entry.load()
        return command
    return _missing(known) if known else None


def _listed(plugin: Plugin) -> click.Command:
    note = "" if plugin.is_there else f" Not installed: pip install {plugin.distribution}"
    return click.Command(plugin.name, short_help=plugin.summary + note)


def _missing(plugin: Plugin) -> click.Command:
    def refuse(**_arguments: object) -> None:
        raise NotInstalledError(f"`kbootstrap {plugin.name}` is not installed", plugin.how_to_get)

    return click.Command(
        plugin.name,
        callback=refuse,
        params=[click.Argument(["arguments"], nargs=-1, type=click.UNPROCESSED)],
        context_settings={"ignore_unknown_options": True},
        help=f"{plugin.summary}\n\nThis command is not installed. To get it: {plugin.how_to_get}",
    )
