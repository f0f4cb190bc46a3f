"""Validates an inventory as a whole: readable messages for errors of the models, and checks across fields."""

from __future__ import annotations

import difflib
import ipaddress
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from kbootstrap import versions
from kbootstrap.inventory.fields import cidr
from kbootstrap.inventory.mirrors import PRESETS, with_preset
from kbootstrap.inventory.models import (
    KUBERNETES_REPOSITORY,
    Bastion,
    Cluster,
    ExtraArgs,
    Host,
    Inventory,
    Kubeadm,
    Model,
    Network,
    Preflight,
    Proxy,
    Runtime,
    Ssh,
)
from kbootstrap.inventory.source import KeyPath, Source
from kbootstrap.text import counted

MAX_MISTAKES = 500
"""Mistakes that are looked at. A file with more is something else than an inventory."""


def validated(source: Source) -> Inventory | None:
    if not isinstance(source.data, dict):
        source.add((), "an inventory is a mapping with the keys cluster and hosts")
        return None
    try:
        return Inventory.model_validate(source.data)
    except ValidationError as error:
        reported = {problem.place for problem in source.problems}
        for item in error.errors(include_url=False)[:MAX_MISTAKES]:
            place = tuple(part for part in item["loc"] if part != "[key]")
            # A secret that could not be read is already reported; its empty value is not a second mistake.
            # A list that is too short only because its members are wrong is not a mistake either.
            if place not in reported and not (item["type"] == "too_short" and item["input"]):
                source.add(place, _error_text(item, place))
                reported.add(place)
        return None


def _error_text(item: Any, place: KeyPath) -> str:
    kind, value, limits = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        return f"unknown key{_suggestion(place)}"
    if kind == "literal_error":
        return _not_one_of(place, value, limits["expected"])
    if kind == "value_error":
        return str(limits["error"])
    if kind == "string_type":
        return f"this must be text{'' if value is None else f'; write it in quotes: {str(value)!r}'}"
    for kinds, text in _WRONG.items():
        if kind in kinds:
            return text.format(value=value, **limits)
    return str(item["msg"]).lower()


_WRONG = {
    ("model_type", "dict_type"): "this must be a mapping (key: value)",
    ("tuple_type", "list_type"): "this must be a list",
    ("int_type", "int_parsing", "int_parsing_size", "int_from_float", "finite_number"): "this must be a whole number",
    ("bool_type", "bool_parsing"): "this must be true or false",
    ("path_type",): "this must be the path of a file",
    ("greater_than_equal",): "{value} is too small: at least {ge}",
    ("less_than_equal",): "{value} is too large: at most {le}",
    ("string_too_long",): "this is too long: at most {max_length} characters",
    ("too_short",): "this needs at least {min_length}",
    ("too_long",): "this can have at most {max_length}",
}
"""pydantic's error types as messages for an author of YAML."""


def _not_one_of(place: KeyPath, value: object, expected: str) -> str:
    is_runtime = place[-2:] in (("cluster", "runtime"), ("runtime", "name"))
    if is_runtime and isinstance(value, str) and value in _OTHER_RUNTIMES:
        return f"{value!r} cannot be the runtime: {_OTHER_RUNTIMES[value]}"
    meant = " (master means control-plane)" if place[-1:] == ("role",) else ""
    if isinstance(value, bool):
        meant = " (YAML reads yes, no, on and off as true and false; put a word in quotes)"
    return f"{value!r} is not one of {expected}{meant}"


_DOCKER = "use containerd; Docker can stay installed beside it"
_OTHER_RUNTIMES = {
    "docker": f"Docker does not implement the container runtime interface (CRI); {_DOCKER}",
    "dockershim": f"Kubernetes 1.24 removed dockershim; kbootstrap does not set it up for older versions; {_DOCKER}",
    "cri-dockerd": f"kbootstrap does not install cri-dockerd; {_DOCKER}",
    "cri-o": "kbootstrap installs only containerd",
    "crio": "kbootstrap installs only containerd",
    "podman": "Podman does not implement the container runtime interface (CRI); use containerd",
}


def _suggestion(place: KeyPath) -> str:
    """``; did you mean 'kubernetes'?`` for a key similar to one of its section."""
    model: Any = Inventory
    for part in place[:-1]:
        if isinstance(part, int):
            continue
        model = _section(model, part)
        if model is None:
            return ""
    close = difflib.get_close_matches(str(place[-1]), list(model.model_fields), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; the keys here are {', '.join(model.model_fields)}"


_SECTIONS: dict[str, type[Model]] = {
    "cluster": Cluster,
    "ssh": Ssh,
    "hosts": Host,
    "bastions": Bastion,
    "runtime": Runtime,
    "network": Network,
    "kubeadm": Kubeadm,
    "preflight": Preflight,
    "proxy": Proxy,
    "extra_args": ExtraArgs,
}


def _section(model: type[Model], key: str) -> type[Model] | None:
    return _SECTIONS.get(key) if key in model.model_fields else None


# --- checks across fields --------------------------------------------------------------------------------------------


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
    if pods and services and pods.overlaps(services):
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
    if services and not 12 <= services.prefixlen <= 24:
        yield ("cluster", "service_cidr"), "this must be a network from /12 to /24 (a limit of the API server)"


def _in(address: str, network: ipaddress.IPv4Network) -> bool:
    return ipaddress.IPv4Address(address) in network
