"""Conflicts between keys of an inventory that are each valid by themselves."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from kbootstrap import versions
from kbootstrap.inventory.fields import cidr
from kbootstrap.inventory.mirrors import PRESETS, with_preset
from kbootstrap.inventory.models import KUBERNETES_REPOSITORY, Cluster
from kbootstrap.inventory.source import KeyPath, Source
from kbootstrap.text import counted


@dataclass(frozen=True)
class _HostPart:
    """The values of a host that are compared with other hosts and networks. None: missing, or invalid by itself."""

    index: int
    name: str | None
    address: str | None
    internal_address: str | None
    node_ip: str | None
    role: str | None
    port: int
    schedulable: object

    @property
    def called(self) -> str:
        return self.name or f"hosts[{self.index}]"


@dataclass(frozen=True)
class _Parts:
    """The parts of a file that are valid by themselves, so that one wrong key does not hide other mistakes."""

    kubernetes: str | None
    package_repository: str | None
    hosts: tuple[_HostPart, ...]
    networks: Mapping[str, ipaddress.IPv4Network]
    documents: tuple[Any, ...] = ()
    containerd: str | None = None


def _parts(source: Source) -> _Parts:
    wrong = {problem.place for problem in source.problems}

    def value(*place: str | int) -> Any:
        """The file's value of a key; None when it is missing or invalid."""
        found = source.data
        for part in place:
            try:
                found = found[part]
            except (KeyError, IndexError, TypeError):
                return None
        return None if place in wrong else found

    def host(index: int) -> _HostPart:
        at = ("hosts", index)
        address, internal = value(*at, "address"), value(*at, "internal_address")
        node_ip = None if (*at, "internal_address") in wrong else internal or address
        port = int(value(*at, "ssh", "port") or value("ssh", "port") or 22)
        return _HostPart(
            index, value(*at, "name"), address, internal, node_ip, value(*at, "role"), port, value(*at, "schedulable")
        )

    def of_cluster(key: str) -> Any:
        """Like ``value``, with the preset's or the key's default when the file does not have the key."""
        section = value("cluster")
        if not isinstance(section, dict) or ("cluster", key) in wrong:
            return None
        return with_preset(section).get(key) or Cluster.model_fields[key].default

    listed = value("hosts")
    return _Parts(
        value("cluster", "kubernetes"),
        of_cluster("package_repository"),
        tuple(host(index) for index in range(len(listed) if isinstance(listed, list) else 0)),
        {key: cidr(network) for key in ("pod_cidr", "service_cidr") if (network := of_cluster(key))},
        tuple(value("cluster", "kubeadm", "documents") or ()),
        value("cluster", "runtime", "version"),
    )


def cross_checks(source: Source) -> Iterator[tuple[KeyPath, str]]:
    """Conflicts between keys that are each valid by themselves."""
    parts = _parts(source)
    yield from _version_problems(parts)
    yield from _host_problems(parts.hosts)
    yield from _network_problems(parts)
    yield from _document_problems(parts)


def _document_problems(parts: _Parts) -> Iterator[tuple[KeyPath, str]]:
    """Extra documents of an API that the wanted kubeadm does not read. One without apiVersion gets ours."""
    for number, document in enumerate(parts.documents):
        place = ("cluster", "kubeadm", "documents", number)
        if not isinstance(document, dict):
            continue
        api, kind = document.get("apiVersion"), document.get("kind")
        if not isinstance(kind, str):
            yield place, "this document needs a kind such as ClusterConfiguration"
            continue
        wanted = _document_api(kind, parts.kubernetes)
        if wanted and api is not None and api != wanted:
            which = f"Kubernetes {parts.kubernetes}" if wanted.startswith("kubeadm") else "every Kubernetes"
            yield (*place, "apiVersion"), f"{str(api)[:100]!r}: a {kind} for {which} has the apiVersion {wanted}"


