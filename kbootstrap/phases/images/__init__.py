"""Container images, pulled on every host while the control plane starts."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes import kubeadm
from kbootstrap.phases.common import every_host
from kbootstrap.phases.network import flannel
from kbootstrap.phases.packages import version
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    inventory, wanted = context.inventory, version(context)
    documents = kubeadm.init_documents(inventory, inventory.first_control_plane, wanted)
    return [
        Step(
            "cri",
            "Check that containerd answers with systemd's cgroups",
            "images/cri.sh",
            why="With two cgroup drivers on a host, or without CRI, kubeadm fails minutes later and names no cause.",
            params={"CONFIG_FILE": "/etc/containerd/config.toml"},
            timeout=180,
            wait_only=True,
        ),
        Step(
            "images",
            "Pull the container images",
            "images/images.sh",
            why="The images are ready for kubeadm and the kubelet, and registry problems are detected early.",
            libraries=("kubeadm", "network"),
            params={
                "CONFIG": kubeadm.to_yaml(documents),
                "VERSION": wanted,
                "ROLE": host.role,
                "EXTRA": " ".join(flannel.images(inventory)),
            },
            timeout=3600,
            retries=3,
        ),
    ]


PHASE = Phase(
    "images",
    "Pull the images",
    "The images that the host will run, pulled while other hosts are still working.",
    hosts=every_host,
    steps=steps,
)
