"""containerd: from its repository to a running CRI socket."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.inventory.proxy import environment
from kbootstrap.kubernetes import repositories
from kbootstrap.kubernetes.kubeadm import CRI_SOCKET
from kbootstrap.phases.common import every_host, repository_step
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step
from kbootstrap.versions import containerd_advised, containerd_major, containerd_minimum, pause_image


def steps(context: Context, host: Host) -> list[Step]:
    cluster = context.inventory.cluster
    runtime = cluster.runtime
    why = "Docker's repository has current containerd packages for all distributions; its key is pinned."
    return [
        repository_step(repositories.docker(cluster, context.facts[host.name]), why),
        Step(
            "containerd",
            f"Install containerd {runtime.version or ''}".strip(),
            "runtime/package.sh",
            why="Kubernetes needs a CRI runtime; it has not supported Docker as a runtime since 1.24.",
            libraries=("os", "services"),
            params={
                "VERSION": runtime.version or "",
                "MAJOR": containerd_major(cluster.minor),
                "MINIMUM": " ".join(containerd_minimum(cluster.minor)),
                "ADVISED": containerd_advised(cluster.minor),
            },
            timeout=1800,
            retries=3,
        ),
        Step(
            "proxy",
            "Set the proxy of containerd",
            "runtime/proxy.sh",
            why="containerd pulls images, and a service does not have the environment of a login.",
            libraries=("files", "restore"),
            params={"PROXY": "\n".join(f"{name}={value}" for name, value in environment(context.inventory).items())},
        ),
        Step(
            "mirrors",
            "Set the registry mirrors",
            "runtime/mirrors.sh",
            why="Pulls use the mirrors first: this is faster, and works where the registries cannot be reached.",
            libraries=("files",),
            params={
                "MIRRORS": "\n".join(f"{name} {url}" for name, urls in runtime.mirrors.items() for url in urls),
                "INSECURE": " ".join(runtime.insecure_registries),
            },
        ),
        Step(
            "containerd-config",
            "Configure and start containerd",
            "runtime/config.sh",
            why="The packaged config switches CRI off, and containerd must use the kubelet's cgroup driver (systemd).",
            libraries=("files", "services", "state"),
            params={
                "PAUSE_IMAGE": f"{cluster.image_repository}/pause:{pause_image(cluster.minor)}",
                "CRI_SOCKET": CRI_SOCKET,
                "HOSTS": "1" if runtime.mirrors or runtime.insecure_registries else "0",
            },
        ),
    ]


PHASE = Phase(
    "runtime",
    "Install the container runtime",
    "containerd with the CRI plugin, systemd cgroups, the right pause image and the inventory's mirrors.",
    hosts=every_host,
    steps=steps,
)
