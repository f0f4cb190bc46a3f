"""The inventory as data, with the description of every key.

The descriptions are the source of ``docs/inventory.md`` and of the JSON Schema.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator

from kbootstrap import versions
from kbootstrap.inventory.fields import (
    Address,
    Archive,
    Cidr,
    Endpoint,
    File,
    Flag,
    GpgKeys,
    HostKey,
    HostName,
    ImageRepository,
    IPv4,
    KubeadmCheck,
    KubeadmPhase,
    KubernetesVersion,
    Label,
    LabelValue,
    Name,
    NoProxy,
    Number,
    Plain,
    Port,
    Registry,
    Requirement,
    Role,
    SecretText,
    Taint,
    Url,
    Word,
    short_name,
)
from kbootstrap.inventory.mirrors import with_preset
from kbootstrap.inventory.source import SECRET_KEYS, KeyPath
from kbootstrap.ports import API_SERVER
from kbootstrap.secret import Secret

DOCKER_REPOSITORY = "https://download.docker.com"
DOCKER_KEYS = ("060A61C51B558A7F742B77AAC52FEB6B621E9F35", "9DC858229FC7DD38854AE2D88D81803C0EBFCD88")
"""Docker's keys for rpm and deb packages: https://docs.docker.com/engine/install/centos/ and .../debian/."""
KUBERNETES_REPOSITORY = "https://pkgs.k8s.io"
KUBERNETES_KEYS = ("DE15B14486CD377B9E876E1A234654DA9A296436",)
"""The key of pkgs.k8s.io: https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/."""


class Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)


# --- ssh -------------------------------------------------------------------------------------------------------------


LegacyAlgorithms = Annotated[
    Flag,
    Field(
        description="For a host with an old SSH server: also offer CBC ciphers, MACs with SHA-1 and MD5, and the SHA-1"
        " key exchanges and signatures that the installed paramiko still supports."
    ),
]


class Bastion(Model):
    """A jump host, with its own login."""

    address: Address = Field(description="Address or DNS name.")
    user: Plain | None = Field(None, description="Login name; default: from ssh_config, else your own.")
    port: Port | None = Field(None, description="SSH port; default: from ssh_config, else 22.")
    key: File | None = Field(None, description="Private key file; relative to the inventory.")
    passphrase: SecretText | None = Field(None, description="Passphrase of the key.")
    password: SecretText | None = Field(None, description="Login password (also keyboard-interactive).")
    fingerprint: HostKey | None = Field(None, description="The only host key accepted, `SHA256:...`.")
    legacy_algorithms: LegacyAlgorithms = False


class Ssh(Model):
    """How to reach a host and become root. A host's `ssh` overrides single keys of the top-level section."""

    user: Plain | None = Field(None, description="Login name; default: from ssh_config, else your own.")
    port: Port | None = Field(None, description="SSH port; default: from ssh_config, else 22.")
    key: File | None = Field(None, description="Private key file; relative to the inventory.")
    passphrase: SecretText | None = Field(None, description="Passphrase of the key.")
    password: SecretText | None = Field(None, description="Login password (also keyboard-interactive).")
    agent: Flag = Field(True, description="Ask the SSH agent when no key or password is given.")
    config: File | None = Field(Path("~/.ssh/config"), description="The ssh_config file to use; `null` for none.")
    bastions: tuple[Bastion, ...] = Field((), max_length=10, description="Jump hosts, in order.")
    host_key_policy: Literal["strict", "accept-new"] = Field(
        "strict",
        description="`strict` refuses hosts that are not in known_hosts; `accept-new` adds them at the first"
        " connection. Both refuse a changed key.",
    )
    fingerprint: HostKey | None = Field(None, description="The only host key accepted, `SHA256:...`.")
    known_hosts: File = Field(
        Path("~/.ssh/known_hosts"),
        description="The known_hosts file. With the default, those that ssh_config names count too.",
    )
    legacy_algorithms: LegacyAlgorithms = False
    sudo: Literal["none", "passwordless", "password"] = Field(
        "passwordless", description="How the login becomes root; `none` when the login is root."
    )
    sudo_password: SecretText | None = Field(None, description="For `sudo: password`; or use `-K` to be asked.")
    connect_timeout: Number = Field(10, ge=1, le=600, description="Seconds to wait for a connection.")
    command_timeout: Number | None = Field(
        None,
        ge=10,
        le=86400,
        description="Time limit for a single step, in seconds; default: every step's own limit.",
    )


