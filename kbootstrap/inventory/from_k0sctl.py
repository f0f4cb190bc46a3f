"""Hosts from the configuration of k0sctl (https://github.com/k0sproject/k0sctl#configuration-file)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.generate import NewBastion, NewHost, checked
from kbootstrap.inventory.imported import Imported, kubernetes, left_out, named, new_host, renamed, renames
from kbootstrap.inventory.plain_yaml import Part, plain_yaml

API = "k0sctl.k0sproject.io/"
_CONTROLLERS = ("controller", "controller+worker", "single")
_HOST_KEYS = {"role", "ssh", "openSSH", "hostname", "privateAddress"}
_SSH_KEYS = {"address", "user", "port", "keyPath", "bastion"}


def from_k0sctl(text: str) -> Imported:
    """Hosts, settings and notes from a k0sctl.yaml. Raises InventoryError that names the place."""
    root = Part(plain_yaml(text, "the k0sctl configuration"), "the k0sctl configuration")
    if not root.text("apiVersion").startswith(API) or root.text("kind") != "Cluster":
        raise InventoryError(f"this is no Cluster of {API}v1beta1", "Give the k0sctl.yaml itself. [inventory]")
    given = [Part(host.value, f"spec.hosts[{number}]") for number, host in enumerate(root.members("spec", "hosts"))]
    roles = [_role(host) for host in given]
    if True not in roles:
        raise InventoryError("no host has the role controller", "Give one of them that role. [inventory]")
    names = renamed(_names(given, roles))
    hosts = [_host(host, name, first) for host, name, first in zip(given, names.values(), roles, strict=True)]
    # Control plane hosts come first: the cluster starts on the first of them.
    hosts.sort(key=lambda host: not host.control_plane)
    config = root.at("spec", "k0s", "config", "spec")
    version, notes = kubernetes(root.text("spec", "k0s", "version"))
    return Imported(
        checked(hosts, sum(roles)),
        (*renames(names), *notes, *_notes(root, given)),
        {**_cluster(config), **version, **named(root.text("metadata", "name"))},
    )


def _role(host: Part) -> bool:
    """Whether the host is one of the control plane."""
    role = host.text("role")
    if role not in (*_CONTROLLERS, "worker"):
        raise InventoryError(f"{host.place}.role: {role!r} is not one of {', '.join(_CONTROLLERS)} or worker")
    return role in _CONTROLLERS


def _names(hosts: list[Part], roles: list[bool]) -> Iterator[str]:
    """The names of the hosts; those without one get cp1, w1 and so on."""
    counts = {True: 0, False: 0}
    for host, first in zip(hosts, roles, strict=True):
        counts[first] += 1
        yield host.text("hostname") or f"{'cp' if first else 'w'}{counts[first]}"


def _host(host: Part, name: str, control_plane: bool) -> NewHost:
    for other in ("winRM", "localhost"):
        if host.at(other).value is not None:
            raise InventoryError(f"{host.place} is reached by {other}", "kbootstrap reaches hosts by SSH. [inventory]")
    ssh = host.at("openSSH" if host.at("openSSH").value is not None else "ssh")
    address = ssh.text("address")
    if not address:
        raise InventoryError(f"{ssh.place} has no address")
    made = new_host(name, ssh, address, "keyPath", host.text("privateAddress"))
    bastion = ssh.at("bastion")
    return replace(
        made,
        control_plane=control_plane,
        bastions=(_bastion(bastion),) if bastion.value is not None else (),
        schedulable=host.text("role") in ("controller+worker", "single"),
    )


def _bastion(part: Part) -> NewBastion:
    made = new_host("", part, part.text("address"), "keyPath", "")
    return NewBastion(made.address, made.user, made.port, made.key)


def _cluster(config: Part) -> dict[str, str]:
    address = config.text("api", "externalAddress")
    found = {
        "control_plane_endpoint": f"{address}:{config.text('api', 'port', default='6443')}" if address else "",
        "pod_cidr": config.text("network", "podCIDR"),
        "service_cidr": config.text("network", "serviceCIDR"),
    }
    return {key: value for key, value in found.items() if value}


def _notes(root: Part, hosts: list[Part]) -> Iterator[str]:
    yield from left_out("the hosts", (name for host in hosts for name in host.names(but=_HOST_KEYS)))
    ways = [host.at(way) for host in hosts for way in ("ssh", "openSSH")]
    yield from left_out("ssh", (name for way in ways for name in way.names(but=_SSH_KEYS)))
    yield from left_out("spec", root.at("spec").names(but=("hosts", "k0s")))
    yield from left_out("k0s.config.spec", root.at("spec", "k0s", "config", "spec").names(but=("api", "network")))
    yield "kbootstrap makes a cluster with kubeadm: it does not take over a running cluster of k0s"
