"""kubeadm init on the first control plane host."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes import kubeadm
from kbootstrap.phases.common import first_control_plane
from kbootstrap.phases.packages import version
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import config_api


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    wanted = version(context)
    documents = kubeadm.init_documents(context.inventory, host, wanted, context.facts[host.name])
    return [
        Step(
            "init",
            f"Initialise the control plane (kubeadm init, {config_api(cluster.minor)}, {wanted})",
            "init/init.sh",
            why="kubeadm creates the certificates, starts etcd and the control plane, and registers this node.",
            libraries=("cleanup", "cluster", "files", "kubeadm", "state", "wait"),
            params={
                "NODE_NAME": host.name,
                "CONFIG": kubeadm.to_yaml(documents),
                "VERSION": wanted,
                "SKIP_PHASES": ",".join(cluster.kubeadm.skip_phases),
                "CRI_SOCKET": kubeadm.CRI_SOCKET,
            },
            timeout=900,
        )
    ]


PHASE = Phase(
    "init",
    "Start the control plane",
    "The first control plane host starts the cluster; all other hosts join it.",
    hosts=first_control_plane,
    steps=steps,
)
