"""The command line: parse, call, choose a view, exit code. Commands import large modules when they run."""

from __future__ import annotations

import gc
import os
import resource
import signal
import sys
from pathlib import Path

import click

from kbootstrap import __version__
from kbootstrap.cli import explain, history, inventories, plugins, runs, streams, support, verbs
from kbootstrap.errors import KbootstrapError
from kbootstrap.plain_file import make_private
from kbootstrap.redact import Redactor
from kbootstrap.topics import topic_of
from kbootstrap.ui import Style

GARBAGE = 100_000
"""New objects before a garbage collection. With Python's default, imports cause hundreds of collections."""


@click.group(
    cls=plugins.PluginGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="kbootstrap")
@click.pass_context
def cli(context: click.Context) -> None:
    """Turn plain Linux hosts into a Kubernetes cluster, over SSH, with kubeadm.

    Write an inventory (kbootstrap.yaml) with `kbootstrap init user@host...`, see the changes with `kbootstrap plan`,
    and apply them with `kbootstrap up`. No hosts? `kbootstrap lab up` makes simulated ones.
    """
    context.ensure_object(Redactor)


for module in (verbs, history, support, explain, inventories):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """The entry point: every error becomes a message and an exit code, never a traceback."""
    streams.protect()
    _no_core_dumps()
    gc.set_threshold(GARBAGE)
    redactor = Redactor()
    for number in runs.ENDING[1:]:
        if signal.getsignal(number) == signal.SIG_DFL:
            signal.signal(number, signal.default_int_handler)
    try:
        code = cli.main(standalone_mode=False, obj=redactor)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except KbootstrapError as error:
        _show(error, redactor)
        code = error.exit_code
    except Exception as error:
        _report_bug(error, redactor)
        code = 1
    # Without this, Python collects garbage once more at exit.
    gc.freeze()
    code = code if isinstance(code, int) else 0
    sys.exit(1 if code == 0 and streams.broken() else code)


def _no_core_dumps() -> None:
    """Switch core dumps off: they would contain the passwords of the run."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _show(error: KbootstrapError, redactor: Redactor) -> None:
    click.echo(f"{Style(sys.stderr).red('Error:')} {redactor.clean(error.message)}", err=True)
    if error.hint:
        click.echo(f"Hint: {redactor.clean(error.hint)}", err=True)
    if topic := topic_of(error.hint):
        click.echo(f"More: kbootstrap explain {topic}", err=True)


def _report_bug(error: Exception, redactor: Redactor) -> None:
    """Report a bug of kbootstrap and the path of its traceback. The redactor knows the secrets of the run."""
    text = redactor.clean(f"kbootstrap has a bug: {type(error).__name__}: {error}")
    click.echo(f"{text}\nThe traceback is in {_keep_traceback(redactor)}", err=True)


def _keep_traceback(redactor: Redactor) -> Path:
    import tempfile
    import traceback

    from kbootstrap.state_home import state_home

    text = redactor.clean(traceback.format_exc())
    path = state_home() / "last-bug.txt"
    try:
        make_private(path.parent)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        fd, name = tempfile.mkstemp(prefix="kbootstrap-bug-", suffix=".txt")
        path = Path(name)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    return path