# --- cluster ---------------------------------------------------------------------------------------------------------


class Runtime(Model):
    """The container runtime."""

    name: Literal["containerd"] = Field("containerd", description="Only containerd is supported.")
    version: Word | None = Field(None, description="An exact version of containerd.io; default: the newest.")
    package_repository: Url = Field(
        DOCKER_REPOSITORY, description="The repository of containerd.io, or a mirror of it."
    )
    package_key: GpgKeys = Field(DOCKER_KEYS, description="Pinned GPG fingerprints of that repository.")
    mirrors: dict[Registry, tuple[Url, ...]] = Field(
        default_factory=dict,
        description="Per registry, the mirrors to ask first: `docker.io: [https://...]`. A mirror's URL may have a"
        " path.",
    )
    insecure_registries: tuple[Registry, ...] = Field(
        (), description="Registries to use without verified TLS, or without TLS."
    )


class Network(Model):
    """The pod network."""

    name: Literal["flannel"] = Field("flannel", description="Only Flannel is supported.")
    backend: Literal["vxlan", "host-gw"] = Field(
        "vxlan", description="`vxlan` works everywhere; `host-gw` is faster where all hosts share one network."
    )
    port: Port = Field(8472, description="UDP port of VXLAN.")
    image_repository: ImageRepository | None = Field(
        None, description="The repository of Flannel's images; default: ghcr.io/flannel-io."
    )


Argument = Annotated[
    str,
    BeforeValidator(lambda value: json.dumps(value) if isinstance(value, (int, float)) else value),
    WithJsonSchema({"type": ["string", "number", "boolean"]}),
]
Arguments = dict[Plain, Argument]


class ExtraArgs(Model):
    """Command line arguments in addition to kubeadm's own, without the dashes: `{v: "2"}`."""

    api_server: Arguments = Field(default_factory=dict, description="For kube-apiserver.")
    controller_manager: Arguments = Field(default_factory=dict, description="For kube-controller-manager.")
    scheduler: Arguments = Field(default_factory=dict, description="For kube-scheduler.")
    etcd: Arguments = Field(default_factory=dict, description="For etcd.")
    kubelet: Arguments = Field(default_factory=dict, description="For the kubelet of every host.")
    kube_proxy: dict[Plain, Any] = Field(
        default_factory=dict,
        description="Fields of KubeProxyConfiguration (kubeadm has no arguments for kube-proxy): `{mode: nftables}`.",
    )


class Kubeadm(Model):
    """Settings for kubeadm in addition to those that kbootstrap writes."""

    extra_args: ExtraArgs = Field(default_factory=ExtraArgs, description="Extra arguments per component.")
    documents: tuple[dict[str, Any], ...] = Field(
        (),
        description="More kubeadm or component documents. A document of a kind that kbootstrap writes is merged into"
        " kbootstrap's document (a JoinConfiguration into that of every join): lists of `{name, value}` by name, lists"
        " of texts as a whole. An `apiVersion` is that of the wanted kubeadm, or left out.",
    )
    ignore_preflight_errors: tuple[KubeadmCheck, ...] = Field(
        (), description="kubeadm preflight checks to ignore, e.g. `NumCPU`."
    )
    skip_phases: tuple[KubeadmPhase, ...] = Field(
        (), description="kubeadm init phases to skip, e.g. `addon/kube-proxy`."
    )


