"""How the command line runs a verb: views, journal, Ctrl-C, and the confirmation before a change."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from kbootstrap.cli import streams
from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, Notice, RunEnded
from kbootstrap.text import counted

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run.journal import Journal
    from kbootstrap.run.options import Options
    from kbootstrap.ui import View

ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that ask kbootstrap to end."""

PENDING = 3
"""Exit code of ``plan --exit-code`` when changes are pending."""

Verb = Callable[..., RunEnded]
"""A function of ``kbootstrap.run``; its arguments other than options, control and view are already bound."""


def execute(verb: Verb, inventory: Inventory, options: Options, view: View, *, stoppable: bool = False) -> RunEnded:
    """Run the verb with its view and journal. With ``stoppable``, the first Ctrl-C lets the running steps finish.

    The exit code is not zero when a part of the run could not be shown or logged.
    """
    from kbootstrap.run.journal import Journal
    from kbootstrap.run.options import Control, new_run_id

    run_id = new_run_id()
    with Journal(run_id) as journal, view:
        control = Control(run_id, str(journal.path), redactor=click.get_current_context().find_root().obj)
        watched = _Watched(journal, view)
        with _interruptible(control.stop) if stoppable else contextlib.nullcontext():
            ended = verb(inventory, options=options, control=control, view=watched.handle)
    return replace(ended, exit_code=ended.exit_code or watched.exit_code)


class _Watched:
    """Journal and view of a run. Where one of them cannot be written, the other says so once, and the run goes on."""

    def __init__(self, journal: Journal, view: View) -> None:
        self._journal = journal
        self._view = view
        self._unread = False
        self.exit_code = 0

    def handle(self, event: Event) -> None:
        try:
            self._journal.handle(event)
        except OSError as error:
            self.exit_code = 1
            text = f"the log of this run cannot be written: {error.strerror} ({self._journal.path}); the run goes on"
            self._view.handle(Notice(time.time(), "warning", text))
        self._view.handle(self._with_exit_code(event))
        if not self._unread and streams.unread():
            self._unread = True
            click.echo(f"Nobody reads the output any more; the run goes on. Its log is {self._journal.path}", err=True)

    def _with_exit_code(self, event: Event) -> Event:
        """A run whose log is broken ends with 1, and its views say so."""
        if isinstance(event, RunEnded) and self.exit_code and not event.exit_code:
            return replace(event, exit_code=self.exit_code)
        return event


def control() -> Any:
    """The control of a run without a journal."""
    from kbootstrap.run.options import Control

    return Control(redactor=click.get_current_context().find_root().obj)


@contextlib.contextmanager
def _interruptible(stop: threading.Event) -> Iterator[None]:
    """The first Ctrl-C stops the run after the running steps; the second ends kbootstrap immediately.

    SIGTERM is the same. A terminal that is closed sends SIGHUP, sometimes twice: that never ends anything immediately.
    """

    def on_interrupt(number: int, frame: object) -> None:
        if stop.is_set() and number != signal.SIGHUP:
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.getsignal(number) for number in ENDING}
    for number, handler in before.items():
        if handler != signal.SIG_IGN:  # nohup
            signal.signal(number, on_interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def plan_view(
    inventory: Inventory, output: str, verbose: bool, *, run_follows: bool = False, short: bool = False
) -> View:
    """The view of a plan, with progress on standard error until the plan is complete.

    When a run follows, standard output has only the JSON lines of that run. ``short`` shows only the plan's totals.
    """
    from kbootstrap.ui import CompositeView, can_redraw, choose_view
    from kbootstrap.ui.plan import PlanView

    if output == "json" and not run_follows:
        return choose_view("json")
    plan = PlanView(sys.stderr if output == "json" else sys.stdout, inventory, verbose=verbose, short=short)
    if output == "lines" or not can_redraw(sys.stderr):
        return plan
    from kbootstrap.ui.live import Progress

    return CompositeView(Progress(sys.stderr), plan)


def require_terminal(instead: str) -> None:
    """Check, before any connection, that there is a terminal for the confirmation."""
    if not sys.stdin.isatty():
        raise click.UsageError(f"cannot ask for confirmation without a terminal; give {instead}")


def exit_code_of_plan(planned: RunEnded, *, exit_code: bool) -> int:
    """The exit code of a plan; with ``--exit-code`` it is PENDING when changes are pending."""
    pending = exit_code and planned.exit_code == 0 and _changes(planned)
    return PENDING if pending else planned.exit_code


def confirm_up(planned: RunEnded) -> bool:
    """Whether to apply the plan: it has changes, and the operator confirms."""
    if nothing_to_do(planned):
        return False
    hosts = sum(not host.failure for host in planned.hosts.values())
    if click.confirm(f"Apply to {counted(hosts, 'host')}?", err=True):
        return True
    click.echo("Nothing was changed.", err=True)
    return False


def confirm_reset(planned: RunEnded, inventory: Inventory, options: Options) -> bool:
    """Whether to reset: the plan has changes, and the operator types the cluster's name."""
    from kbootstrap.inventory.selection import select

    if nothing_to_do(planned):
        return False
    name = inventory.cluster.name
    hosts = [host for host, summary in planned.hosts.items() if not summary.failure and summary.counts.get("change")]
    everyone = {host.name for host in inventory.hosts}
    whole = options.limit is None or set(select(inventory, options.limit)) == everyone
    click.echo(_what_is_lost(name, ", ".join(hosts), whole=whole), err=True)
    typed = click.prompt(f"Type the cluster's name ({name}) to continue", default="", show_default=False, err=True)
    if typed.strip() != name:
        raise KbootstrapError(f"{typed.strip()!r} is not the cluster's name: nothing was changed")
    return True


def _what_is_lost(cluster: str, hosts: str, *, whole: bool) -> str:
    if whole:
        return (
            f"This destroys the cluster {cluster} on {hosts}: every object in it, "
            "all running pods and their local data. There is no way back."
        )
    return f"This removes {hosts} from the cluster {cluster}: their pods end, and the pods' local data there is lost."


def _changes(planned: RunEnded) -> int:
    return planned.counts.get("change", 0) + planned.counts.get("unknown", 0)


def nothing_to_do(planned: RunEnded) -> bool:
    """Whether the plan has no changes. Says so."""
    if planned.exit_code == 0 and not _changes(planned):
        click.echo("Nothing to do.", err=True)
        return True
    return False
