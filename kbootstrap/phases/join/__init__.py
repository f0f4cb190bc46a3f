"""kubeadm join on every host except the first: control plane hosts one by one, workers in parallel."""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.kubernetes import kubeadm
from kbootstrap.phases.common import other_hosts
from kbootstrap.phases.phase import Context, Pairs, Phase
from kbootstrap.secret import Param, Secret
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    role = "a control plane host" if host.is_control_plane else "a worker"
    return [
        Step(
            "join",
            f"Join the cluster as {role}",
            "join/join.sh",
            why="The host verifies the cluster by the hash of its CA, and logs in with a token valid for half an hour.",
            libraries=("cleanup", "kubeadm", "network", "services", "state"),
            params={
                "NODE_NAME": host.name,
                "CONFIG": _config(context, host),
                "ENDPOINT": context.inventory.endpoint,
                "ROLE": host.role,
                "CRI_SOCKET": kubeadm.CRI_SOCKET,
            },
            timeout=900,
        )
    ]


def _config(context: Context, host: Host) -> Param:
    join = context.outputs.join
    if join is None:
        return ""
    key, facts = context.outputs.certificate_key, context.facts[host.name]
    documents = kubeadm.join_documents(context.inventory, host, join, key, facts)
    return Secret(kubeadm.to_yaml(documents))


def requires(inventory: Inventory, host: Host) -> Pairs:
    """The token, and for a control plane host the previous one: etcd adds one member at a time."""
    pairs = [("join-token", inventory.first_control_plane.name)]
    names = [other.name for other in inventory.control_planes]
    if host.is_control_plane and names.index(host.name) > 1:
        pairs.append(("join", names[names.index(host.name) - 1]))
    return pairs


PHASE = Phase(
    "join",
    "Join the cluster",
    "Every other host becomes a node.",
    hosts=other_hosts,
    steps=steps,
    requires=requires,
)
