"""Labels and taints from the inventory, set through the API server."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.phases.common import after_joins, first_control_plane
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step

CONTROL_PLANE_TAINTS = ("node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master")
"""kubeadm taints control plane nodes with the first since 1.24, and with the second up to 1.24
(https://github.com/kubernetes/enhancements/issues/2067)."""


def steps(context: Context, host: Host) -> list[Step]:
    return [_step(context, node) for node in context.inventory.hosts if _has_work(context, node)]


def _has_work(context: Context, node: Host) -> bool:
    return bool(node.labels or node.taints) or _schedulable(context, node) is not None


def _schedulable(context: Context, node: Host) -> bool | None:
    """Whether ordinary pods are to run on a control plane host. None: a worker, or its taint stays as it is."""
    if (
        node.is_control_plane
        and node.schedulable is None
        and not any(host.role == "worker" for host in context.inventory.hosts)
    ):
        return True
    return node.schedulable


def _step(context: Context, node: Host) -> Step:
    schedulable = _schedulable(context, node)
    taints = list(node.taints)
    if schedulable is False:
        modern = context.inventory.cluster.minor >= (1, 24)
        taints.append(f"{CONTROL_PLANE_TAINTS[0 if modern else 1]}:NoSchedule")
    alone = schedulable and not (node.labels or node.taints)
    return Step(
        f"labels-{node.name}",
        f"Let ordinary pods run on {node.name}" if alone else f"Label and taint {node.name}",
        "labels/labels.sh",
        why="Workloads select their nodes by labels and taints; a kubelet cannot set most of them itself.",
        libraries=("cluster", "wait"),
        params={
            "NODE_NAME": node.name,
            "LABELS": " ".join(f"{key}={value}" for key, value in sorted(node.labels.items())),
            "TAINTS": " ".join(taints),
            "TAINTS_OFF": " ".join(CONTROL_PLANE_TAINTS) if schedulable else "",
        },
        subject=node.name,
    )


PHASE = Phase(
    "labels",
    "Label the nodes",
    "Set the labels and taints of the inventory on the node objects.",
    hosts=first_control_plane,
    steps=steps,
    after=after_joins,
    cluster_scoped=True,
)
