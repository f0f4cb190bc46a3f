"""phases, explain, completion: what kbootstrap would tell you about itself."""

from __future__ import annotations

import os
import textwrap

import click

from kbootstrap.model import InventoryError, Phase, Step


@click.command()
def phases() -> None:
    """List the phases of `up`, `status` and `reset` with their steps, in order."""
    from kbootstrap.phases.catalogue import catalogue

    for phase, steps in catalogue():
        click.echo(f"{click.style(phase.name, bold=True):<12}  {phase.title}")
        for step in steps:
            click.echo(f"    {step.id:<24} {step.title}")


@click.command()
@click.argument("step")
def explain(step: str) -> None:
    """Say what a step does and why, and show the shell it runs. STEP is an id from `kbootstrap phases`."""
    from kbootstrap.phases.catalogue import catalogue

    name = step.replace("/", ".").rpartition(".")[2]
    found = [(phase, s) for phase, steps in catalogue() for s in steps if s.id == name]
    if not found:
        import difflib

        ids = [s.id for _, steps in catalogue() for s in steps]
        close = difflib.get_close_matches(name, ids, n=3)
        raise InventoryError(
            f"there is no step {step!r}", f"Did you mean {', '.join(close)}?" if close else "See `kbootstrap phases`."
        )
    for phase, one in found:
        _explain(phase, one)


def _explain(phase: Phase, one: Step) -> None:
    from kbootstrap.script import PACKAGE

    click.echo(click.style(f"{phase.name}.{one.id}", bold=True) + f"  {one.title}")
    click.echo(textwrap.fill(one.why, 100))
    if one.params:
        click.echo(f"\nParameters: {', '.join(sorted(one.params))}")
    limits = f"at most {one.timeout} s" + (f", tried up to {one.retries + 1} times" if one.retries else "")
    click.echo(f"Limits: {limits}" + ("; only waits, changes nothing" if one.waits else ""))
    click.echo(f"\n--- phases/{one.shell}")
    click.echo((PACKAGE / "phases" / one.shell).read_text(encoding="utf-8"), nl=False)


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(shell: str) -> None:
    """Print the completion script: `source <(kbootstrap completion bash)`."""
    from click.shell_completion import get_completion_class

    from kbootstrap.cli import cli

    found = get_completion_class(shell)
    if found is None:
        raise InventoryError(f"there is no completion for {shell}")
    click.echo(found(cli, {}, "kbootstrap", "_KBOOTSTRAP_COMPLETE").source())
    if shell == "bash" and not os.environ.get("BASH_VERSION"):
        return


COMMANDS = (phases, explain, completion)
