"""A lab of virtual machines as data, and its record in the state directory."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from kbootstrap_lab.errors import no_such_host, no_such_lab
from kbootstrap_lab.state import state_dir


@dataclass(frozen=True)
class LabHost:
    """One machine. SSH answers at ``address`` and ``port``, other machines reach it at ``internal_address``."""

    name: str
    address: str
    port: int
    distribution: str
    state: str
    internal_address: str
    uuid: str
    macs: tuple[str, ...]


@dataclass(frozen=True)
class Lab:
    """A lab as it was made. ``title`` is unique on this machine: the network namespace, and a mark of its processes."""

    name: str
    hosts: tuple[LabHost, ...]
    user: str
    title: str
    accelerator: str
    image: Path
    directory: Path

    def host(self, name: str) -> LabHost:
        """Raises LabError when the lab has no such host."""
        hosts = {each.name: each for each in self.hosts}
        if name not in hosts:
            raise no_such_host(self.name, name, hosts)
        return hosts[name]


def keep(lab: Lab) -> None:
    kept = {"user": lab.user, "title": lab.title, "accelerator": lab.accelerator, "image": str(lab.image)}
    text = json.dumps({**kept, "hosts": [asdict(host) for host in lab.hosts]})
    (lab.directory / "lab.json").write_text(text, encoding="utf-8")


def kept(name: str) -> Lab:
    """The lab of this name. Raises LabError when there is none."""
    directory = state_dir(name)
    try:
        read = json.loads((directory / "lab.json").read_text(encoding="utf-8"))
    except OSError:
        raise no_such_lab(name) from None
    hosts = tuple(LabHost(**{**host, "macs": tuple(host["macs"])}) for host in read["hosts"])
    return Lab(name, hosts, read["user"], read["title"], read["accelerator"], Path(read["image"]), directory)
