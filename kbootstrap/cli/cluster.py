"""plan, up, check, verify, status, kubeconfig: the commands that speak to hosts."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from kbootstrap.model import Event, KbootstrapError, RunEnded, Secret, counted

if TYPE_CHECKING:
    from kbootstrap.inventory import Inventory
    from kbootstrap.run import Options
    from kbootstrap.ui import View

F = TypeVar("F", bound=Callable[..., Any])

PENDING = 3
"""Exit code of ``plan --exit-code`` when something would change."""

_OUTPUT = click.option(
    "--output",
    "-o",
    type=click.Choice(["auto", "live", "lines", "json"]),
    default="auto",
    help="How to show the run: auto is live on a terminal and lines elsewhere; json prints one object per line.",
)
_LIMIT = click.option("--limit", metavar="HOSTS", default="", help="Only these hosts (names separated by commas).")
_VERBOSE = click.option(
    "--verbose", "-v", is_flag=True, help="Show everything: every step, all output, whole differences."
)


def _common(function: F) -> F:
    """The options every command that connects has."""
    for option in (
        click.option("--parallelism", type=click.IntRange(1, 1000), help="Work on at most this many hosts at once."),
        click.option("--ask-sudo-password", "-K", is_flag=True, help="Ask for the sudo password."),
        click.option("--ask-password", "-k", is_flag=True, help="Ask for the SSH password."),
        click.argument("inventory", type=click.Path(dir_okay=False, path_type=Path)),
    ):
        function = option(function)
    return function


@click.command()
@_common
@_LIMIT
@_OUTPUT
@_VERBOSE
@click.option("--exit-code", is_flag=True, help="Exit with 3 when something would change.")
@click.option(
    "--script",
    type=click.Path(file_okay=False, path_type=Path),
    help="Also write the scripts that `up` would run into this folder, per host.",
)
def plan(
    inventory: Path, exit_code: bool, script: Path | None, limit: str, output: str, verbose: bool, **asks: Any
) -> int:
    """Show what `up` would do, and change nothing."""
    from kbootstrap import run

    wanted = _load(inventory)
    options = _options(asks, limit)
    with _views(wanted, options, _plan_view(wanted, output, verbose)) as (journaled, view):
        if script is None:
            ended = run.plan(wanted, options=journaled, view=view)
        else:
            ended = run.write_scripts(wanted, script, options=journaled, view=view)
    return _pending(ended) if exit_code else ended.exit_code


@click.command()
@_common
@_LIMIT
@_OUTPUT
@_VERBOSE
@click.option("--yes", "-y", is_flag=True, help="Apply the plan without asking.")
@click.option("--dry-run", is_flag=True, help="Only show the plan, as `kbootstrap plan` does.")
@click.option("--from", "start", metavar="PHASE", help="Skip the phases before this one (see `kbootstrap phases`).")
@click.option("--only", metavar="PHASE", help="Run only this phase.")
@click.option("--exit-code", is_flag=True, help="With --dry-run: exit with 3 when something would change.")
def up(
    inventory: Path,
    yes: bool,
    dry_run: bool,
    start: str | None,
    only: str | None,
    exit_code: bool,
    limit: str,
    output: str,
    verbose: bool,
    **asks: Any,
) -> int:
    """Make the cluster what the inventory says.

    Shows the plan, asks, applies it, and verifies that every node is Ready. It can always be run again: what is done
    is not done twice.
    """
    from kbootstrap import run
    from kbootstrap.ui import choose_view

    wanted = _load(inventory)
    options = _options(asks, limit, start=start, only=only)
    if dry_run or not yes:
        if not dry_run:
            _require_terminal("--yes to apply the plan, or use `kbootstrap plan`")
        with _views(wanted, options, _plan_view(wanted, output, verbose, goes_on=not dry_run)) as (journaled, view):
            planned = run.plan(wanted, options=journaled, view=view)
        if dry_run:
            return _pending(planned) if exit_code else planned.exit_code
        if not _go_on(planned):
            return planned.exit_code
    with _views(wanted, options, choose_view(output, verbose=verbose)) as (journaled, view), _stoppable(journaled.stop):
        return run.up(wanted, options=journaled, view=view).exit_code


@click.command()
@_common
@_LIMIT
@_OUTPUT
@_VERBOSE
def check(inventory: Path, limit: str, output: str, verbose: bool, **asks: Any) -> int:
    """Check whether the hosts are fit for the cluster.

    Lists everything that is in the way, for all hosts at once, and changes nothing. `plan` and `up` begin with the same
    checks.
    """
    from kbootstrap import run

    wanted = _load(inventory)
    options = _options(asks, limit)
    with _views(wanted, options, _plan_view(wanted, output, verbose)) as (journaled, view):
        return run.check(wanted, options=journaled, view=view).exit_code


@click.command()
@_common
@_OUTPUT
@_VERBOSE
def verify(inventory: Path, output: str, verbose: bool, **asks: Any) -> int:
    """Wait until every node is Ready and every system pod runs.

    Waits up to five minutes for the nodes and as long for the pods, then says what is wrong.
    """
    from kbootstrap import run
    from kbootstrap.ui import choose_view

    wanted = _load(inventory)
    options = _options(asks, "")
    with _views(wanted, options, choose_view(output, verbose=verbose)) as (journaled, view), _stoppable(journaled.stop):
        return run.verify(wanted, options=journaled, view=view).exit_code


@click.command()
@_common
@click.option("--output", "-o", type=click.Choice(["text", "json"]), default="text", help="How to show the status.")
def status(inventory: Path, output: str, **asks: Any) -> int:
    """Show the nodes as the API server sees them.

    The exit code is 1 when a node is missing or not Ready, or when a system pod does not run.
    """
    import dataclasses
    import json

    from kbootstrap import run
    from kbootstrap.ui.status import status_lines

    wanted = _load(inventory)
    state = run.status(wanted, options=_options(asks, ""))
    if output == "json":
        click.echo(json.dumps({**dataclasses.asdict(state), "ok": state.ok}))
    else:
        click.echo("\n".join(status_lines(state, wanted)))
    return 0 if state.ok else 1


@click.command()
@_common
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

    It is printed, written to a file (--file), or merged into yours (--merge): the first file in $KUBECONFIG, or else
    ~/.kube/config. When that has a current context, it stays the current one.
    """
    from kbootstrap import kubeconfig_file, run

    wanted = _load(inventory)
    text = run.kubeconfig(wanted, options=_options(asks, ""))
    if path is None and not merge:
        click.echo(text, nl=False)
        return 0
    target = path or kubeconfig_file.default_path()
    kubeconfig_file.save(text, target, wanted.cluster.name, merge=merge)
    click.echo(f"wrote {target}; next: kubectl --context {wanted.cluster.name} get nodes", err=True)
    return 0