class Cluster(Model):
    """The cluster as a whole."""

    name: Name = Field("kubernetes", description="The cluster's name, also used in its kubeconfig.")
    kubernetes: KubernetesVersion = Field(
        description='A minor (`"1.34"`: the newest patch in the repository) or a version (`"1.34.2"`); in quotes.'
    )
    control_plane_endpoint: Endpoint | None = Field(
        None,
        description="`host:port` of the API server; default: port 6443 of the first control plane host.",
    )
    pod_cidr: Cidr = Field(
        ipaddress.IPv4Network("10.244.0.0/16"),
        description="The network of the pods. Every host gets a /24 of it: a /16 has room for 256 hosts, a /20 for 16.",
    )
    service_cidr: Cidr = Field(
        ipaddress.IPv4Network("10.96.0.0/12"),
        description="The network of the Services, from /12 to /24. It must not overlap `pod_cidr` or the hosts.",
    )
    dns_domain: Name = Field("cluster.local", description="The DNS domain of the Services.")
    runtime: Annotated[Runtime, short_name("containerd")] = Field(
        default_factory=Runtime, description="The container runtime, `containerd` or a section."
    )
    network: Annotated[Network, short_name("flannel")] = Field(
        default_factory=Network, description="The pod network, `flannel` or a section."
    )
    mirror: Literal["none", "aliyun", "tsinghua"] = Field(
        "none",
        description="Take packages and images from these public mirrors: sets `image_repository`, `package_repository`,"
        " `os_repository`, `runtime.package_repository` and `network.image_repository` where you do not set them."
        " `tsinghua` has no images: they come from Aliyun's mirror.",
    )
    os_repository: Archive = Field(
        "vault",
        description="Where CentOS 7, 8 and Stream 8 get the packages of the OS, whose own servers have ended: `vault`"
        " (vault.centos.org), `aliyun`, `tsinghua`, or the URL of a mirror of vault.centos.org. `keep` leaves the"
        " repository files of the hosts as they are.",
    )
    image_repository: ImageRepository = Field(
        "registry.k8s.io",
        description="The repository of the Kubernetes images, e.g. a mirror such as"
        " `registry.aliyuncs.com/google_containers`.",
    )
    package_repository: Url = Field(
        KUBERNETES_REPOSITORY,
        description="The repository of the Kubernetes packages: a mirror of pkgs.k8s.io, or a template with `{minor}`,"
        " e.g. `https://mirrors.aliyun.com/kubernetes-new/core/stable/v{minor}`.",
    )
    package_key: GpgKeys = Field(KUBERNETES_KEYS, description="Pinned GPG fingerprints of that repository.")
    ntp: tuple[Address, ...] = Field((), description="Time servers; default: those of the OS.")
    time: Literal["chrony", "ignore"] = Field(
        "chrony",
        description="Keep the time with chrony, or leave it to what the hosts have (`ntp` is not used then).",
    )
    selinux: Literal["permissive", "enforcing", "disabled"] = Field(
        "permissive",
        description="The SELinux mode, on hosts that have SELinux. With `permissive`, a host where it is disabled stays"
        " so. With `enforcing`, it must be on in the kernel.",
    )
    firewall: Literal["disable", "open-ports", "ignore"] = Field(
        "disable",
        description="Switch the firewall off, keep it on and open the ports Kubernetes needs (in firewalld or ufw), or"
        " do not check it.",
    )
    kubeadm: Kubeadm = Field(default_factory=Kubeadm, description="More settings for kubeadm.")

    @model_validator(mode="before")
    @classmethod
    def _preset(cls, section: Any) -> Any:
        return with_preset(section)

    @property
    def minor(self) -> versions.Minor:
        """The wanted minor, e.g. (1, 34)."""
        return versions.parse(self.kubernetes)[0]

    @property
    def exact(self) -> str | None:
        """The wanted version when the inventory names a patch, e.g. 1.34.2."""
        return versions.parse(self.kubernetes)[1]


