"""kubeadm join on every host but the first: control plane hosts one after the other, workers side by side."""

from __future__ import annotations

from kbootstrap import kubeadm
from kbootstrap.inventory import Host, Inventory
from kbootstrap.model import Context, Param, Phase, Secret, Step
from kbootstrap.phases.common import other_hosts


def steps(context: Context, host: Host) -> list[Step]:
    role = "a control plane host" if host.is_master else "a worker"
    return [
        Step(
            "join",
            f"Join the cluster as {role}",
            "join/join.sh",
            why="The host trusts the cluster by the hash of its CA and is trusted by a token that lives half an hour.",
            libraries=("cleanup", "kubeadm", "network", "services", "state"),
            params={
                "NODE_NAME": host.name,
                "CONFIG": _config(context, host),
                "ENDPOINT": context.inventory.endpoint,
                "ROLE": "control-plane" if host.is_master else "worker",
                "CRI_SOCKET": kubeadm.CRI_SOCKET,
            },
            timeout=900,
        )
    ]


def _config(context: Context, host: Host) -> Param:
    join, key = context.values.get("join"), context.values.get("certificate_key")
    if not isinstance(join, Secret):
        return ""
    command = kubeadm.parse_join_command(join.reveal())
    return Secret(
        kubeadm.to_yaml(
            kubeadm.join_documents(context.inventory, host, command, key if isinstance(key, Secret) else None)
        )
    )


def needs(inventory: Inventory, host: Host) -> list[tuple[str, str]]:
    """The token; and for a control plane host the one before it: etcd takes one new member at a time."""
    pairs = [("token", inventory.first_master.name)]
    masters = [master.name for master in inventory.masters]
    if host.is_master and masters.index(host.name) > 1:
        pairs.append(("join", masters[masters.index(host.name) - 1]))
    return pairs


PHASE = Phase(
    "join",
    "Join the cluster",
    "Every other host becomes a node.",
    hosts=other_hosts,
    steps=steps,
    needs=needs,
)