def _document_api(kind: str, kubernetes: str | None) -> str:
    """The apiVersion of a kind of document; empty when it is not known."""
    if kind in ("InitConfiguration", "ClusterConfiguration", "JoinConfiguration"):
        return f"kubeadm.k8s.io/{versions.config_api(versions.parse(kubernetes)[0])}" if kubernetes else ""
    components = {"KubeletConfiguration": "kubelet.config.k8s.io/v1beta1"}
    components["KubeProxyConfiguration"] = "kubeproxy.config.k8s.io/v1alpha1"
    return components.get(kind, "")


def _version_problems(parts: _Parts) -> Iterator[tuple[KeyPath, str]]:
    if parts.kubernetes is not None and isinstance(parts.containerd, str):
        problem = versions.containerd_problem(parts.containerd, versions.parse(parts.kubernetes)[0])
        if problem:
            yield ("cluster", "runtime", "version"), f"containerd {parts.containerd} does not fit: {problem}"
    copies = (preset.get("package_repository") for preset in PRESETS.values())
    if parts.kubernetes is None or parts.package_repository not in (KUBERNETES_REPOSITORY, *copies):
        return
    if versions.parse(parts.kubernetes)[0] < versions.OLDEST_UPSTREAM:
        begin = versions.show(versions.OLDEST_UPSTREAM)
        yield (
            ("cluster", "kubernetes"),
            f"{parts.package_repository} starts with {begin}; for an older version set package_repository",
        )


def _host_problems(hosts: tuple[_HostPart, ...]) -> Iterator[tuple[KeyPath, str]]:
    if hosts and all(host.role == "worker" for host in hosts):
        yield ("hosts",), "no host has the role control-plane"
    yield from _duplicates(hosts, "name", lambda host: host.name)
    # Hosts with one address and different ports are different hosts if their node addresses differ.
    yield from _duplicates(hosts, "address", lambda host: host.address and (host.address, host.port))
    yield from _duplicates(hosts, "node_ip", lambda host: host.node_ip)
    for host in hosts:
        if host.role == "worker" and host.schedulable is not None:
            place = ("hosts", host.index, "schedulable")
            yield place, "ordinary pods run on every worker; for a worker without them use taints"
        if host.node_ip is not None and not _is_ip(host.node_ip):
            yield (
                ("hosts", host.index, "address"),
                f"{host.node_ip!r} is a name; also set internal_address, the IP the nodes use to reach each other",
            )


def _duplicates(
    hosts: tuple[_HostPart, ...], key: str, unique: Callable[[_HostPart], object]
) -> Iterator[tuple[KeyPath, str]]:
    first: dict[object, _HostPart] = {}
    for host in hosts:
        value = unique(host)
        if value is None or first.setdefault(value, host) is host:
            continue
        given = "internal_address" if host.internal_address else "address"
        place = ("hosts", host.index, given if key == "node_ip" else key)
        yield place, f"{getattr(host, key)!r} is already used by {first[value].called}"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _network_problems(parts: _Parts) -> Iterator[tuple[KeyPath, str]]:
    pods, services = parts.networks.get("pod_cidr"), parts.networks.get("service_cidr")
    if services and not 12 <= services.prefixlen <= 24:
        yield ("cluster", "service_cidr"), "this must be a network from /12 to /24 (a limit of the API server)"
    elif pods and services and pods.overlaps(services):
        yield ("cluster", "pod_cidr"), f"overlaps service_cidr {services}"
    for key, network in parts.networks.items():
        inside = [h.called for h in parts.hosts if h.node_ip and _is_ip(h.node_ip) and _in(h.node_ip, network)]
        if inside:
            yield ("cluster", key), f"{network} contains the addresses of {', '.join(inside)}"
    # The controller manager gives every node a /24 of the pod network (--node-cidr-mask-size).
    room = 2 ** (24 - pods.prefixlen) if pods and pods.prefixlen <= 24 else 0
    if pods and room < max(1, len(parts.hosts)):
        yield (
            ("cluster", "pod_cidr"),
            f"{pods} has room for {counted(room, 'node')} (a /24 each), but the inventory has {len(parts.hosts)}",
        )


def _in(address: str, network: ipaddress.IPv4Network) -> bool:
    return ipaddress.IPv4Address(address) in network
