"""kubeadm's configuration documents, read as strictly as kubeadm does, and the files made from them."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import sys
from typing import Any

import yaml

from kbootstrap_lab.simulated.fakes.cluster import State, minor
from kbootstrap_lab.simulated.fakes.common import Failed, read

Document = dict[str, Any]

_API_RANGE = {"v1beta2": (15, 26), "v1beta3": (22, 36), "v1beta4": (31, 99)}
"""The first and last minor whose kubeadm reads an API version (1.37 removed v1beta3)."""

_BOTH = {"apiVersion", "kind"}
_NODE = {"name", "criSocket", "taints", "kubeletExtraArgs", "ignorePreflightErrors"}
_FIELDS = {
    "InitConfiguration": _BOTH | {"bootstrapTokens", "localAPIEndpoint", "nodeRegistration", "certificateKey"},
    "ClusterConfiguration": _BOTH
    | {
        "apiServer", "certificatesDir", "clusterName", "controlPlaneEndpoint", "controllerManager", "dns", "etcd",
        "featureGates", "imageRepository", "kubernetesVersion", "networking", "scheduler",
    },
    "JoinConfiguration": _BOTH | {"caCertPath", "controlPlane", "discovery", "nodeRegistration"},
    "ResetConfiguration": _BOTH
    | {"cleanupTmpDir", "certificatesDir", "criSocket", "force", "ignorePreflightErrors", "skipPhases", "unmountFlags"},
}  # fmt: skip
_SINCE_3 = {"InitConfiguration": {"patches", "skipPhases"}, "JoinConfiguration": {"patches", "skipPhases"}}
_SINCE_4 = {
    "InitConfiguration": {"dryRun", "timeouts"},
    "JoinConfiguration": {"dryRun", "timeouts"},
    "ClusterConfiguration": {
        "proxy", "encryptionAlgorithm", "certificateValidityPeriod", "caCertificateValidityPeriod",
    },
}  # fmt: skip
_NETWORKING = {"dnsDomain", "podSubnet", "serviceSubnet"}


def load(path: str, version: str) -> dict[str, Document]:
    """The documents of a file by kind. Raises Failed for documents that this kubeadm rejects."""

    # Simulated hosts have no /proc/self/fd, to which /dev/stdin is a link.
    text = sys.stdin.read() if path == "/dev/stdin" else read(path)
    if not text:
        raise Failed(f"unable to read config from {path!r}: open {path}: no such file or directory")
    try:
        documents = [item for item in yaml.safe_load_all(text) if item]
    except yaml.YAMLError as error:
        raise Failed(f"error unmarshaling configuration: error converting YAML to JSON: {error}") from None
    found: dict[str, Document] = {}
    for document in documents:
        kind, api = document.get("kind"), str(document.get("apiVersion", ""))
        if not kind or not api:
            raise Failed("invalid configuration: kind and apiVersion is mandatory information that must be specified")
        if kind in found:
            raise Failed(f"invalid configuration: kind {kind!r} is specified twice in YAML config file")
        if api.startswith("kubeadm.k8s.io/"):
            _check_document(document, kind, api.partition("/")[2], minor(version))
        elif api not in ("kubelet.config.k8s.io/v1beta1", "kubeproxy.config.k8s.io/v1alpha1"):
            raise Failed(f'no kind "{kind}" is registered for version "{api}" in scheme')
        found[kind] = document
    return found


def _check_document(document: Document, kind: str, api: str, have: int) -> None:
    first, last = _API_RANGE.get(api, (99, 0))
    if have > last and api in _API_RANGE:
        raise Failed(
            f'your configuration file uses an old API spec: "kubeadm.k8s.io/{api}" (kind: "{kind}"). Please use kubeadm '
            f"v1.{last} instead and run 'kubeadm config migrate --old-config old.yaml --new-config new.yaml', which will "
            "write the new, similar spec using a newer API version."
        )
    if have < first or kind not in _FIELDS or (kind == "ResetConfiguration" and api != "v1beta4"):
        raise Failed(f'no kind "{kind}" is registered for version "kubeadm.k8s.io/{api}" in scheme "kubeadm"')
    known = set(_FIELDS[kind])
    known |= _SINCE_3.get(kind, set()) if api != "v1beta2" else set()
    known |= _SINCE_4.get(kind, set()) if api == "v1beta4" else set()
    for field in document:
        if field not in known:
            raise Failed(
                f'error unmarshaling configuration: strict decoding error: unknown field "{field}" in {kind} ({api})'
            )
    _check_nested(document, api)


def _check_nested(document: Document, api: str) -> None:
    node_fields = _NODE | ({"imagePullPolicy"} if api != "v1beta2" else set())
    node_fields |= {"imagePullSerial"} if api == "v1beta4" else set()
    registration = document.get("nodeRegistration") or {}
    _known(registration, node_fields, "nodeRegistration")
    _check_arguments(registration.get("kubeletExtraArgs"), "nodeRegistration.kubeletExtraArgs", api)
    if document["kind"] != "ClusterConfiguration":
        return
    _known(document.get("networking") or {}, _NETWORKING, "networking")
    component = {"extraArgs", "extraVolumes"} | ({"extraEnvs"} if api == "v1beta4" else set())
    server = component | {"certSANs"} | ({"timeoutForControlPlane"} if api != "v1beta4" else set())
    for name, fields in {"apiServer": server, "controllerManager": component, "scheduler": component}.items():
        _known(document.get(name) or {}, fields, name)
        _check_arguments((document.get(name) or {}).get("extraArgs"), f"{name}.extraArgs", api)
    local = (document.get("etcd") or {}).get("local") or {}
    _check_arguments(local.get("extraArgs"), "etcd.local.extraArgs", api)


def _known(value: Document, fields: set[str], place: str) -> None:
    if not isinstance(value, dict):
        raise Failed(f"error unmarshaling configuration: json: cannot unmarshal {place}")
    for field in value:
        if field not in fields:
            raise Failed(f'error unmarshaling configuration: strict decoding error: unknown field "{place}.{field}"')


def _check_arguments(value: Any, place: str, api: str) -> None:
    if value is None:
        return
    if api == "v1beta4":
        right = isinstance(value, list) and all(isinstance(a, dict) and set(a) == {"name", "value"} for a in value)
        kind, wanted = "object", "[]v1beta4.Arg"
    else:
        right, kind, wanted = isinstance(value, dict), "array", "map[string]string"
    texts = [argument["value"] for argument in value] if right and isinstance(value, list) else []
    texts = list(value.values()) if right and isinstance(value, dict) else texts
    if not right or not all(isinstance(text, str) for text in texts):
        raise Failed(
            f"error unmarshaling configuration: json: cannot unmarshal {kind} into Go struct field {place} of type {wanted}"
        )


def arguments(value: Any) -> list[tuple[str, str]]:
    """Extra arguments as pairs, from a mapping or a list."""
    if isinstance(value, dict):
        return list(value.items())
    return [(argument["name"], argument["value"]) for argument in value or []]


RESOLVED = "/run/systemd/resolve/resolv.conf"


def cluster_kubelet(document: Document, version: str, *, resolved: bool) -> Document:
    """The KubeletConfiguration that kubeadm init keeps for all nodes. Up to 1.30 it has the path of the first host."""
    if resolved and minor(version) <= 30:
        return {"resolvConf": RESOLVED, **document}
    return dict(document)


def node_kubelet(document: Document, version: str, *, resolved: bool) -> Document:
    """What kubeadm writes on a node: from 1.31 on, the path of this host where there is none."""
    if resolved and minor(version) >= 31:
        return {"resolvConf": RESOLVED, **document}
    return document


def kubelet_configuration(state: State, document: Document) -> str:
    """/var/lib/kubelet/config.yaml: kubeadm's defaults with the document's own settings."""
    lines = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "cgroupDriver": "systemd",
        "clusterDomain": "cluster.local",
        "kind": "KubeletConfiguration",
        "rotateCertificates": True,
        "staticPodPath": "/etc/kubernetes/manifests",
    }
    lines.update({key: value for key, value in document.items() if not isinstance(value, (dict, list))})
    return "".join(f"{key}: {_scalar(value)}\n" for key, value in sorted(lines.items()))


def _scalar(value: Any) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


_FLAGS = {
    "etcd": ["--data-dir=/var/lib/etcd", "--listen-client-urls=https://127.0.0.1:2379,https://{advertise}:2379"],
    "kube-apiserver": [
        "--advertise-address={advertise}",
        "--secure-port=6443",
        "--service-cluster-ip-range={service_cidr}",
        "--etcd-servers=https://127.0.0.1:2379",
    ],
    "kube-controller-manager": ["--allocate-node-cidrs=true", "--cluster-cidr={pod_cidr}", "--cluster-name={name}"],
    "kube-scheduler": ["--bind-address=127.0.0.1", "--leader-elect=true"],
}
_SECTIONS = {
    "kube-apiserver": "apiServer",
    "kube-controller-manager": "controllerManager",
    "kube-scheduler": "scheduler",
}


def static_pod(state: State, component: str, advertise: str, whole: Document) -> str:
    """A control plane component's manifest."""
    image = f"{state['image_repository']}/{component}:v{state['version']}"
    extra = (whole.get(_SECTIONS.get(component, "")) or {}).get("extraArgs")
    if component == "etcd":
        image = f"{state['image_repository']}/etcd:3.6.4-0"
        extra = ((whole.get("etcd") or {}).get("local") or {}).get("extraArgs")
    values = {"advertise": advertise, **{key: state[key] for key in ("service_cidr", "pod_cidr", "name")}}
    flags = [flag.format(**values) for flag in _FLAGS[component]] + [f"--{k}={v}" for k, v in arguments(extra)]
    command = "".join(f"    - {flag}\n" for flag in [component, *flags])
    return (
        "apiVersion: v1\nkind: Pod\nmetadata:\n"
        f"  labels:\n    component: {component}\n    tier: control-plane\n  name: {component}\n  namespace: kube-system\n"
        f"spec:\n  containers:\n  - command:\n{command}    image: {image}\n    name: {component}\n  hostNetwork: true\n"
    )
