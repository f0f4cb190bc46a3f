"""phases, explain, completion, version: commands that describe kbootstrap and connect to no host."""

from __future__ import annotations

import re
import sys
import textwrap
from typing import TYPE_CHECKING

import click

from kbootstrap.cli.completion import names_to_explain
from kbootstrap.errors import InventoryError
from kbootstrap.steps import Step
from kbootstrap.topics import Topic, topics
from kbootstrap.ui import Style

if TYPE_CHECKING:
    from kbootstrap.phases.phase import Phase


@click.command()
def phases() -> None:
    """List the phases and their steps, in order."""
    from kbootstrap.phases.catalogue import catalogue

    for command, listed in catalogue().items():
        click.echo(Style(sys.stdout).bold(f"kbootstrap {command}"))
        for phase, steps in listed:
            click.echo(f"  {Style(sys.stdout).bold(f'{phase.name:<17}')}  {phase.title}")
            _list(steps)


def _list(steps: list[Step]) -> None:
    titles: dict[str, list[str]] = {}
    for step in steps:
        titles.setdefault(step.id, []).append(step.title)
    for name, alternatives in titles.items():
        click.echo(f"    {name:<24} {', or: '.join(alternatives)}")


@click.command()
@click.argument("name", required=False, shell_complete=names_to_explain)
def explain(name: str | None) -> None:
    """Explain a step and show its shell script, or explain the topic of a hint.

    NAME is a step or a phase from `kbootstrap phases`, PHASE.STEP, or the topic in brackets at the end of a hint.
    Without NAME, all topics are listed.
    """
    if name is None:
        for topic in topics().values():
            click.echo(f"{topic.id:<18}  {topic.title}")
    elif name.strip("[]") in topics():
        _explain_topic(topics()[name.strip("[]")])
    else:
        _explain_steps(name)


def _explain_topic(topic: Topic) -> None:
    style = Style(sys.stdout)
    click.echo(f"{style.bold(topic.id)}  {topic.title}")
    for block in topic.blocks:
        click.echo()
        # Commands stay as they are.
        lines = block.split("\n") if block.startswith("    ") else style.hanging("", block)
        click.echo("\n".join(lines))


def _explain_steps(step: str) -> None:
    """Explain the steps and phases of this name."""
    from kbootstrap.phases.catalogue import everything

    listed = everything()
    wanted = step.replace("/", ".")
    phases = [(phase, steps) for phase, steps in listed if phase.name == wanted]
    found = [(phase, one) for phase, steps in listed for one in steps if _is_meant(wanted, phase, one)]
    if not phases and not found:
        raise InventoryError(f"there is no step, phase or topic {step!r}", _nearest(wanted, listed))
    for phase, steps in phases:
        click.echo(Style(sys.stdout).bold(phase.name) + f"  {phase.title}")
        click.echo(textwrap.fill(phase.why, 100))
        _list(steps)
        # A phase with a single step is explained as that step.
        found += [(phase, one) for one in steps if len(steps) == 1 and (phase, one) not in found]
    for number, (phase, one) in enumerate(found):
        if phases or number:
            click.echo()
        _explain(phase, one)


def _is_meant(wanted: str, phase: Phase, step: Step) -> bool:
    """Whether ``wanted`` is the step's id: with or without its phase, and with any node name in place of NODE."""
    from kbootstrap.phases.catalogue import NODE

    pattern = f"({re.escape(phase.name)}[.])?" + re.escape(step.id).replace(NODE, ".+")
    return re.fullmatch(pattern, wanted) is not None


def _nearest(wanted: str, listed: list[tuple[Phase, list[Step]]]) -> str:
    import difflib

    names = {phase.name for phase, _ in listed} | {step.id for _, steps in listed for step in steps}
    names |= set(topics())
    close = difflib.get_close_matches(wanted.rpartition(".")[2], sorted(names), n=3)
    text = (
        f"Did you mean {', '.join(map(repr, close))}?" if close else "See `kbootstrap phases` and `kbootstrap explain`."
    )
    return f"{text} [unknown-name]"


def _explain(phase: Phase, one: Step) -> None:
    from kbootstrap.remote.script import PACKAGE

    click.echo(Style(sys.stdout).bold(f"{phase.name}.{one.id}") + f"  {one.title}")
    click.echo(textwrap.fill(one.why, 100))
    if not one.script:
        click.echo("This step runs in Python on this machine (kbootstrap/run/hosts.py and run.py).")
        return
    if one.params:
        click.echo(f"\nParameters: {', '.join(sorted(one.params))}")
    limits = f"at most {one.timeout} s" + (f", tried up to {one.retries + 1} times" if one.retries else "")
    click.echo(f"Limits: {limits}" + ("; changes nothing" if one.wait_only else ""))
    click.echo(f"Libraries: {', '.join(_libraries(one))}")
    click.echo(f"\n--- phases/{one.script}")
    click.echo((PACKAGE / "phases" / one.script).read_text(encoding="utf-8"), nl=False)


def _libraries(step: Step) -> list[str]:
    """The files with the shell functions that a step uses."""
    from kbootstrap.remote.script import library_path

    families = ("el", "debian")
    files = [dict.fromkeys(library_path(name, family) for family in families) for name in step.libraries]
    return ["shell/runner.sh", *(" or ".join(file) for file in files)]


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print a shell completion script, for commands, hosts, steps, topics and labs.

    \b
    bash: kbootstrap completion bash >~/.local/share/bash-completion/completions/kbootstrap
    zsh:  kbootstrap completion zsh >"${fpath[1]}/_kbootstrap"
    fish: kbootstrap completion fish >~/.config/fish/completions/kbootstrap.fish
    """
    from click.shell_completion import get_completion_class

    from kbootstrap.cli import cli

    found = get_completion_class(shell)
    if found is None:
        raise InventoryError(f"there is no completion for {shell}")
    click.echo(found(cli, {}, "kbootstrap", "_KBOOTSTRAP_COMPLETE").source())


@click.command()
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="How to show it.")
def version(output: str) -> None:
    """Show the version of kbootstrap, and the Kubernetes versions it knows."""
    import json
    import platform

    from kbootstrap import __version__, versions

    oldest, newest = versions.show(versions.OLDEST), versions.show(versions.NEWEST)
    if output == "json":
        known = {"oldest": oldest, "newest": newest}
        click.echo(json.dumps({"kbootstrap": __version__, "python": platform.python_version(), "kubernetes": known}))
    else:
        click.echo(f"kbootstrap {__version__} (Python {platform.python_version()}), Kubernetes {oldest} to {newest}")


COMMANDS = (phases, explain, completion, version)
