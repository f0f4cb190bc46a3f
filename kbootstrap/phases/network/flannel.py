"""Flannel's objects as dicts.

What flanneld needs (paths, capabilities, environment, RBAC) is documented at
https://github.com/flannel-io/flannel/blob/master/Documentation/kubernetes.md and configuration.md.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, Any

from kbootstrap.remote.script import shell_file
from kbootstrap.versions import FLANNEL_CNI_PLUGIN, FLANNEL_VERSION

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Inventory

NAMESPACE = "kube-flannel"
DEFAULT_REPOSITORY = "ghcr.io/flannel-io"
"""Where Flannel's own manifest takes them from. Docker Hub limits anonymous pulls."""

Object = dict[str, Any]


def images(inventory: Inventory) -> tuple[str, str]:
    """The images of the daemon and of the CNI plugin, from the inventory's repository."""
    repository = inventory.cluster.network.image_repository or DEFAULT_REPOSITORY
    return f"{repository}/flannel:{FLANNEL_VERSION}", f"{repository}/flannel-cni-plugin:{FLANNEL_CNI_PLUGIN}"


def fingerprint(documents: list[Object]) -> str:
    """A short hash of the manifest. It is stored on the DaemonSet to detect a change without comparing objects."""
    return hashlib.sha256(json.dumps(documents, sort_keys=True).encode()).hexdigest()[:16]


def manifest(inventory: Inventory) -> list[Object]:
    """Everything Flannel needs, in the order of creation."""
    account = {"name": "flannel", "namespace": NAMESPACE}
    return [
        _namespace(),
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account},
        _cluster_role(),
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "flannel"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "flannel"},
            "subjects": [{"kind": "ServiceAccount", **account}],
        },
        _config(inventory),
        _daemon_set(inventory),
    ]


def _namespace() -> Object:
    # flanneld changes the host's network, which only the privileged pod security level allows.
    labels = {"k8s-app": "flannel", "pod-security.kubernetes.io/enforce": "privileged"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE, "labels": labels}}


def _cluster_role() -> Object:
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "flannel"},
        "rules": [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]},
            {"apiGroups": [""], "resources": ["nodes"], "verbs": ["get", "list", "watch"]},
            {"apiGroups": [""], "resources": ["nodes/status"], "verbs": ["patch"]},
        ],
    }


def _config(inventory: Inventory) -> Object:
    network = inventory.cluster.network
    backend: Object = {"Type": network.backend}
    if network.backend == "vxlan":
        backend["Port"] = network.port
    cni = {
        "name": "cbr0",
        "cniVersion": "0.3.1",
        "plugins": [
            {"type": "flannel", "delegate": {"hairpinMode": True, "isDefaultGateway": True}},
            {"type": "portmap", "capabilities": {"portMappings": True}},
        ],
    }
    net = {"Network": str(inventory.cluster.pod_cidr), "EnableNFTables": False, "Backend": backend}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "kube-flannel-cfg", "namespace": NAMESPACE, "labels": _labels()},
        "data": {"cni-conf.json": json.dumps(cni, indent=2), "net-conf.json": json.dumps(net, indent=2)},
    }


def _labels() -> dict[str, str]:
    return {"app": "flannel", "k8s-app": "flannel", "tier": "node"}


def _daemon_set(inventory: Inventory) -> Object:
    selector = {"app": "flannel"}
    return {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": "kube-flannel-ds", "namespace": NAMESPACE, "labels": _labels()},
        "spec": {
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": _labels()}, "spec": _pod(inventory)},
        },
    }


def _pod(inventory: Inventory) -> Object:
    daemon, plugin = images(inventory)
    return {
        "hostNetwork": True,
        "priorityClassName": "system-node-critical",
        "serviceAccountName": "flannel",
        # Flannel must run on nodes that are not Ready, because it makes them Ready, and on nodes with any taint.
        "tolerations": [{"operator": "Exists"}],
        "initContainers": [
            {
                "name": "install-cni-plugin",
                "image": plugin,
                "command": ["cp", "-f", "/flannel", "/opt/cni/bin/flannel"],
                "volumeMounts": [{"name": "cni-plugin", "mountPath": "/opt/cni/bin"}],
            },
            {
                "name": "withdraw-cni",
                "image": daemon,
                "command": ["sh", "-c", shell_file("shell/pod/withdraw-cni.sh")],
                "volumeMounts": [_mount("run"), _mount("cni")],
            },
        ],
        "containers": [_flanneld(daemon, inventory.endpoint)],
        "volumes": [
            {"name": "run", "hostPath": {"path": "/run/flannel", "type": "DirectoryOrCreate"}},
            {"name": "cni-plugin", "hostPath": {"path": "/opt/cni/bin", "type": "DirectoryOrCreate"}},
            {"name": "cni", "hostPath": {"path": "/etc/cni/net.d", "type": "DirectoryOrCreate"}},
            {"name": "flannel-cfg", "configMap": {"name": "kube-flannel-cfg"}},
            {"name": "xtables-lock", "hostPath": {"path": "/run/xtables.lock", "type": "FileOrCreate"}},
        ],
    }


_MOUNTS = {
    "run": "/run/flannel",
    "cni": "/etc/cni/net.d",
    "flannel-cfg": "/etc/kube-flannel/",
    "xtables-lock": "/run/xtables.lock",
}


def _mount(name: str) -> Object:
    return {"name": name, "mountPath": _MOUNTS[name]}


def _field(path: str) -> Object:
    return {"valueFrom": {"fieldRef": {"fieldPath": path}}}


def _flanneld(image: str, endpoint: str) -> Object:
    server, _, port = endpoint.rpartition(":")
    return {
        "name": "kube-flannel",
        "image": image,
        "command": ["/opt/bin/flanneld"],
        # status.hostIP is the kubelet's --node-ip: the address in the inventory. So flanneld does not use the interface
        # of the default route (on Vagrant every host has 10.0.2.15 there).
        "args": ["--ip-masq", "--kube-subnet-mgr", "--iface=$(HOST_IP)"],
        "env": [
            {"name": "POD_NAME", **_field("metadata.name")},
            {"name": "POD_NAMESPACE", **_field("metadata.namespace")},
            {"name": "HOST_IP", **_field("status.hostIP")},
            # Without these, flanneld asks the Service's address, which leads nowhere before kube-proxy has written its
            # rules. flanneld gives up after half a minute, and the kubelet starts it again.
            {"name": "KUBERNETES_SERVICE_HOST", "value": server.strip("[]")},
            {"name": "KUBERNETES_SERVICE_PORT", "value": port},
        ],
        # A CNI configuration makes the node Ready. The plugin needs the subnet file, so the configuration comes after
        # it. Else the first pods fail, and the kubelet tries them again only 10 to 15 seconds later. The pod is Ready
        # when this has ended.
        "lifecycle": {"postStart": {"exec": {"command": ["sh", "-c", shell_file("shell/pod/offer-cni.sh")]}}},
        "resources": {"requests": {"cpu": "100m", "memory": "50Mi"}},
        "securityContext": {"privileged": False, "capabilities": {"add": ["NET_ADMIN", "NET_RAW"]}},
        "volumeMounts": [_mount(name) for name in _MOUNTS],
    }
