"""What only the host itself can find out before anything changes: whom it reaches."""

from __future__ import annotations

from kbootstrap.inventory import Cluster, Host, Inventory
from kbootstrap.model import Context, Phase, Step
from kbootstrap.phases.network.flannel import DEFAULT_REPOSITORY
from kbootstrap.phases.repository import sources


def hosts(inventory: Inventory) -> list[Host]:
    return list(inventory.hosts)


def steps(context: Context, host: Host) -> list[Step]:
    facts = context.facts[host.name]
    if facts.cluster_state == "member":
        return []
    cluster = context.inventory.cluster
    urls = [sources.kubernetes(cluster, facts).key_url, sources.docker(cluster, facts).key_url]
    peers = [other for other in context.inventory.masters if other.name != host.name][:3]
    addresses = [f"{peer.node_ip}:{peer.ssh.port or 22}" for peer in peers]
    master = context.facts.get(context.inventory.first_master.name)
    if master is not None and master.cluster_state == "member":
        addresses.append(context.inventory.endpoint)
    return [
        Step(
            "reach",
            "Look whether peers, packages and images can be reached",
            "preflight/reach.sh",
            why="A closed firewall or a missing proxy is better known before the first change than half way.",
            params={
                "URLS": " ".join(urls),
                "REGISTRIES": " ".join(_registries(cluster)),
                "PEERS": " ".join(addresses),
            },
            waits=True,
        )
    ]


def _registries(cluster: Cluster) -> list[str]:
    """The API of every registry that images come from, or of the first mirror the inventory has for it."""
    urls = []
    for repository in (cluster.image_repository, cluster.network.image_repository or DEFAULT_REPOSITORY):
        registry = repository.partition("/")[0]
        mirrors = cluster.runtime.mirrors.get(registry, ())
        if mirrors:
            urls.append(f"{mirrors[0]}/v2/")
        elif registry not in cluster.runtime.insecure_registries:
            urls.append(f"https://{'registry-1.docker.io' if registry == 'docker.io' else registry}/v2/")
    return sorted(set(urls))


PHASE = Phase(
    "preflight",
    "Look before the first change",
    "Requirements that make a cluster fail late when they are not met early.",
    hosts=hosts,
    steps=steps,
)
