"""kubeadm's documents as plain dicts, per config API version, and the join command as a typed value.

The documents follow https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/ and its v1beta3 and v1beta2
siblings; what differs between them is in this module only.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from kbootstrap.errors import KbootstrapError
from kbootstrap.ports import API_SERVER
from kbootstrap.secret import Secret
from kbootstrap.versions import config_api

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Host, Inventory
    from kbootstrap.remote.facts import Facts

CRI_SOCKET = "unix:///run/containerd/containerd.sock"
JOIN_TTL = "30m0s"
"""Lifetime of the tokens that kbootstrap creates. The run also deletes them at its end."""

Document = dict[str, Any]


@dataclass(frozen=True)
class JoinCommand:
    """The data a host needs to join: the endpoint, a bootstrap token, and the hashes that pin the cluster's CA."""

    endpoint: str
    token: Secret
    ca_hashes: tuple[str, ...]

    @property
    def token_id(self) -> str:
        """The public half of the token; it can be used in logs and arguments."""
        return self.token.reveal().partition(".")[0]


_ENDPOINT = re.compile(r"[A-Za-z0-9.:\[\]-]{1,260}:([1-9][0-9]{0,4})\Z")
_TOKEN = re.compile(r"[a-z0-9]{6}\.[a-z0-9]{16}\Z")
_HASH = re.compile(r"sha256:[0-9a-f]{64}\Z")


def parse_join_command(text: str) -> JoinCommand:
    """Parse the output of ``kubeadm token create --print-join-command``.

    The host is not trusted. Raises KbootstrapError when a part has a wrong format.
    """
    words = next((line.split() for line in text.splitlines() if line.strip().startswith("kubeadm join ")), [])
    options = dict(zip(words[3::2], words[4::2], strict=False))
    hashes = tuple(v for k, v in zip(words[3::2], words[4::2], strict=False) if k == "--discovery-token-ca-cert-hash")
    endpoint, token = (words[2] if len(words) > 2 else ""), options.get("--token", "")
    port = _ENDPOINT.match(endpoint)
    if (
        port is None
        or int(port[1]) > 65535
        or not _TOKEN.match(token)
        or not hashes
        or not all(map(_HASH.match, hashes))
    ):
        raise KbootstrapError(
            "the control plane printed no valid join command",
            "Run `kubeadm token create --print-join-command` on the first control plane host and check its output. "
            "[join-failed]",
        )
    return JoinCommand(endpoint, Secret(token), hashes)


