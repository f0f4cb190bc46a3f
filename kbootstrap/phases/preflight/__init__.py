"""What only the host itself can find out before anything changes: whom it reaches."""

from __future__ import annotations

from kbootstrap.inventory import Host, Inventory
from kbootstrap.model import Context, Phase, Step
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
    return [
        Step(
            "reach",
            "Look whether peers and package sources can be reached",
            "preflight/reach.sh",
            why="A closed firewall or a missing proxy is better known before the first change than half way.",
            params={
                "URLS": " ".join(urls),
                "PEERS": " ".join(f"{peer.node_ip}:{peer.ssh.port or 22}" for peer in peers),
            },
            waits=True,
        )
    ]


PHASE = Phase(
    "preflight",
    "Look before the first change",
    "Requirements that make a cluster fail late when they are not met early.",
    hosts=hosts,
    steps=steps,
)
