"""The inventory: what the operator wants, checked as a whole before anything is touched.

``load`` reports every mistake at once, each with file, line and key path. The field descriptions below are the source
of ``docs/inventory.md`` and of the JSON Schema.
"""

from __future__ import annotations

import difflib
import ipaddress
import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, WithJsonSchema

from kbootstrap import versions
from kbootstrap.inventory_file import SECRET_KEYS, Place, Source, read
from kbootstrap.model import InventoryError, Secret, counted
from kbootstrap.redact import printable

DOCKER_REPOSITORY = "https://download.docker.com"
DOCKER_KEYS = ("060A61C51B558A7F742B77AAC52FEB6B621E9F35", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88")
"""Docker's keys for rpm and deb packages: https://docs.docker.com/engine/install/centos/ and .../debian/."""
KUBERNETES_REPOSITORY = "https://pkgs.k8s.io"
KUBERNETES_KEYS = ("DE15B14486CD377B9E876E1A234654DA9A296436",)
"""The key of pkgs.k8s.io: https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/."""

_NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*\Z")
_LABEL = re.compile(r"([a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?)?\Z")
_TAINT = re.compile(r"[^=:\s]+(=[^=:\s]*)?:(NoSchedule|PreferNoSchedule|NoExecute)\Z")
_URL = re.compile(r"https?://[^\s/'\"\\]+[^\s'\"\\]*\Z")
_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}=?\Z")
_GPG = re.compile(r"[0-9A-F]{40}\Z")
_REGISTRY = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?(:[1-9][0-9]{0,4})?\Z")
_IMAGES = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*\Z")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@\\-]*\Z")


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(text: str) -> str:
        if not pattern.match(text) or len(text) > 2000:
            raise ValueError(f"{text!r} is not {what}")
        return text

    return AfterValidator(check)


def _no_control(text: str) -> str:
    if any(ord(char) < 32 or ord(char) == 127 for char in text):
        raise ValueError("a value must not contain control characters or newlines")
    return text


def _as_secret(value: object) -> Secret:
    if isinstance(value, Secret):
        return value
    if not isinstance(value, str) or not value:
        raise ValueError("a secret is a text; numbers need quotes")
    if "\n" in value or "\0" in value:
        raise ValueError("a secret must be one line")
    return Secret(value)


def _upper(value: object) -> object:
    return value.replace(" ", "").upper() if isinstance(value, str) else value


def _one_or_many(value: object) -> object:
    return (value,) if isinstance(value, str) else value


def _cidr(text: object) -> ipaddress.IPv4Network:
    if isinstance(text, ipaddress.IPv4Network):
        return text
    try:
        network = ipaddress.ip_network(str(text), strict=True)
    except ValueError as error:
        raise ValueError(f"{text!r} is not a network such as 10.244.0.0/16 ({error})") from None
    if not isinstance(network, ipaddress.IPv4Network):
        raise ValueError("IPv6 and dual-stack clusters are not supported yet")
    return network


def _ipv4(text: str) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise ValueError(f"{text!r} is not an IP address") from None
    if address.version != 4:
        raise ValueError("IPv6 addresses are not supported yet")
    return text


def _version(text: str) -> str:
    versions.parse(text)
    return text


def _endpoint(text: str) -> str:
    match = re.match(r"[A-Za-z0-9.-]{1,253}:([1-9][0-9]{0,4})\Z", text)
    if match is None or int(match[1]) > 65535:
        raise ValueError(f"{text!r} is not host:port")
    return text


