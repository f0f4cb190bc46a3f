"""plan, up, check, verify, status, kubeconfig, reset: the commands that connect to hosts."""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Any

import click

from kbootstrap.cli import runs
from kbootstrap.cli.options import FROM, ONLY, OUTPUT, VERBOSE, chosen, common, load, shown


@click.command()
@common
@shown
@FROM
@ONLY
@click.option("--exit-code", is_flag=True, help="Exit with 3 when changes are pending.")
@click.option(
    "--script",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the scripts that `up` would run to this folder, per host.",
)
def plan(
    inventory: Path,
    start: str | None,
    only: str | None,
    exit_code: bool,
    script: Path | None,
    limit: tuple[str, ...],
    output: str,
    verbose: bool,
    **asks: Any,
) -> int:
    """Show what `up` would change, without changing anything."""
    from kbootstrap import run

    wanted = load(inventory, asks)
    verb: runs.Verb = run.plan if script is None else functools.partial(run.write_scripts, directory=script)
    options = chosen(asks, limit, start=start, only=only)
    planned = runs.execute(verb, wanted, options, runs.plan_view(wanted, output, verbose))
    if script is not None:
        click.echo(f"wrote the scripts to {script}; {script / 'README'} says how to run them", err=True)
    return runs.exit_code_of_plan(planned, exit_code=exit_code)


@click.command()
@common
@shown
@click.option("--yes", "-y", is_flag=True, help="Apply the plan without asking.")
@click.option("--dry-run", is_flag=True, help="Only show the plan, as `kbootstrap plan` does.")
@FROM
@ONLY
@click.option("--exit-code", is_flag=True, help="With --dry-run: exit with 3 when changes are pending.")
def up(
    inventory: Path,
    yes: bool,
    dry_run: bool,
    start: str | None,
    only: str | None,
    exit_code: bool,
    limit: tuple[str, ...],
    output: str,
    verbose: bool,
    **asks: Any,
) -> int:
    """Make the cluster match the inventory.

    Shows the plan, asks for confirmation, applies the plan, and verifies that every node is Ready. You can always run
    it again: what is done is not done twice. With --yes, only the totals of the plan are shown, and with --output json
    no plan is made.
    """
    from kbootstrap import run
    from kbootstrap.ui import choose_view

    if exit_code and not dry_run:
        raise click.UsageError("--exit-code needs --dry-run")
    wanted = load(inventory, asks)
    options = chosen(asks, limit, start=start, only=only)
    if dry_run or not yes:
        if not dry_run:
            runs.require_terminal("--yes to apply the plan, or use `kbootstrap plan`")
        view = runs.plan_view(wanted, output, verbose, run_follows=not dry_run)
        planned = runs.execute(run.plan, wanted, options, view)
        if dry_run:
            return runs.exit_code_of_plan(planned, exit_code=exit_code)
        if not runs.confirm_up(planned):
            return planned.exit_code
    elif output != "json":
        view = runs.plan_view(wanted, output, verbose, short=True)
        if runs.nothing_to_do(runs.execute(run.plan, wanted, options, view)):
            return 0
    return runs.execute(run.up, wanted, options, choose_view(output, verbose=verbose), stoppable=True).exit_code


@click.command()
@common
@shown
def check(inventory: Path, limit: tuple[str, ...], output: str, verbose: bool, **asks: Any) -> int:
    """Check whether the hosts meet the requirements.

    Lists every problem of all hosts and changes nothing. `plan` and `up` start with the same checks.
    """
    from kbootstrap import run

    wanted = load(inventory, asks)
    view = runs.plan_view(wanted, output, verbose)
    return runs.execute(run.check, wanted, chosen(asks, limit), view).exit_code


@click.command()
@common
@OUTPUT
@VERBOSE
@click.option(
    "--deep",
    is_flag=True,
    help="Also test every connection: pod to pod between all nodes, Service, DNS and NodePort.",
)
def verify(inventory: Path, deep: bool, output: str, verbose: bool, **asks: Any) -> int:
    """Wait until every node is Ready, every system pod runs, and a packet passes between two nodes.

    Waits up to five minutes for the nodes and up to five minutes for the pods, then lists what is not ready.
    """
    from kbootstrap import run
    from kbootstrap.ui import choose_view

    wanted = load(inventory, asks)
    view = choose_view(output, verbose=verbose)
    return runs.execute(run.verify, wanted, chosen(asks, deep=deep), view, stoppable=True).exit_code


