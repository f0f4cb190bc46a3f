"""The steps that send packets between pods: a small one for `up` and `verify`, and the whole one for `verify --deep`.

The test's pods run Flannel's own image: every node, every mirror and every bundle has it. It is Alpine with busybox,
whose `nc -ll -e` serves and whose `wget` asks. Alpine's busybox has no httpd.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from kbootstrap.inventory.models import Host
from kbootstrap.phases.network import flannel
from kbootstrap.phases.phase import Context
from kbootstrap.ports import NODE_PORTS
from kbootstrap.remote.script import shell_file
from kbootstrap.secret import Param
from kbootstrap.steps import Step

PACKET_TIMEOUT_S = 150
"""Time for the small test, by the clock."""
DEEP_TIMEOUT_S = 420
"""Time for the whole test, by the clock."""
CLEAN_UP_S = 60
"""Left of a step's limit when the test ends, so that it always says why it failed and removes its pods."""
SERVER_PORT = 8080
EVERY_PAIR = 50
"""Up to this many nodes, every pair is tested. Above it, each node tests the next node and some others."""

_LABEL = {"kbootstrap/test": "pod-network"}


def packet_step(context: Context, host: Host, expected: Sequence[Host]) -> Step:
    """One packet between the pods of two nodes. An earlier success counts while nothing has changed."""
    return Step(
        "packet",
        "Send a packet between pods of two nodes",
        "verify/connections.sh",
        why="A node is Ready although a firewall drops the packets of the pod network.",
        params=_params(context, host, expected, _two_nodes(context, host, expected), deep=False),
        timeout=PACKET_TIMEOUT_S + CLEAN_UP_S,
        libraries=("cluster", "wait"),
        wait_only=True,
    )


def deep_step(context: Context, host: Host, expected: Sequence[Host]) -> Step:
    """Every connection between the nodes; `verify --deep`."""
    return Step(
        "connections",
        "Send packets between pods of all nodes, and to a Service, DNS and NodePorts",
        "verify/connections.sh",
        why="Every way that a packet may take between the nodes is tried, and a failing one is named.",
        params=_params(context, host, expected, expected, deep=True),
        timeout=DEEP_TIMEOUT_S + CLEAN_UP_S,
        libraries=("cluster", "wait"),
        wait_only=True,
        outputs=("connections",),
    )


def _two_nodes(context: Context, host: Host, expected: Sequence[Host]) -> list[Host]:
    """This control plane host and another node: one that joins in this run, if there is one."""
    others = [node for node in expected if node.name != host.name]
    new = [node for node in others if node.name in context.facts and context.facts[node.name].cluster_state != "member"]
    return [host, *(new or others)[:1]]


def _params(
    context: Context, host: Host, expected: Sequence[Host], tested: Sequence[Host], *, deep: bool
) -> dict[str, Param]:
    cluster = context.inventory.cluster
    limit = DEEP_TIMEOUT_S if deep else PACKET_TIMEOUT_S
    if host.ssh.command_timeout is not None:
        limit = max(10, min(limit, host.ssh.command_timeout - CLEAN_UP_S))
    objects = [_namespace(), _account(), *([_service()] if deep else [])]
    return {
        "FORM": "deep" if deep else "packet",
        "EXPECTED": _listed(expected),
        "TESTED": _listed(tested),
        "HERE": host.name,
        "OBJECTS": "\n".join(map(json.dumps, objects)),
        "POD": json.dumps(_pod(limit)),
        "IMAGE": flannel.images(context.inventory)[0],
        "SERVER_PORT": str(SERVER_PORT),
        "EVERY_PAIR": str(EVERY_PAIR),
        "DOMAIN": cluster.dns_domain,
        "TUNNEL": str(cluster.network.port) if cluster.network.backend == "vxlan" else "",
        "NODE_PORTS": f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}",
        "NETWORK": flannel.fingerprint(flannel.manifest(context.inventory)),
        "RETEST": context.retest,
        "TIMEOUT": str(limit),
    }


def _listed(hosts: Sequence[Host]) -> str:
    return "\n".join(f"{node.name} {node.node_ip}" for node in hosts)


def _namespace() -> dict[str, Any]:
    labels = {**_LABEL, "pod-security.kubernetes.io/enforce": "restricted"}
    return {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "%NAMESPACE%", "labels": labels}}


def _account() -> dict[str, Any]:
    """An account of its own: the default account of a new namespace comes a moment later than the namespace."""
    metadata = {"name": "test", "namespace": "%NAMESPACE%"}
    return {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, "automountServiceAccountToken": False}


def _service() -> dict[str, Any]:
    """One Service for ClusterIP, DNS and NodePort. Each node's NodePort is answered by the pod of that node only."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "test", "namespace": "%NAMESPACE%"},
        "spec": {
            "type": "NodePort",
            "externalTrafficPolicy": "Local",
            "selector": _LABEL,
            "ports": [{"port": SERVER_PORT, "targetPort": SERVER_PORT}],
        },
    }


def _pod(limit: int) -> dict[str, Any]:
    """The pod of a node. It ends by itself when the test cannot remove it."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "node-%NUMBER%", "namespace": "%NAMESPACE%", "labels": _LABEL},
        "spec": {
            "nodeName": "%NODE%",
            "tolerations": [{"operator": "Exists"}],
            "restartPolicy": "Never",
            "activeDeadlineSeconds": limit + CLEAN_UP_S,
            "terminationGracePeriodSeconds": 1,
            "serviceAccountName": "test",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "securityContext": {
                "runAsNonRoot": True,
                "runAsUser": 65534,
                "runAsGroup": 65534,
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "test",
                    "image": "%IMAGE%",
                    "imagePullPolicy": "IfNotPresent",
                    "command": ["sh", "-c", shell_file("shell/pod/serve.sh"), "serve", str(SERVER_PORT)],
                    "env": [{"name": "NODE", "value": "%NODE%"}],
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                }
            ],
        },
    }