def init_documents(inventory: Inventory, host: Host, version: str, facts: Facts | None = None) -> list[Document]:
    """The documents for ``kubeadm init --config``, with the inventory's extra documents merged in.

    Without the host's facts they are good for everything but the host's own kubelet.
    """
    cluster = inventory.cluster
    api = config_api(cluster.minor)
    extra = cluster.kubeadm.extra_args
    init = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "InitConfiguration",
        # kubeadm init always creates a token. The description identifies it, so that we can delete it later.
        "bootstrapTokens": [{"ttl": JOIN_TTL, "description": "kbootstrap init"}],
        "localAPIEndpoint": {"advertiseAddress": host.node_ip, "bindPort": API_SERVER},
        "nodeRegistration": _registration(inventory, host, api, facts),
    }
    configuration = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "ClusterConfiguration",
        "clusterName": cluster.name,
        "kubernetesVersion": f"v{version}",
        "controlPlaneEndpoint": inventory.endpoint,
        "imageRepository": cluster.image_repository,
        "networking": {
            "podSubnet": str(cluster.pod_cidr),
            "serviceSubnet": str(cluster.service_cidr),
            "dnsDomain": cluster.dns_domain,
        },
        "apiServer": {"certSANs": _names(inventory), "extraArgs": _arguments(extra.api_server, api)},
        "controllerManager": {"extraArgs": _arguments(extra.controller_manager, api)},
        "scheduler": {"extraArgs": _arguments(extra.scheduler, api)},
        "etcd": {"local": {"dataDir": "/var/lib/etcd", "extraArgs": _arguments(extra.etcd, api)}},
    }
    kubelet = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "cgroupDriver": "systemd"}
    documents: list[Document] = [init, _pruned(configuration), kubelet]
    if extra.kube_proxy:
        proxy = {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration"}
        documents.append({**proxy, **extra.kube_proxy})
    return _merged(documents, _extra(inventory, join=False))


_DNS_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


def _names(inventory: Inventory) -> list[str]:
    """What else the API server's certificate is valid for: the addresses at which operators reach control plane hosts.

    kubeadm itself adds the endpoint, and the name and the address that the host has within the cluster.
    """
    names = (host.address.lower() for host in inventory.control_planes)
    return list(dict.fromkeys(name for name in names if _DNS_NAME.match(name)))


def member_document(inventory: Inventory, host: Host) -> Document:
    """An InitConfiguration for ``kubeadm init phase ...`` on a member; the rest comes from the running cluster."""
    return {
        "apiVersion": f"kubeadm.k8s.io/{config_api(inventory.cluster.minor)}",
        "kind": "InitConfiguration",
        "localAPIEndpoint": {"advertiseAddress": host.node_ip, "bindPort": API_SERVER},
        "nodeRegistration": {"name": host.name, "criSocket": CRI_SOCKET},
    }


def _extra(inventory: Inventory, *, join: bool) -> list[Mapping[str, Any]]:
    """The inventory's extra documents for ``kubeadm join`` or for ``kubeadm init``."""
    return [
        extra for extra in inventory.cluster.kubeadm.documents if (extra.get("kind") == "JoinConfiguration") is join
    ]


def join_documents(
    inventory: Inventory, host: Host, join: JoinCommand, certificate_key: Secret | None, facts: Facts | None = None
) -> list[Document]:
    """The document for ``kubeadm join --config``, with an extra JoinConfiguration of the inventory merged in.

    It contains the token, so the whole document is a secret.
    """
    api = config_api(inventory.cluster.minor)
    document: Document = {
        "apiVersion": f"kubeadm.k8s.io/{api}",
        "kind": "JoinConfiguration",
        "discovery": {
            "bootstrapToken": {
                "apiServerEndpoint": join.endpoint,
                "token": join.token.reveal(),
                "caCertHashes": list(join.ca_hashes),
            }
        },
        "nodeRegistration": _registration(inventory, host, api, facts),
    }
    if host.is_control_plane:
        document["controlPlane"] = {
            "localAPIEndpoint": {"advertiseAddress": host.node_ip, "bindPort": API_SERVER},
            "certificateKey": certificate_key.reveal() if certificate_key else "",
        }
    return _merged([document], _extra(inventory, join=True))


def to_yaml(documents: list[Document]) -> str:
    """The documents as one YAML stream."""
    import yaml

    return yaml.safe_dump_all(documents, sort_keys=False, default_flow_style=False, width=1000)


def _registration(inventory: Inventory, host: Host, api: str, facts: Facts | None) -> Document:
    kubelet = {"node-ip": host.node_ip, **_resolver(inventory, facts), **inventory.cluster.kubeadm.extra_args.kubelet}
    return _pruned(
        {
            "name": host.name,
            "criSocket": CRI_SOCKET,
            "kubeletExtraArgs": _arguments(kubelet, api),
            "ignorePreflightErrors": list(inventory.cluster.kubeadm.ignore_preflight_errors),
        }
    )


def _resolver(inventory: Inventory, facts: Facts | None) -> dict[str, str]:
    """The kubelet's ``--resolv-conf``, which differs between hosts with and without systemd-resolved.

    kubeadm up to 1.30 writes the path of the host of ``kubeadm init`` into the configuration of all kubelets, and later
    versions keep it in a cluster of that time (https://github.com/kubernetes/kubeadm/issues/3034). Every kubelet from
    1.20 to 1.37 has the flag. A patch of one node's KubeletConfiguration needs 1.25.
    """
    if facts is None or any("resolvConf" in extra for extra in inventory.cluster.kubeadm.documents):
        return {}
    return {"resolv-conf": "/run/systemd/resolve/resolv.conf" if facts.resolved else "/etc/resolv.conf"}


def _arguments(arguments: Mapping[str, str], api: str) -> Any:
    """Extra arguments: a map up to v1beta3, a list of name and value from v1beta4 on."""
    if api in ("v1beta2", "v1beta3"):
        return dict(arguments)
    return [{"name": name, "value": value} for name, value in arguments.items()]


def _pruned(document: Document) -> Document:
    """The document without its empty maps and lists."""
    pruned = {key: _pruned(value) if isinstance(value, dict) else value for key, value in document.items()}
    return {key: value for key, value in pruned.items() if value not in ({}, [])}


def _merged(documents: list[Document], extras: Iterable[Mapping[str, Any]]) -> list[Document]:
    """Merge each extra document into our document of the same kind; append the others."""
    merged = list(documents)
    for extra in extras:
        kinds = [document["kind"] for document in merged]
        if extra.get("kind") in kinds:
            place = kinds.index(extra["kind"])
            merged[place] = _deep(merged[place], extra)
        else:
            merged.append(dict(extra))
    return merged


def _deep(base: Any, extra: Any) -> Any:
    """Merge mappings by key, lists of named entries by name, and lists of texts as sets; else ``extra`` wins."""
    if isinstance(base, dict) and isinstance(extra, Mapping):
        return {**base, **{key: _deep(base.get(key), value) for key, value in extra.items()}}
    if isinstance(base, list) and isinstance(extra, list):
        if _named(base) and _named(extra):
            replaced = {each["name"] for each in extra}
            return [each for each in base if each["name"] not in replaced] + extra
        if all(isinstance(each, str) for each in base + extra):
            return list(dict.fromkeys(base + extra))
    return extra


def _named(entries: list[Any]) -> bool:
    return all(isinstance(each, Mapping) and "name" in each for each in entries)