@click.command()
@_common
@_LIMIT
@_OUTPUT
@_VERBOSE
@click.option("--yes", "-y", is_flag=True, help="Reset without asking for the cluster's name.")
@click.option("--dry-run", is_flag=True, help="Only show the plan.")
@click.option(
    "--keep-host-settings",
    is_flag=True,
    help="Leave the host settings that `up` changed (swap, firewall, sysctl ...) as they are.",
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
    limit: str,
    output: str,
    verbose: bool,
    **asks: Any,
) -> int:
    """Undo `up`, on the whole cluster or on some hosts.

    Takes the cluster down, or the hosts of --limit out of it, and gives the hosts back the settings they had before.
    Shows the plan, and asks for the cluster's name.
    """
    import dataclasses

    from kbootstrap import run
    from kbootstrap.ui import choose_view

    wanted = _load(inventory)
    options = dataclasses.replace(
        _options(asks, limit), keep_settings=keep_host_settings, purge=purge, force_hosts=force_hosts
    )
    if dry_run or not yes:
        if not dry_run:
            _require_terminal("--yes to reset, or --dry-run to only look")
        with _views(wanted, options, _plan_view(wanted, output, verbose, goes_on=not dry_run)) as (journaled, view):
            planned = run.plan_reset(wanted, options=journaled, view=view)
        if dry_run or not _reset_is_meant(planned, wanted):
            return planned.exit_code
    with _views(wanted, options, choose_view(output, verbose=verbose)) as (journaled, view), _stoppable(journaled.stop):
        return run.reset(wanted, options=journaled, view=view).exit_code


