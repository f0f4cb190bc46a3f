"""Connectivity checks that run on the host itself, before any change."""

from __future__ import annotations

from kbootstrap.inventory.models import Cluster, Host, Inventory
from kbootstrap.kubernetes import repositories
from kbootstrap.phases.common import every_host, kernel_modules
from kbootstrap.phases.network.flannel import DEFAULT_REPOSITORY
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.steps import Step


def steps(context: Context, host: Host) -> list[Step]:
    facts = context.facts[host.name]
    if facts.cluster_state == "member":
        return [_compare(context.inventory)] if host == context.inventory.first_control_plane else []
    return [_reach(context, host), _packages(context, host), _modules(context)]


def _reach(context: Context, host: Host) -> Step:
    cluster, facts = context.inventory.cluster, context.facts[host.name]
    urls = {
        "kubelet": repositories.kubernetes(cluster, facts).metadata_url,
        "containerd": repositories.docker(cluster, facts).metadata_url,
    }
    addresses = [f"{peer.node_ip}:{port}" for peer in _peers(context.inventory, host) if (port := _ssh(context, peer))]
    first = context.facts.get(context.inventory.first_control_plane.name)
    if first is not None and first.cluster_state == "member":
        addresses.append(context.inventory.endpoint)
    return Step(
        "reach",
        "Check that peers, packages and images can be reached",
        "preflight/reach.sh",
        why="A blocked port or a missing proxy is detected before the first change.",
        libraries=("network", "requirements"),
        params={
            "NEEDED": " ".join(url for command, url in urls.items() if command not in facts.commands),
            "URLS": " ".join(url for command, url in urls.items() if command in facts.commands),
            "REGISTRIES": "\n".join(_registries(cluster)),
            "INSECURE": " ".join(cluster.runtime.insecure_registries),
            "PEERS": " ".join(addresses),
            "NAME": _name(context.inventory),
            "WARN": _warn(context),
        },
        wait_only=True,
    )


def _ssh(context: Context, peer: Host) -> int | None:
    """The port of a peer's SSH server for other nodes. None when it is not known.

    The inventory has the operator's way to the peer. This may be a forwarded port of another machine.
    """
    port, facts = peer.ssh.port or 22, context.facts.get(peer.name)
    if facts is None or not facts.listening or port in facts.listening:
        return port
    return 22 if 22 in facts.listening else None


def _packages(context: Context, host: Host) -> Step:
    cluster, facts = context.inventory.cluster, context.facts[host.name]
    return Step(
        "packages",
        "Ask the package manager about its repositories",
        "preflight/packages.sh",
        why="One dead or wrong repository ends every installation. It is found before swap and firewall are off.",
        libraries=("os", "requirements"),
        params={
            "NAMES": " ".join(("containerd.io", *repositories.KUBERNETES_PACKAGES)),
            "ARCHIVE": repositories.vault_file(cluster, facts),
            "VAULT": repositories.vault(cluster, facts),
            "KEEP": "1" if cluster.os_repository == "keep" else "0",
            "WARN": _warn(context),
        },
        timeout=600,
        wait_only=True,
    )


def _modules(context: Context) -> Step:
    return Step(
        "modules",
        "Look for the kernel modules",
        "preflight/modules.sh",
        why="Some cloud images have a kernel without the modules for pod networks.",
        libraries=("os", "requirements"),
        params={"MODULES": " ".join(kernel_modules(context.inventory)), "WARN": _warn(context)},
        wait_only=True,
    )


def _warn(context: Context) -> str:
    return " ".join(context.inventory.preflight.warn)


def _compare(inventory: Inventory) -> Step:
    """The step that names the differences between the cluster and the inventory that `up` does not remove."""
    return Step(
        "compare",
        "Compare the cluster with the inventory",
        "preflight/compare.sh",
        why="A node that is no longer in the inventory, or has another container runtime, stays as it is: you decide.",
        libraries=("cluster",),
        params={"NODES": " ".join(host.name for host in inventory.hosts), "RUNTIME": inventory.cluster.runtime.name},
        wait_only=True,
    )


def _peers(inventory: Inventory, host: Host) -> list[Host]:
    """Up to three control plane hosts, and the next two hosts of the inventory, so that two hosts check every host."""
    others = [other for other in inventory.control_planes if other.name != host.name][:3]
    place = inventory.hosts.index(host)
    after = [*inventory.hosts[place + 1 :], *inventory.hosts[:place]][:2]
    return others + [other for other in after if other not in others]


def _name(inventory: Inventory) -> str:
    """The endpoint's DNS name; empty if it is an IP address or a host of the inventory (`up` adds it to /etc/hosts)."""
    name = inventory.endpoint.rpartition(":")[0]
    known = {host.name for host in inventory.hosts}
    return "" if name in known or all(part.isdigit() for part in name.split(".")) else name


def _registries(cluster: Cluster) -> list[str]:
    """For every registry in use a line: its name, then the addresses that containerd asks one after the other.

    These are the mirrors and the registry itself; an insecure one without verified TLS, then without TLS.
    """
    used = {
        repository.partition("/")[0]
        for repository in (cluster.image_repository, cluster.network.image_repository or DEFAULT_REPOSITORY)
    }
    lines = []
    for registry in sorted(used):
        urls = [mirror.rstrip("/") for mirror in cluster.runtime.mirrors.get(registry, ())]
        urls.append(f"https://{'registry-1.docker.io' if registry == 'docker.io' else registry}")
        if registry in cluster.runtime.insecure_registries:
            urls.append(f"http://{registry}")
        lines.append(" ".join([registry, *(f"{url}/v2/" for url in urls)]))
    return lines


PHASE = Phase(
    "preflight",
    "Check the requirements",
    "Problems are found before the first change. A host with problems is not changed.",
    hosts=every_host,
    steps=steps,
)