Plain = Annotated[str, AfterValidator(_no_control)]
Name = Annotated[str, _matching(_NAME, "a name of lower-case letters, digits, '-' and '.'")]
HostName = Annotated[Name, Field(max_length=63)]
"""Linux takes 64 characters, a DNS label 63."""
Url = Annotated[str, _matching(_URL, "an http:// or https:// address"), AfterValidator(lambda url: url.rstrip("/"))]
Cidr = Annotated[
    ipaddress.IPv4Network, BeforeValidator(_cidr), WithJsonSchema({"type": "string", "format": "ipv4-cidr"})
]
SecretText = Annotated[Secret, BeforeValidator(_as_secret), WithJsonSchema({"type": "string", "writeOnly": True})]
GpgKeys = Annotated[
    tuple[Annotated[str, BeforeValidator(_upper), _matching(_GPG, "a GPG fingerprint of 40 hex digits")], ...],
    BeforeValidator(_one_or_many),
]
HostKey = Annotated[str, _matching(_FINGERPRINT, "a fingerprint such as SHA256:... (see ssh-keygen -lf)")]
File = Annotated[Path, AfterValidator(lambda path: _usable(path))]
Port = Annotated[int, Field(ge=1, le=65535)]
Registry = Annotated[str, _matching(_REGISTRY, "a registry such as docker.io or registry.example.com:5000")]
ImageRepository = Annotated[str, _matching(_IMAGES, "an image repository such as registry.k8s.io")]
Word = Annotated[str, _matching(_WORD, "one word of letters, digits, '.', '_' and '-'")]
Address = Annotated[str, _matching(re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,252}\Z"), "an IPv4 address or a DNS name")]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


_M = TypeVar("_M", bound=_Model)


# --- ssh -------------------------------------------------------------------------------------------------------------


LegacyAlgorithms = Annotated[
    bool,
    Field(
        description="For a host whose SSH server is too old: also offer CBC ciphers, MACs with SHA-1 and MD5, and what"
        " the installed paramiko still has of SHA-1 key exchanges and signatures."
    ),
]


class Bastion(_Model):
    """A host to jump through, with a login of its own."""

    address: Address = Field(description="Address or DNS name.")
    user: Plain | None = Field(None, description="Login; default: ssh_config's, else yours.")
    port: Port | None = Field(None, description="SSH port; default: ssh_config's, else 22.")
    key: File | None = Field(None, description="Private key file; relative to the inventory.")
    passphrase: SecretText | None = Field(None, description="Passphrase of the key.")
    password: SecretText | None = Field(None, description="Login password (also keyboard-interactive).")
    fingerprint: HostKey | None = Field(None, description="The only host key accepted, `SHA256:...`.")
    legacy_algorithms: LegacyAlgorithms = False


class Ssh(_Model):
    """How to reach a host and become root. Given for all hosts at the top; a host's own `ssh` overrides single keys."""

    user: Plain | None = Field(None, description="Login; default: ssh_config's, else yours.")
    port: Port | None = Field(None, description="SSH port; default: ssh_config's, else 22.")
    key: File | None = Field(None, description="Private key file; relative to the inventory.")
    passphrase: SecretText | None = Field(None, description="Passphrase of the key.")
    password: SecretText | None = Field(None, description="Login password (also keyboard-interactive).")
    agent: bool = Field(True, description="Ask the SSH agent when no key or password is given.")
    config: File | None = Field(Path("~/.ssh/config"), description="The ssh_config file to honour; `null` for none.")
    bastions: tuple[Bastion, ...] = Field((), description="Hosts to jump through, the first one first.")
    host_key_policy: Literal["strict", "accept-new"] = Field(
        "strict",
        description="`strict` refuses hosts that are not in known_hosts; `accept-new` remembers them at the first"
        " contact. A changed key is refused in either case.",
    )
    fingerprint: HostKey | None = Field(None, description="The only host key accepted, `SHA256:...`.")
    known_hosts: File = Field(Path("~/.ssh/known_hosts"), description="The known_hosts file.")
    legacy_algorithms: LegacyAlgorithms = False
    sudo: Literal["none", "passwordless", "password"] = Field(
        "passwordless", description="How the login becomes root; `none` when it is root already."
    )
    sudo_password: SecretText | None = Field(None, description="For `sudo: password`; or use `-K` to be asked.")
    connect_timeout: int = Field(10, ge=1, le=600, description="Seconds to wait for a connection.")
    command_timeout: int | None = Field(
        None,
        ge=10,
        le=86400,
        description="Longest a single step may take, in seconds; default: every step's own limit.",
    )


# --- cluster ---------------------------------------------------------------------------------------------------------


class Runtime(_Model):
    """The container runtime."""

    name: Literal["containerd"] = Field("containerd", description="Only containerd so far.")
    version: Word | None = Field(None, description="An exact version of containerd.io; default: the newest.")
    package_repository: Url = Field(DOCKER_REPOSITORY, description="Where containerd.io comes from, or a mirror of it.")
    package_key: GpgKeys = Field(DOCKER_KEYS, description="Pinned GPG fingerprints of that repository.")
    mirrors: dict[Registry, tuple[Url, ...]] = Field(
        default_factory=dict, description="Per registry, the mirrors to ask first: `docker.io: [https://...]`."
    )
    insecure_registries: tuple[Registry, ...] = Field((), description="Registries spoken to without verified TLS.")


class Network(_Model):
    """The pod network."""

    name: Literal["flannel"] = Field("flannel", description="Only Flannel so far.")
    backend: Literal["vxlan", "host-gw"] = Field(
        "vxlan", description="`vxlan` works everywhere; `host-gw` is faster where all hosts share one network."
    )
    port: Port = Field(8472, description="UDP port of VXLAN.")
    image_repository: ImageRepository | None = Field(
        None, description="Where Flannel's images come from; default docker.io/flannel."
    )


Arguments = dict[Plain, Annotated[str, BeforeValidator(lambda v: str(v) if isinstance(v, (int, float)) else v)]]


class ExtraArgs(_Model):
    """Command line arguments beyond kubeadm's own, without the dashes: `{v: "2"}`."""

    api_server: Arguments = Field(default_factory=dict, description="For kube-apiserver.")
    controller_manager: Arguments = Field(default_factory=dict, description="For kube-controller-manager.")
    scheduler: Arguments = Field(default_factory=dict, description="For kube-scheduler.")
    etcd: Arguments = Field(default_factory=dict, description="For etcd.")
    kubelet: Arguments = Field(default_factory=dict, description="For the kubelet of every host.")
    kube_proxy: dict[Plain, Any] = Field(
        default_factory=dict,
        description="Fields of KubeProxyConfiguration (kubeadm has no arguments for kube-proxy): `{mode: nftables}`.",
    )


class Kubeadm(_Model):
    """What goes to kubeadm beyond what kbootstrap writes by itself."""

    extra_args: ExtraArgs = Field(default_factory=ExtraArgs, description="Extra arguments per component.")
    documents: tuple[dict[str, Any], ...] = Field(
        (),
        description="More kubeadm or component documents; one of a kind kbootstrap writes is merged into it"
        " (a JoinConfiguration into that of every join).",
    )
    ignore_preflight_errors: tuple[Annotated[str, _matching(_IMAGES, "the name of a check")], ...] = Field(
        (), description="kubeadm preflight checks to ignore, e.g. `NumCPU`."
    )
    skip_phases: tuple[Annotated[str, _matching(_IMAGES, "a phase such as addon/kube-proxy")], ...] = Field(
        (), description="kubeadm init phases to skip, e.g. `addon/kube-proxy`."
    )


class Cluster(_Model):
    """The cluster as a whole."""

    name: Name = Field("kubernetes", description="The cluster's name, in its kubeconfig too.")
    kubernetes: Annotated[Plain, AfterValidator(_version)] = Field(
        description='A minor (`"1.34"`: the newest patch the repository has) or a version (`"1.34.2"`); in quotes.'
    )
    control_plane_endpoint: Annotated[Plain, AfterValidator(_endpoint)] | None = Field(
        None, description="`host:port` of the API for everyone; default: the first master's address and 6443."
    )
    pod_cidr: Cidr = Field(
        ipaddress.IPv4Network("10.244.0.0/16"),
        description="The network of the pods. Every host gets a /24 of it: a /16 has room for 256 hosts, a /20 for 16.",
    )
    service_cidr: Cidr = Field(
        ipaddress.IPv4Network("10.96.0.0/12"),
        description="The network of the Services, from /12 to /24. It overlaps neither `pod_cidr` nor the hosts.",
    )
    dns_domain: Name = Field("cluster.local", description="The DNS domain of the Services.")
    runtime: Annotated[Runtime, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)] = Field(
        default_factory=Runtime, description="The container runtime, `containerd` or a section."
    )
    network: Annotated[Network, BeforeValidator(lambda v: {"name": v} if isinstance(v, str) else v)] = Field(
        default_factory=Network, description="The pod network, `flannel` or a section."
    )
    image_repository: ImageRepository = Field(
        "registry.k8s.io",
        description="Where Kubernetes' images come from, e.g. a mirror such as"
        " `registry.aliyuncs.com/google_containers`.",
    )
    package_repository: Url = Field(
        KUBERNETES_REPOSITORY,
        description="Where the Kubernetes packages come from: a mirror of pkgs.k8s.io, or a template with `{minor}`,"
        " e.g. `https://mirrors.aliyun.com/kubernetes-new/core/stable/v{minor}`.",
    )
    package_key: GpgKeys = Field(KUBERNETES_KEYS, description="Pinned GPG fingerprints of that repository.")
    ntp: tuple[Address, ...] = Field((), description="Time servers; default: those the OS comes with.")
    selinux: Literal["permissive", "enforcing", "disabled"] = Field(
        "permissive", description="SELinux, where there is one."
    )
    firewall: Literal["disable", "open-ports", "ignore"] = Field(
        "disable", description="Switch the firewall off, keep it and open what Kubernetes needs, or do not look at it."
    )
    kubeadm: Kubeadm = Field(default_factory=Kubeadm, description="Extras for kubeadm.")

    @property
    def minor(self) -> versions.Minor:
        """The wanted minor, e.g. (1, 34)."""
        return versions.parse(self.kubernetes)[0]

    @property
    def exact(self) -> str | None:
        """The wanted version when the inventory names a patch, e.g. 1.34.2."""
        return versions.parse(self.kubernetes)[1]


