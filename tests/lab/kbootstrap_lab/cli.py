"""``kbootstrap lab``: local hosts to try kbootstrap on. An entry point of the group ``kbootstrap.commands``."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import click

from kbootstrap.errors import KbootstrapError
from kbootstrap.secret import Secret
from kbootstrap.state_home import kubeconfigs
from kbootstrap_lab import backend as backends
from kbootstrap_lab import state
from kbootstrap_lab.backend import BACKENDS, DISTRIBUTIONS, FAULTS, ca_sha256
from kbootstrap_lab.errors import LabError


def _labs(_context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    return [name for name in state.names() if name.startswith(incomplete)]


def _hosts(context: click.Context, _parameter: click.Parameter, incomplete: str) -> list[str]:
    """The hosts of the lab that --name means; none where it cannot say."""
    name = context.params.get("name") or "demo"
    try:
        hosts = backends.of_lab(name).status(name).hosts
    except (KbootstrapError, OSError):
        return []
    return [host.name for host in hosts if host.name.startswith(incomplete)]


_NAME = click.option("--name", default="demo", show_default=True, shell_complete=_labs, help="The lab's name.")
_HOST = click.argument("host", shell_complete=_hosts)


def _say(text: str) -> None:
    click.echo(text, err=True)


@click.group()
def lab() -> None:
    """Run local hosts to try kbootstrap on.

    They are simulated, or containers or virtual machines with systemd and real kubeadm.
    """


@lab.command()
@_NAME
@click.option(
    "--backend",
    type=click.Choice(list(BACKENDS)),
    default="simulated",
    show_default=True,
    help="Simulated hosts, or containers or virtual machines with real kubeadm (as root, with Docker; and QEMU).",
)
@click.option("--control-planes", type=click.IntRange(1, 9), default=1, show_default=True, help="Control plane hosts.")
@click.option("--workers", type=click.IntRange(0, 900), default=3, show_default=True, help="Worker hosts.")
@click.option(
    "--distribution",
    metavar="NAME",
    show_default="centos9; debian12 for vm, which has no other",
    help=f"The operating system the hosts look like: {', '.join(DISTRIBUTIONS)}; simulated hosts know many more.",
)
@click.option(
    "--latency-ms",
    type=click.FloatRange(0, 5000),
    default=0,
    help="Simulated hosts only: milliseconds added to every round trip.",
)
@click.option("--image", help="Containers only: make the hosts from this image instead of one built here.")
@click.option("--user", default="kb", show_default=True, help="The user to log in as.")
@click.option("--password", help="Also let the user log in with this password.")
@click.option("--sudo-password", help="Have sudo ask for this password.")
@click.option(
    "--inventory",
    type=click.Path(dir_okay=False, path_type=Path),
    default="lab.yaml",
    show_default=True,
    help="Write an inventory of the hosts to this new file.",
)
def up(
    name: str,
    backend: str,
    control_planes: int,
    workers: int,
    distribution: str | None,
    latency_ms: float,
    image: str | None,
    user: str,
    password: str | None,
    sudo_password: str | None,
    inventory: Path,
) -> None:
    """Start a lab and write its inventory. The hosts run until `kbootstrap lab down`."""
    if os.path.lexists(inventory):
        raise LabError(f"{inventory} already exists", "Give another name with --inventory, or remove the file first.")
    login = Secret(password) if password else None
    sudo = Secret(sudo_password) if sudo_password else None
    chosen = (distribution,) * (control_planes + workers) if distribution else ()
    backends.load(backend).up(
        name,
        control_planes,
        workers,
        distributions=chosen,
        inventory=inventory,
        user=user,
        password=login,
        sudo_password=sudo,
        latency_ms=latency_ms,
        image=image,
        say=_say,
    )
    _say(f"lab {name} is up; next:")
    for variable, given in (("KB_SSH_PASSWORD", login), ("KB_SUDO_PASSWORD", sudo)):
        if given is not None:
            _say(f"  export {variable}=...        # the password given here; the inventory reads it from there")
    _say(f"  kbootstrap plan {shlex.quote(str(inventory))}")


@lab.command()
@_NAME
def down(name: str) -> None:
    """Stop a lab and remove its hosts, and the kubeconfig that `up` has kept of its cluster.

    The inventory stays, and so do the images and packages that labs share.
    """
    from kbootstrap.kubernetes.kubeconfig import discard

    backend = backends.of_lab(name)
    authority = ca_sha256(backend, name)
    backend.down(name)
    for path in discard(kubeconfigs(), {authority} - {""}):
        _say(f"removed {path}")
    _say(f"lab {name} is gone")


@lab.command()
@click.option("--name", shell_complete=_labs, help="Only this lab; default: all.")
def status(name: str | None) -> None:
    """List the labs and the state of their hosts."""
    for each in [name] if name else state.names():
        running = backends.of_lab(each).status(each)
        click.echo(click.style(each, bold=True))
        for host in running.hosts:
            click.echo(f"  {host.name:<8} {host.address}:{host.port:<6} {host.distribution:<12} {host.state}")


@lab.command()
@_NAME
@_HOST
def ssh(name: str, host: str) -> None:
    """Log in to a host of a lab."""
    command = backends.of_lab(name).ssh_command(name, host)
    os.execvp(command[0], command)  # noqa: S606 - ssh with our own arguments


@lab.command()
@_NAME
@_HOST
def logs(name: str, host: str) -> None:
    """Show the logs of a host of a lab."""
    click.echo(backends.of_lab(name).logs(name, host), nl=False)


@lab.command()
@_NAME
@_HOST
@click.argument("kind", type=click.Choice(FAULTS))
def fault(name: str, host: str, kind: str) -> None:
    """Break a host of a lab, or `heal` it again.

    cut: the network is gone; slow: every round trip takes half a second longer; stop: the host hangs; kill: its power
    is off; reboot: it restarts; disk-full: there is no room left; clock-skew: the clock is five minutes ahead.
    """
    _say(f"{host}: {backends.of_lab(name).fault(name, host, kind)}")
