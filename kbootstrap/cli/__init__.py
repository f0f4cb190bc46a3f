"""The command line: parse, call, choose a view, exit code. Everything heavy is imported inside the commands."""

from __future__ import annotations

import gc
import os
import resource
import sys
from pathlib import Path

import click

from kbootstrap import __version__
from kbootstrap.cli import cluster, explain, inventories, plugins
from kbootstrap.model import KbootstrapError

GARBAGE = 100_000
"""New objects after which Python looks for garbage; by default it does so hundreds of times while it imports a run."""


@click.group(
    cls=plugins.PluginGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100}
)
@click.version_option(__version__, prog_name="kbootstrap")
def cli() -> None:
    """Turn plain Linux hosts into a Kubernetes cluster, over SSH, with kubeadm.

    Write an inventory with `kbootstrap init user@host... -f cluster.yaml`, see what would be done with `kbootstrap plan
    cluster.yaml`, then do it with `kbootstrap up cluster.yaml`. No hosts? `kbootstrap lab up` makes simulated ones.
    """


for module in (cluster, explain, inventories):
    for command in module.COMMANDS:
        cli.add_command(command)


def main() -> None:
    """The entry point: every mistake becomes a message and an exit code, never a traceback."""
    _no_core_dumps()
    gc.set_threshold(GARBAGE)
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt):
        click.echo("interrupted", err=True)
        code = 130
    except KbootstrapError as error:
        _show(error)
        code = error.exit_code
    except BrokenPipeError:
        # Whoever read our output went away; keep Python from complaining about it once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        _admit(error)
        code = 1
    # Python ends with a search for garbage among everything there is, which is all given back anyway.
    gc.freeze()
    sys.exit(code if isinstance(code, int) else 0)


def _no_core_dumps() -> None:
    """A dump would hold the passwords of the run."""
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (0, hard))


def _show(error: KbootstrapError) -> None:
    from kbootstrap.redact import printable

    click.echo(f"{click.style('Error:', fg='red')} {printable(error.message)}", err=True)
    if error.hint:
        click.echo(f"Hint: {printable(error.hint)}", err=True)


def _admit(error: Exception) -> None:
    """Say that it is our mistake, and where to read more."""
    from kbootstrap.redact import Redactor

    text = Redactor().clean(f"kbootstrap has a bug: {type(error).__name__}: {error}")
    click.echo(f"{text}\nDetails are in {_keep_traceback()}", err=True)


def _keep_traceback() -> Path:
    import tempfile
    import traceback

    from kbootstrap.journal import state_home
    from kbootstrap.redact import Redactor

    text = Redactor().clean(traceback.format_exc())
    path = state_home() / "last-bug.txt"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError:
        fd, name = tempfile.mkstemp(prefix="kbootstrap-bug-", suffix=".txt")
        path = Path(name)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    return path