class Host(_Model):
    """One host."""

    name: HostName = Field(description="The node's name; becomes the host name.")
    address: Address = Field(
        description="Where SSH goes: an IPv4 address, or a DNS name; with a name, give `internal_address` too."
    )
    role: Annotated[
        Literal["control-plane", "worker"], BeforeValidator(lambda v: "control-plane" if v == "master" else v)
    ] = Field(description="`master` (or `control-plane`) or `worker`.")
    internal_address: Annotated[str, AfterValidator(_ipv4)] | None = Field(
        None, description="The IPv4 address the nodes use among themselves, where it is not `address`."
    )
    interface: Plain | None = Field(None, description="The interface of that address, for checking.")
    labels: dict[
        Annotated[str, _matching(_LABEL, "a label name")], Annotated[str, _matching(_LABEL_VALUE, "a label value")]
    ] = Field(default_factory=dict, description="Node labels.")
    taints: tuple[Annotated[str, _matching(_TAINT, "a taint such as key=value:NoSchedule")], ...] = Field(
        (), description="Node taints, `key=value:Effect`."
    )
    ssh: Ssh = Field(default_factory=Ssh, description="What differs from the `ssh` section at the top.")

    @property
    def node_ip(self) -> str:
        """The address this node has within the cluster."""
        return self.internal_address or self.address

    @property
    def is_master(self) -> bool:
        return self.role == "control-plane"


