"""runs and report: commands that read the journals of earlier runs. They connect to no host."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kbootstrap.cli import completion
from kbootstrap.cli.options import VERBOSE
from kbootstrap.text import counted

if TYPE_CHECKING:
    from kbootstrap.run.history import Recorded


@click.command("runs")
@click.argument("name", metavar="[RUN]", required=False, shell_complete=completion.runs)
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "json"]),
    default="text",
    help="How to show the runs: json is one object for the list, and for a RUN the lines of `up --output json`.",
)
@VERBOSE
def runs(name: str | None, output: str, verbose: bool) -> None:
    """List the runs of the last time, or show one again.

    RUN is the id of a run or the beginning of it; `last` is the newest run. A run that was killed is shown as far as
    its journal goes. The newest 50 runs are kept.
    """
    import json
    import sys

    from kbootstrap.run.history import all_runs, find_run
    from kbootstrap.ui import Style, choose_view
    from kbootstrap.ui.history import run_object, runs_lines

    if name is None:
        found = list(all_runs())
        begun = [run for run in found if run.events or run.damage]
        if output == "json":
            click.echo(json.dumps({"runs": [run_object(run) for run in found]}, ensure_ascii=False))
        elif begun:
            for line in runs_lines(begun):
                click.echo("\n".join(Style(sys.stdout).hanging("", line, indent=4)))
        if output != "json" and len(begun) < len(found):
            left_out = counted(len(found) - len(begun), "run")
            click.echo(f"{left_out} that ended before the first step: not listed.", err=True)
        elif not found:
            click.echo("No run has a journal yet.", err=True)
        return
    recorded = find_run(name)
    with choose_view("json" if output == "json" else "lines", verbose=verbose) as view:
        for event in recorded.events:
            view.handle(event)
    tell_problems(recorded)


def tell_problems(recorded: Recorded) -> None:
    """Say on standard error what the journal does not have."""
    for problem in recorded.problems:
        click.echo(f"The journal of {recorded.run_id} is not whole: {problem}", err=True)


@click.command()
@click.argument("name", metavar="[RUN]", required=False, default="last", shell_complete=completion.runs)
@click.option(
    "--html",
    "path",
    required=True,
    type=click.Path(dir_okay=False, allow_dash=True, path_type=Path),
    help="Write the page to this new file, or over an earlier report (mode 0600); - is standard output.",
)
def report(name: str, path: Path) -> None:
    """Write the report of a run: one HTML page that needs nothing else.

    It has a timeline of every host and step, who waited for whom, the critical path, the differences, the warnings, and
    the failures with their output. RUN is as for `kbootstrap runs`; without it, the newest run.
    """
    from kbootstrap.run.history import find_run
    from kbootstrap.ui.report import report_html, save_report

    recorded = find_run(name)
    page = report_html(recorded)
    if str(path) == "-":
        click.echo(page, nl=False)
    else:
        save_report(page, path)
        click.echo(f"wrote {path}", err=True)
    tell_problems(recorded)


COMMANDS = (runs, report)
