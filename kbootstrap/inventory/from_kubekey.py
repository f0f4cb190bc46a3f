"""Hosts from the configuration of KubeKey: a Cluster (v1alpha1, v1alpha2) or the Inventory of its version 4.

The formats: https://github.com/kubesphere/kubekey, docs/config-example.md and builtin/core/defaults/inventory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace

from kbootstrap.errors import InventoryError
from kbootstrap.inventory.generate import NewHost, checked
from kbootstrap.inventory.imported import (
    Imported,
    Passwords,
    kubernetes,
    left_out,
    named,
    new_host,
    renamed,
    renames,
    with_variables,
)
from kbootstrap.inventory.plain_yaml import Part, plain_yaml

API = "kubekey.kubesphere.io/"
_RANGE = re.compile(r"(.*)\[(\d+):(\d+)\](.*)")
_MAX_HOSTS = 5000
_GROUPS = {"etcd", "master", "control-plane", "worker"}
_HOST_KEYS = {"name", "address", "internalAddress", "port", "user", "password", "privateKeyPath"}
_CONNECTOR_KEYS = {"type", "host", "port", "user", "password", "private_key"}


def from_kubekey(text: str) -> Imported:
    """Hosts, settings and notes. Raises InventoryError that names the place."""
    root = Part(plain_yaml(text, "the KubeKey configuration"), "the KubeKey configuration")
    version, kind = root.text("apiVersion"), root.text("kind")
    if version.startswith(API) and kind == "Inventory":
        return _from_inventory(root.at("spec"))
    if version in (f"{API}v1alpha1", f"{API}v1alpha2") and kind == "Cluster":
        return _from_cluster(root)
    raise InventoryError(
        f"this is no Cluster of {API}v1alpha2 and no Inventory of {API}v1", "Give KubeKey's own file. [inventory]"
    )


def _made(
    parts: Mapping[str, NewHost], passwords: Mapping[str, str], control_planes: list[str], workers: list[str]
) -> tuple[list[NewHost], list[str]]:
    """The hosts of the groups, control plane hosts first, and notes about names and passwords."""
    if not control_planes:
        raise InventoryError("no host is in the group of the control plane", "Add one to it. [inventory]")
    chosen = list(dict.fromkeys([*control_planes, *workers]))
    unknown = [name for name in chosen if name not in parts]
    if unknown:
        raise InventoryError(f"the groups name hosts that are not in spec.hosts: {', '.join(unknown)}")
    names = renamed(chosen)
    twice = {*control_planes} & {*workers}
    hosts = [
        replace(parts[old], name=new, control_plane=old in control_planes, schedulable=old in twice)
        for old, new in names.items()
    ]
    # KubeKey has one password per host, for the login and for sudo.
    both = {
        new: Passwords(passwords.get(old, ""), "" if parts[old].user == "root" else passwords.get(old, ""))
        for old, new in names.items()
    }
    hosts, notes = with_variables(hosts, both)
    notes += renames(names)
    notes += left_out("spec.hosts, because no group has them", (name for name in parts if name not in chosen))
    return checked(hosts, len(control_planes)), notes


# --- a Cluster -------------------------------------------------------------------------------------------------------


def _from_cluster(root: Part) -> Imported:
    spec = root.at("spec")
    given = [Part(host.value, f"spec.hosts[{number}]") for number, host in enumerate(spec.members("hosts"))]
    parts = {_required(host, "name"): _host(host) for host in given}
    passwords = {host.text("name"): host.text("password") for host in given}
    groups = spec.at("roleGroups")
    control_planes = [*_unfolded(groups, "control-plane"), *_unfolded(groups, "master")]
    hosts, notes = _made(parts, passwords, control_planes, list(_unfolded(groups, "worker")))
    version, more = kubernetes(spec.text("kubernetes", "version"))
    notes += more
    notes += left_out("the hosts", (name for host in given for name in host.names(but=_HOST_KEYS)))
    notes += left_out("roleGroups", groups.names(but=_GROUPS))
    taken = {"hosts", "roleGroups", "controlPlaneEndpoint", "kubernetes", "network"}
    notes += left_out("spec", spec.names(but=taken))
    if spec.text("controlPlaneEndpoint", "internalLoadbalancer"):
        notes.append("KubeKey's internal load balancer is not taken over: the endpoint needs one of your own")
    return Imported(hosts, tuple(notes), {**_settings(spec), **version, **named(root.text("metadata", "name"))})


def _required(host: Part, key: str) -> str:
    if not host.text(key):
        raise InventoryError(f"{host.place} has no {key}")
    return host.text(key)


def _host(host: Part) -> NewHost:
    inner = host.text("internalAddress").partition(",")[0]
    return new_host(host.text("name"), host, _required(host, "address"), "privateKeyPath", inner)


def _unfolded(groups: Part, key: str) -> Iterator[str]:
    """The names of a group; ``node[2:10]`` stands for node2 to node10."""
    for member in groups.members(key):
        name = member.text()
        found = _RANGE.fullmatch(name)
        if found is None:
            yield name
            continue
        first, last = int(found[2]), int(found[3])
        if not 0 <= last - first < _MAX_HOSTS:
            raise InventoryError(f"{member.place}: the range {name} is empty or too large")
        yield from (f"{found[1]}{number}{found[4]}" for number in range(first, last + 1))


def _settings(spec: Part) -> dict[str, str]:
    endpoint, network = spec.at("controlPlaneEndpoint"), spec.at("network")
    # The domain without an address is a name that KubeKey itself gives the first host.
    address = endpoint.text("address")
    found = {
        "control_plane_endpoint": f"{address}:{endpoint.text('port', default='6443')}" if address else "",
        "pod_cidr": network.text("kubePodsCIDR") or network.text("podNetworkCidr"),
        "service_cidr": network.text("kubeServiceCIDR") or network.text("serviceNetworkCidr"),
        "dns_domain": spec.text("kubernetes", "clusterName"),
    }
    return {key: value for key, value in found.items() if value}


# --- an Inventory of version 4 ---------------------------------------------------------------------------------------


def _from_inventory(spec: Part) -> Imported:
    given = {name: Part(spec.at("hosts", name).value, f"spec.hosts.{name}") for name in spec.at("hosts").names()}
    parts = {name: _of_connector(name, host) for name, host in given.items()}
    passwords = {name: host.text("connector", "password") for name, host in given.items()}
    groups = spec.at("groups")
    hosts, notes = _made(
        parts, passwords, list(_group(groups, "kube_control_plane")), list(_group(groups, "kube_worker"))
    )
    taken = ("connector", "internal_ipv4")
    notes += left_out("the hosts", (name for host in given.values() for name in host.names(but=taken)))
    connectors = [host.at("connector") for host in given.values()]
    notes += left_out("connector", (name for each in connectors for name in each.names(but=_CONNECTOR_KEYS)))
    notes += left_out("groups", groups.names(but=("k8s_cluster", "kube_control_plane", "kube_worker", "etcd")))
    notes.append(
        "the settings of the cluster are in KubeKey's config file, which is not read: see --name, --kubernetes"
    )
    return Imported(hosts, tuple(notes))


def _of_connector(name: str, host: Part) -> NewHost:
    connector = host.at("connector")
    if connector.text("type", default="ssh") != "ssh":
        raise InventoryError(f"{connector.place}.type is {connector.text('type')}", "kbootstrap uses SSH. [inventory]")
    return new_host(name, connector, connector.text("host", default=name), "private_key", host.text("internal_ipv4"))


def _group(groups: Part, name: str, depth: int = 0) -> Iterator[str]:
    """The hosts of a group and of the groups in it."""
    if depth > 20:
        raise InventoryError(f"the group {name} contains itself")
    yield from (member.text() for member in groups.members(name, "hosts"))
    for inner in groups.members(name, "groups"):
        yield from _group(groups, inner.text(), depth + 1)