class Inventory(_Model):
    """The whole file."""

    cluster: Cluster = Field(description="The cluster.")
    ssh: Ssh = Field(default_factory=Ssh, description="How to reach all hosts.")
    parallelism: int = Field(50, ge=1, le=1000, description="Most hosts worked on at once.")
    hosts: tuple[Host, ...] = Field(
        min_length=1, max_length=5000, description="The hosts; the first master is where the cluster begins."
    )

    _path: Path = Path()
    _warnings: tuple[str, ...] = ()

    @property
    def path(self) -> Path:
        return self._path

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but worth a word."""
        return self._warnings

    @property
    def masters(self) -> list[Host]:
        return [host for host in self.hosts if host.is_master]

    @property
    def workers(self) -> list[Host]:
        return [host for host in self.hosts if not host.is_master]

    @property
    def first_master(self) -> Host:
        return next(host for host in self.hosts if host.is_master)

    @property
    def endpoint(self) -> str:
        """``host:port`` of the API server for all nodes and clients."""
        return self.cluster.control_plane_endpoint or f"{self.first_master.node_ip}:6443"

    def host(self, name: str) -> Host:
        """The host of that name. Raises KeyError when there is none."""
        for host in self.hosts:
            if host.name == name:
                return host
        raise KeyError(name)

    def secrets(self) -> Iterator[Secret]:
        """Every secret of the inventory, for masking."""
        for host in self.hosts:
            for holder in (host.ssh, *host.ssh.bastions):
                for key in SECRET_KEYS:
                    value = getattr(holder, key, None)
                    if isinstance(value, Secret):
                        yield value


def json_schema() -> dict[str, Any]:
    """The JSON Schema of an inventory, for editors."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Inventory.model_json_schema()}