class Proxy(Model):
    """The proxy through which the hosts reach package repositories, keys and registries."""

    http: Url | None = Field(None, description="The proxy for http:// addresses, e.g. `http://proxy.example.com:3128`.")
    https: Url | None = Field(None, description="The proxy for https:// addresses; default: that of `http`.")
    no_proxy: tuple[NoProxy, ...] = Field(
        (),
        description="What is reached directly, in addition to the nodes, the API server, `pod_cidr`, `service_cidr` and"
        " the names of the cluster.",
    )


class Preflight(Model):
    """The requirements that are checked before any change."""

    warn: tuple[Requirement, ...] = Field(
        (),
        description="Requirements that are only warnings, by name. An error shows the name of its requirement.",
    )


class Host(Model):
    """One host."""

    name: HostName = Field(description="The node's name; becomes the host name.")
    address: Address = Field(
        description="The address for SSH: an IPv4 address or a DNS name. With a name, set `internal_address` too."
    )
    role: Role = Field(description="`control-plane` or `worker`; `master` is an alias of `control-plane`.")
    internal_address: IPv4 | None = Field(
        None, description="The IPv4 address the nodes use to reach each other; default: `address`."
    )
    interface: Plain | None = Field(None, description="The interface that must have that address.")
    labels: dict[Label, LabelValue] = Field(default_factory=dict, description="Node labels.")
    taints: tuple[Taint, ...] = Field((), description="Node taints, `key=value:Effect`.")
    schedulable: Flag | None = Field(
        None,
        description="Control plane hosts only: `true` lets ordinary pods run on it, `false` keeps them away. Default: "
        "they run there when the inventory has no workers; else the node's taint stays as it is.",
    )
    ssh: Ssh = Field(default_factory=Ssh, description="Settings that differ from the top-level `ssh` section.")

    @property
    def node_ip(self) -> str:
        """The address this node has within the cluster."""
        return self.internal_address or self.address

    @property
    def is_control_plane(self) -> bool:
        return self.role == "control-plane"


class Inventory(Model):
    """The whole file."""

    cluster: Cluster = Field(description="The cluster.")
    ssh: Ssh = Field(default_factory=Ssh, description="How to reach all hosts.")
    proxy: Proxy = Field(
        default_factory=Proxy,
        description="For curl, the package manager, the container runtime and kubeadm on the hosts.",
    )
    preflight: Preflight = Field(default_factory=Preflight, description="The requirements of the hosts.")
    parallelism: Number = Field(50, ge=1, le=1000, description="The maximum number of hosts to work on at once.")
    hosts: tuple[Host, ...] = Field(
        min_length=1, max_length=5000, description="The hosts. The cluster starts on the first control plane host."
    )

    _path: Path = Path()
    _warnings: tuple[str, ...] = ()
    _trusted: bool = False
    _marks: Mapping[KeyPath, tuple[int, int]] = {}

    @property
    def path(self) -> Path:
        return self._path

    @property
    def warnings(self) -> tuple[str, ...]:
        """Settings that are valid but risky, as text for the operator."""
        return self._warnings

    @property
    def trusted(self) -> bool:
        """Whether its ssh_config may run programs (``--trust-inventory``)."""
        return self._trusted

    @property
    def control_planes(self) -> list[Host]:
        return [host for host in self.hosts if host.is_control_plane]

    @property
    def workers(self) -> list[Host]:
        return [host for host in self.hosts if not host.is_control_plane]

    @property
    def first_control_plane(self) -> Host:
        return next(host for host in self.hosts if host.is_control_plane)

    @property
    def endpoint(self) -> str:
        """``host:port`` of the API server for all nodes and clients."""
        return self.cluster.control_plane_endpoint or f"{self.first_control_plane.node_ip}:{API_SERVER}"

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
