"""Shared by several phases: the hosts they run on, and what they wait for."""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.kubernetes.repositories import Repository
from kbootstrap.phases.phase import Pairs
from kbootstrap.secret import Param
from kbootstrap.steps import Step


def every_host(inventory: Inventory) -> list[Host]:
    return list(inventory.hosts)


def first_control_plane(inventory: Inventory) -> list[Host]:
    return [inventory.first_control_plane]


def control_plane_hosts(inventory: Inventory) -> list[Host]:
    return list(inventory.control_planes)


def other_hosts(inventory: Inventory) -> list[Host]:
    """Every host except the first control plane host: the hosts that join."""
    return [host for host in inventory.hosts if host.name != inventory.first_control_plane.name]


def after_joins(inventory: Inventory, host: Host) -> Pairs:
    """After every other host has joined or has failed to join."""
    return [("join", other.name) for other in other_hosts(inventory)]


def kernel_modules(inventory: Inventory) -> tuple[str, ...]:
    """The kernel modules that the container runtime, the pod network and kube-proxy load."""
    cluster = inventory.cluster
    of_proxy = {"ipvs": ("ip_vs", "ip_vs_rr", "nf_conntrack"), "nftables": ("nf_tables",)}
    mode = cluster.kubeadm.extra_args.kube_proxy.get("mode")
    vxlan = ("vxlan",) if cluster.network.backend == "vxlan" else ()
    return ("overlay", "br_netfilter", *vxlan, *of_proxy.get(str(mode), ()))


def repository_step(repository: Repository, why: str) -> Step:
    """The step that adds this package repository to the host and trusts only its pinned keys."""
    params: dict[str, Param] = {
        "ID": repository.id,
        "NAME": repository.title,
        "URL": repository.url,
        "KEY_URLS": " ".join(repository.key_urls),
        "FINGERPRINTS": " ".join(repository.fingerprints),
        "SUITE": repository.suite,
        "EXCLUDE": repository.exclude,
        "SIGNED": "1" if repository.signed_metadata else "0",
    }
    return Step(
        f"{repository.id}-repository",
        f"Add the package repository of {repository.title}",
        "repository/repository.sh",
        why=why,
        params=params,
        timeout=600,
        retries=3,
        libraries=("files", "keys", "network", "os"),
    )