# --- loading ---------------------------------------------------------------------------------------------------------


def load(path: Path, env: Mapping[str, str] | None = None) -> Inventory:
    """Read and check an inventory. Raises InventoryError that lists every mistake with its line and key path."""
    source = read(path, os.environ if env is None else env)
    inventory = _validated(source)
    for place, mistake in list(_cross_checks(_parts(source))):
        source.add(place, mistake)
    if source.problems or inventory is None:
        raise InventoryError(_listing(source), "See docs/inventory.md, or `kbootstrap schema` for your editor.")
    inventory = _with_ssh_defaults(inventory, path.parent)
    inventory._path = path
    inventory._warnings = tuple(_warnings(inventory, source))
    return inventory


def _listing(source: Source) -> str:
    problems = sorted(set(source.problems), key=lambda problem: (problem.line, str(problem.place)))
    lines = [_one_line(f"{source.path}:{p.line}: {_dotted(p.place)}: {p.text}") for p in problems]
    count = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    return "\n".join([f"the inventory has {count}:", *(f"  {line}" for line in lines)])


def _one_line(text: str) -> str:
    """What comes from the file is shown in a line, whatever it is."""
    return printable(text.replace("\n", "\\n"))


def _dotted(place: Place) -> str:
    text = ""
    for part in place:
        if isinstance(part, int):
            text += f"[{part}]"
            continue
        # A key that nobody can see is shown as what it is made of.
        text += ("." if text else "") + (part if part.isprintable() and part else repr(part))
    return text or "the file"


def _validated(source: Source) -> Inventory | None:
    if not isinstance(source.data, dict):
        source.add((), "an inventory is a mapping with the keys cluster and hosts")
        return None
    try:
        return Inventory.model_validate(source.data)
    except ValidationError as error:
        for item in error.errors():
            place = tuple(part for part in item["loc"] if part != "[key]")
            # A secret that could not be filled in was reported where it is; its empty value is no second mistake.
            # Nor is a list that counts as too short because its members are wrong.
            told = any(problem.place == place for problem in source.problems)
            if not told and not (item["type"] == "too_short" and item["input"]):
                source.add(place, _said(item, place))
        return None


def _said(item: Any, place: Place) -> str:
    kind, value, limits = item["type"], item.get("input"), item.get("ctx", {})
    if kind == "missing":
        return "this key is missing"
    if kind == "extra_forbidden":
        return f"there is no such key{_suggestion(place)}"
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
    ("too_short",): "at least {min_length} must be here",
    ("too_long",): "at most {max_length} may be here",
}
"""What pydantic's kinds of errors mean to somebody who writes YAML."""