COMMANDS = (plan, up, check, verify, status, kubeconfig, reset)


# --- what they share -------------------------------------------------------------------------------------------------


def _load(path: Path) -> Inventory:
    from kbootstrap import inventory

    loaded = inventory.load(path)
    for warning in loaded.warnings:
        click.echo(f"{click.style('Warning:', fg='yellow')} {warning}", err=True)
    return loaded


def _options(asks: dict[str, Any], limit: str, *, start: str | None = None, only: str | None = None) -> Options:
    from kbootstrap.run import Options

    def ask(wanted: bool, prompt: str) -> Secret | None:
        return Secret(click.prompt(prompt, hide_input=True, err=True)) if wanted else None

    return Options(
        limit=tuple(name.strip() for name in limit.split(",") if name.strip()),
        start=start,
        only=only,
        parallelism=asks["parallelism"],
        ssh_password=ask(asks["ask_password"], "SSH password"),
        sudo_password=ask(asks["ask_sudo_password"], "sudo password"),
    )


def _require_terminal(instead: str) -> None:
    """There will be a question: better known before anything connects."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"there is no terminal to ask on; give {instead}")


def _plan_view(inventory: Inventory, output: str, verbose: bool, *, goes_on: bool = False) -> View:
    """A plan, with what the hosts are doing on standard error until it is complete.

    With ``goes_on`` a run follows, whose JSON lines are to be the only ones on standard output.
    """
    from kbootstrap.ui import Several, can_redraw, choose_view
    from kbootstrap.ui.plan import PlanView

    if output == "json" and not goes_on:
        return choose_view("json")
    plan = PlanView(sys.stderr if output == "json" else sys.stdout, inventory, verbose=verbose)
    if output == "lines" or not can_redraw(sys.stderr):
        return plan
    from kbootstrap.ui.live import Progress

    return Several(Progress(sys.stderr), plan)


@contextlib.contextmanager
def _views(inventory: Inventory, options: Options, view: View) -> Iterator[tuple[Options, Callable[[Event], None]]]:
    """The view and the journal of one run, as one callable; the options with the run's id and journal."""
    import dataclasses

    from kbootstrap.journal import Journal
    from kbootstrap.redact import Redactor
    from kbootstrap.run import new_run_id

    run_id = new_run_id()
    secrets = [s for s in (options.ssh_password, options.sudo_password) if s is not None]
    with Journal(run_id, Redactor([*inventory.secrets(), *secrets])) as journal, view:

        def handle(event: Event) -> None:
            journal.handle(event)
            view.handle(event)

        yield dataclasses.replace(options, run_id=run_id, journal=str(journal.path)), handle


@contextlib.contextmanager
def _stoppable(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C ends the run after the running steps, which says so; the second ends kbootstrap at once."""

    def on_interrupt(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = signal.signal(signal.SIGINT, on_interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _pending(planned: RunEnded) -> int:
    changes = planned.counts.get("change", 0) + planned.counts.get("unknown", 0)
    return PENDING if planned.exit_code == 0 and changes else planned.exit_code


def _nothing_to_do(planned: RunEnded) -> bool:
    if planned.exit_code == 0 and not planned.counts.get("change") and not planned.counts.get("unknown"):
        click.echo("Nothing to do.", err=True)
        return True
    return False


def _reset_is_meant(planned: RunEnded, inventory: Inventory) -> bool:
    """Whether to reset: there is something to do, and the operator types the cluster's name."""
    if _nothing_to_do(planned):
        return False
    name = inventory.cluster.name
    hosts = [host for host, summary in planned.hosts.items() if not summary.failure and summary.counts.get("change")]
    click.echo(f"This takes down what runs on {', '.join(hosts)}.", err=True)
    typed = click.prompt(f"Type the cluster's name ({name}) to go on", default="", show_default=False, err=True)
    if typed.strip() != name:
        raise KbootstrapError(f"{typed.strip()!r} is not the cluster's name: nothing was changed")
    return True


def _go_on(planned: RunEnded) -> bool:
    """Whether to apply the plan: there is something to do, and the operator says so."""
    if _nothing_to_do(planned):
        return False
    hosts = sum(not host.failure for host in planned.hosts.values())
    if click.confirm(f"Apply to {counted(hosts, 'host')}?", err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False
