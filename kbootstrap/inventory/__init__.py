"""Inventories: the desired cluster, validated as a whole before any connection.

``load`` reports all mistakes together, each with file, line and key path.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from kbootstrap import versions
from kbootstrap.errors import InventoryError
from kbootstrap.inventory.cross_checks import cross_checks
from kbootstrap.inventory.models import Bastion, Cluster, Host, Inventory, Model, Ssh
from kbootstrap.inventory.source import KeyPath, Source, read
from kbootstrap.inventory.validation import validated
from kbootstrap.secret import Secret
from kbootstrap.text import printable

_M = TypeVar("_M", bound=Model)

MOST_SHOWN = 100
"""Mistakes that one error lists."""


def load(path: str | os.PathLike[str], env: Mapping[str, str] | None = None, *, trusted: bool = False) -> Inventory:
    """Read and check an inventory. Raises InventoryError that lists every mistake with its line and key path.

    Secrets can come from the variables of ``env`` (default: the environment's) whose names begin with KB_, and from
    files in the inventory's folder. A ``trusted`` inventory may use any of both, and an ssh_config that runs programs.
    """
    path = Path(path)
    source = read(path, os.environ if env is None else env, trusted=trusted)
    inventory = validated(source)
    for place, mistake in list(cross_checks(source)):
        source.add(place, mistake)
    if source.problems or inventory is None:
        raise InventoryError(_listing(source), "`kbootstrap schema` has every key, for your editor. [inventory]")
    inventory = _with_ssh_defaults(inventory, path.parent)
    inventory._path = path
    inventory._trusted = trusted
    inventory._marks = source.marks
    inventory._warnings = tuple(_warnings(inventory, source))
    return inventory


def private_keys(inventory: Inventory, hosts: Iterable[Host]) -> dict[tuple[Path, Secret | None], str]:
    """The private keys for these hosts and their bastions, each with its passphrase and its first place in the file."""
    found: dict[tuple[Path, Secret | None], str] = {}
    names = {host.name for host in hosts}
    for number, host in enumerate(inventory.hosts):
        if host.name not in names:
            continue
        logins: list[tuple[KeyPath, Ssh | Bastion]] = [((), host.ssh)]
        logins += [(("bastions", hop), bastion) for hop, bastion in enumerate(host.ssh.bastions)]
        for below, login in logins:
            if login.key is not None:
                own: KeyPath = ("hosts", number, "ssh", *below, "key")
                place = own if own in inventory._marks else ("ssh", *below, "key")
                line, _ = inventory._marks.get(place, (1, 1))
                found.setdefault((login.key, login.passphrase), f"{inventory.path}:{line}: {_dotted(place)}")
    return found


def _listing(source: Source) -> str:
    problems = source.mistakes()
    lines = [_one_line(f"{source.path}:{p.line}: {_dotted(p.place)}: {p.text}") for p in problems[:MOST_SHOWN]]
    if len(problems) > MOST_SHOWN:
        lines.append(f"... and {len(problems) - MOST_SHOWN} more")
    count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
    return "\n".join([f"the inventory has {count}:", *(f"  {line}" for line in lines)])


def _one_line(text: str) -> str:
    """The text on one line, with control characters removed."""
    return printable(text.replace("\n", "\\n"))


def _dotted(place: KeyPath) -> str:
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        # Show an empty or unprintable key in quotes, with escapes.
        text += ("." if text else "") + (part if part.isprintable() and part else repr(part))
    return text or "the file"


def _with_ssh_defaults(inventory: Inventory, folder: Path) -> Inventory:
    """Give every host its complete ssh section, with absolute paths."""
    hosts = []
    for host in inventory.hosts:
        own = {key: getattr(host.ssh, key) for key in host.ssh.model_fields_set}
        ssh = _absolute(inventory.ssh.model_copy(update=own), folder)
        bastions = tuple(_absolute(bastion, folder) for bastion in ssh.bastions)
        hosts.append(host.model_copy(update={"ssh": ssh.model_copy(update={"bastions": bastions})}))
    return inventory.model_copy(update={"hosts": tuple(hosts)})


def _absolute(model: _M, folder: Path) -> _M:
    paths = {key: value for key, value in model if isinstance(value, Path)}
    return model.model_copy(update={key: folder / path.expanduser() for key, path in paths.items()})


def _warnings(inventory: Inventory, source: Source) -> Iterable[str]:
    count = len(inventory.control_planes)
    if count > 1 and count % 2 == 0:
        yield f"{count} control plane hosts tolerate no more failures than {count - 1}: etcd needs a majority"
    if count > 1 and inventory.endpoint.rpartition(":")[0] in {host.node_ip for host in inventory.control_planes}:
        yield "control_plane_endpoint is the address of one control plane host: the cluster depends on that host"
    if source.clear_secrets and source.path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        places = ", ".join(_dotted(place) for place in source.clear_secrets)
        yield (
            f"{source.path} has plain-text secrets ({places}) and other users can access it:"
            " chmod 600, or use ${env:NAME}"
        )
    for (key, _), place in private_keys(inventory, inventory.hosts).items():
        with contextlib.suppress(OSError):
            if key.suffix != ".pub" and key.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
                yield f"{place}: other users can access the private key {key}: chmod 600 (ssh itself would refuse it)"
    yield from past_end_of_life(inventory.cluster.minor, today())
    yield from _plain_http(inventory.cluster)


def today() -> datetime.date:
    """The day that decides whether a minor is past its end of life."""
    return datetime.datetime.now(datetime.UTC).date()


def past_end_of_life(minor: versions.Minor, day: datetime.date) -> Iterator[str]:
    """Warn about a minor that gets no more patches."""
    ended = versions.end_of_life(minor)
    if day > ended:
        yield (
            f"Kubernetes {versions.show(minor)} has had no security fixes since {ended} (end of life); the newest minor"
            f" is {versions.show(versions.NEWEST)}"
        )


def _plain_http(cluster: Cluster) -> Iterator[str]:
    """Warn about plain HTTP. Packages are signed, so the warning is weaker than for images, which are not."""
    for key, url in (
        ("package_repository", cluster.package_repository),
        ("runtime.package_repository", cluster.runtime.package_repository),
    ):
        if url.startswith("http://"):
            yield (
                f"cluster.{key} is plain HTTP: package signatures are checked, but anyone on the network path can see"
                " the packages and hold back newer ones"
            )
    mirrors = [f"{name} from {url}" for name, urls in cluster.runtime.mirrors.items() for url in urls]
    plain = [mirror for mirror in mirrors if " http://" in mirror]
    if plain or cluster.runtime.insecure_registries:
        names = ", ".join((*plain, *cluster.runtime.insecure_registries))
        yield f"images come without verified TLS ({names}): anyone on the network path can change them"