def _not_one_of(place: Place, value: object, expected: str) -> str:
    is_runtime = place[-2:] in (("cluster", "runtime"), ("runtime", "name"))
    if is_runtime and isinstance(value, str) and value in _OTHER_RUNTIMES:
        return f"{value!r} cannot be the runtime: {_OTHER_RUNTIMES[value]}"
    meant = " (master means control-plane)" if place[-1:] == ("role",) else ""
    if isinstance(value, bool):
        meant = " (YAML reads yes, no, on and off as true and false; put a word in quotes)"
    return f"{value!r} is not one of {expected}{meant}"


_DOCKER = "use containerd; Docker may stay on the host beside it"
_OTHER_RUNTIMES = {
    "docker": f"Kubernetes does not speak to Docker itself; {_DOCKER}",
    "dockershim": f"dockershim left Kubernetes with 1.24, and kbootstrap does not set it up for older ones; {_DOCKER}",
    "cri-dockerd": f"kbootstrap does not install cri-dockerd; {_DOCKER}",
    "cri-o": "kbootstrap installs only containerd so far",
    "crio": "kbootstrap installs only containerd so far",
    "podman": "Podman does not serve Kubernetes' runtime interface (CRI); use containerd",
}


def _suggestion(place: Place) -> str:
    """``; did you mean 'kubernetes'?`` for a key that looks like one of its section."""
    model: Any = Inventory
    for part in place[:-1]:
        if isinstance(part, int):
            continue
        model = _section(model, part)
        if model is None:
            return ""
    close = difflib.get_close_matches(str(place[-1]), list(model.model_fields), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else f"; the keys here are {', '.join(model.model_fields)}"


_SECTIONS: dict[str, type[_Model]] = {
    "cluster": Cluster,
    "ssh": Ssh,
    "hosts": Host,
    "bastions": Bastion,
    "runtime": Runtime,
    "network": Network,
    "kubeadm": Kubeadm,
    "extra_args": ExtraArgs,
}


def _section(model: type[_Model], key: str) -> type[_Model] | None:
    return _SECTIONS.get(key) if key in model.model_fields else None


def _with_ssh_defaults(inventory: Inventory, folder: Path) -> Inventory:
    """Every host with its whole ssh section, paths made absolute."""
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


def _usable(path: Path) -> Path:
    _no_control(str(path))
    try:
        path.expanduser()
    except RuntimeError:
        raise ValueError(f"there is no user {str(path).partition('/')[0]!r}") from None
    return path


# --- what no single field can know -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _HostPart:
    """What other hosts and the networks are compared with; None is a value that is missing or wrong by itself."""

    index: int
    name: str | None
    address: str | None
    internal_address: str | None
    node_ip: str | None
    role: str | None
    port: int

    @property
    def called(self) -> str:
        return self.name or f"hosts[{self.index}]"


@dataclass(frozen=True)
class _Parts:
    """The parts of a file that are right by themselves: a wrong key must not hide what is wrong elsewhere."""

    kubernetes: str | None
    package_repository: str | None
    hosts: tuple[_HostPart, ...]
    networks: Mapping[str, ipaddress.IPv4Network]


def _parts(source: Source) -> _Parts:
    wrong = {problem.place for problem in source.problems}

    def value(*place: str | int) -> Any:
        """The file's value of a key; None when it is not there, or wrong."""
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
        return _HostPart(index, value(*at, "name"), address, internal, node_ip, value(*at, "role"), port)

    def of_cluster(key: str) -> Any:
        """As ``value``, and the default where the file leaves it to that."""
        default = isinstance(value("cluster"), dict) and ("cluster", key) not in wrong
        return value("cluster", key) or (Cluster.model_fields[key].default if default else None)

    listed = value("hosts")
    return _Parts(
        value("cluster", "kubernetes"),
        of_cluster("package_repository"),
        tuple(host(index) for index in range(len(listed) if isinstance(listed, list) else 0)),
        {key: _cidr(network) for key in ("pod_cidr", "service_cidr") if (network := of_cluster(key))},
    )


def _cross_checks(parts: _Parts) -> Iterator[tuple[Place, str]]:
    yield from _version_problems(parts)
    yield from _host_problems(parts.hosts)
    yield from _network_problems(parts)


def _version_problems(parts: _Parts) -> Iterator[tuple[Place, str]]:
    if parts.kubernetes is None or parts.package_repository != KUBERNETES_REPOSITORY:
        return
    if versions.parse(parts.kubernetes)[0] < versions.OLDEST_UPSTREAM:
        begin = versions.show(versions.OLDEST_UPSTREAM)
        yield (
            ("cluster", "kubernetes"),
            f"{KUBERNETES_REPOSITORY} begins with {begin}; older packages need a package_repository of your own",
        )


def _host_problems(hosts: tuple[_HostPart, ...]) -> Iterator[tuple[Place, str]]:
    if hosts and all(host.role == "worker" for host in hosts):
        yield ("hosts",), "no host has the role master"
    yield from _twice(hosts, "name", lambda host: host.name)
    # Hosts behind one address with different ports are different hosts as long as their node addresses differ.
    yield from _twice(hosts, "address", lambda host: host.address and (host.address, host.port))
    yield from _twice(hosts, "node_ip", lambda host: host.node_ip)
    for host in hosts:
        if host.node_ip is not None and not _is_ip(host.node_ip):
            yield (
                ("hosts", host.index, "address"),
                f"{host.node_ip!r} is a name; give internal_address too, the IP the nodes use among themselves",
            )


def _twice(
    hosts: tuple[_HostPart, ...], key: str, unique: Callable[[_HostPart], object]
) -> Iterator[tuple[Place, str]]:
    first: dict[object, _HostPart] = {}
    for host in hosts:
        value = unique(host)
        if value is None or first.setdefault(value, host) is host:
            continue
        given = "internal_address" if host.internal_address else "address"
        place = ("hosts", host.index, given if key == "node_ip" else key)
        yield place, f"{getattr(host, key)!r} is taken by {first[value].called} already"


def _is_ip(text: str) -> bool:
    try:
        ipaddress.IPv4Address(text)
    except ValueError:
        return False
    return True


def _network_problems(parts: _Parts) -> Iterator[tuple[Place, str]]:
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
            f"{pods} has room for {counted(room, 'node')} (a /24 each), the inventory has {len(parts.hosts)}",
        )
    if services and not 12 <= services.prefixlen <= 24:
        yield ("cluster", "service_cidr"), "the API server takes networks from /12 to /24 here"