@click.command()
@common
@click.option(
    "--output",
    "-o",
    type=click.Choice(["text", "wide", "json", "yaml"]),
    default="text",
    help="How to show the status: wide adds the SSH address, the system, the kernel and the runtime.",
)
def status(inventory: Path, output: str, **asks: Any) -> int:
    """Show the nodes as the API server sees them.

    The exit code is 1 when a node is missing or not Ready, or when a system pod is not running.
    """
    import dataclasses
    import json

    import yaml

    from kbootstrap import run
    from kbootstrap.ui.status import status_lines

    wanted = load(inventory, asks)
    state = run.status(wanted, options=chosen(asks), control=runs.control())
    data = {**json.loads(json.dumps(dataclasses.asdict(state))), "ok": state.ok}
    if output == "json":
        click.echo(json.dumps(data))
    elif output == "yaml":
        click.echo(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), nl=False)
    else:
        click.echo("\n".join(status_lines(state, wanted, wide=output == "wide")))
    return 0 if state.ok else 1


@click.command()
@common
@click.option(
    "--file", "path", type=click.Path(dir_okay=False, path_type=Path), help="Write it to this file (mode 0600)."
)
@click.option(
    "--merge",
    is_flag=True,
    help="Merge it into your kubeconfig (or into --file), as a context named after the cluster.",
)
def kubeconfig(inventory: Path, path: Path | None, merge: bool, **asks: Any) -> int:
    """Fetch the administrator's kubeconfig.

    Prints it, writes it to a file (--file), or merges it into your own (--merge): the first file in $KUBECONFIG, or
    else ~/.kube/config. A current context in that file stays the current context.
    """
    from kbootstrap import run
    from kbootstrap.kubernetes import kubeconfig as files

    wanted = load(inventory, asks)
    text = run.kubeconfig(wanted, options=chosen(asks), control=runs.control())
    usable = files.usable(text)
    if not usable:
        click.echo(files.NOT_FOR_KUBECTL, err=True)
    if path is None and not merge:
        click.echo(text, nl=False)
        return 0
    target = path or files.default_path()
    files.save(text, target, wanted.cluster.name, merge=merge)
    elsewhere = f" --kubeconfig {shlex.quote(str(path))}" if path and path != files.default_path() else ""
    after = f"; next: kubectl{elsewhere} --context {wanted.cluster.name} get nodes" if usable else ""
    click.echo(f"wrote {target}{after}", err=True)
    return 0


@click.command()
@common
@shown
@click.option("--yes", "-y", is_flag=True, help="Reset without asking for the cluster's name.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option(
    "--keep-host-settings",
    is_flag=True,
    help="Keep the host settings that `up` changed (swap, firewall, sysctl ...).",
)
@click.option("--purge", is_flag=True, help="Also remove the packages that `up` installed, and containerd's images.")
@click.option(
    "--force-host",
    "force_hosts",
    metavar="HOST",
    multiple=True,
    help="Reset this host even though it is a member of another cluster. Can be given more than once.",
)
def reset(
    inventory: Path,
    yes: bool,
    dry_run: bool,
    keep_host_settings: bool,
    purge: bool,
    force_hosts: tuple[str, ...],
    limit: tuple[str, ...],
    output: str,
    verbose: bool,
    **asks: Any,
) -> int:
    """Undo `up`, on the whole cluster or on some hosts.

    Removes the cluster, or removes the hosts of --limit from it, and restores the settings the hosts had before. Shows
    the plan and asks for the cluster's name.
    """
    from kbootstrap import run
    from kbootstrap.ui import choose_view

    wanted = load(inventory, asks)
    options = chosen(asks, limit, keep_settings=keep_host_settings, purge=purge, force_hosts=force_hosts)
    if dry_run or not yes:
        if not dry_run:
            runs.require_terminal("--yes to reset, or --dry-run to see the plan")
        view = runs.plan_view(wanted, output, verbose, run_follows=not dry_run)
        planned = runs.execute(run.plan_reset, wanted, options, view)
        if dry_run or not runs.confirm_reset(planned, wanted, options):
            return planned.exit_code
    return runs.execute(run.reset, wanted, options, choose_view(output, verbose=verbose), stoppable=True).exit_code


COMMANDS = (plan, up, check, verify, status, kubeconfig, reset)