def _in(address: str, network: ipaddress.IPv4Network) -> bool:
    return ipaddress.IPv4Address(address) in network


def _warnings(inventory: Inventory, source: Source) -> Iterable[str]:
    masters = inventory.masters
    if len(masters) > 1 and len(masters) % 2 == 0:
        yield f"{len(masters)} masters survive no more failures than {len(masters) - 1}: etcd needs a majority"
    if len(masters) > 1 and inventory.endpoint.rpartition(":")[0] in {master.node_ip for master in masters}:
        yield "control_plane_endpoint is the address of one master: the cluster depends on that host"
    if source.clear_secrets and source.path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        places = ", ".join(_dotted(place) for place in source.clear_secrets)
        yield f"{source.path} has secrets in clear ({places}) and others may read it: chmod 600, or use ${{env:NAME}}"
    yield from _plain_http(inventory.cluster)


def _plain_http(cluster: Cluster) -> Iterator[str]:
    """Packages are signed; images are whatever the registry says they are."""
    for key, url in (
        ("package_repository", cluster.package_repository),
        ("runtime.package_repository", cluster.runtime.package_repository),
    ):
        if url.startswith("http://"):
            yield (
                f"cluster.{key} is plain HTTP: packages are checked by their signatures, but anyone on the way sees"
                " them and may keep newer ones from you"
            )
    mirrors = [f"{name} from {url}" for name, urls in cluster.runtime.mirrors.items() for url in urls]
    plain = [mirror for mirror in mirrors if " http://" in mirror]
    if plain or cluster.runtime.insecure_registries:
        names = ", ".join((*plain, *cluster.runtime.insecure_registries))
        yield f"images come without verified TLS ({names}): anyone on the way can change them"
