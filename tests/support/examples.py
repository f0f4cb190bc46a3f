"""Inventories and facts that tests begin with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from kbootstrap.distributions import OsRelease
from kbootstrap.inventory import load
from kbootstrap.inventory.models import Inventory
from kbootstrap.phases.phase import Context
from kbootstrap.remote.facts import Facts

ROOT = Path(__file__).parents[2]
MIRROR = "https://mirror.example.com/kubernetes"
"""A repository with Kubernetes packages older than upstream's."""
EL9 = Facts(
    os=OsRelease("centos", "9", ("rhel", "fedora"), "platform:el9"),
    os_name="CentOS Stream 9",
    arch="x86_64",
    kernel="5.14.0",
    uid=0,
    systemd=True,
    cgroup=2,
    cpus=2,
    memory_mib=4096,
    disk_free_mib=40000,
)
EL7 = replace(EL9, os=OsRelease("centos", "7", ("rhel", "fedora")), os_name="CentOS Linux 7 (Core)", kernel="3.10.0")
DEBIAN12 = replace(
    EL9, os=OsRelease("debian", "12", codename="bookworm"), os_name="Debian GNU/Linux 12 (bookworm)", kernel="6.1.0"
)


def document(control_planes: int = 1, workers: int = 1, **cluster: Any) -> dict[str, Any]:
    """An inventory as data: addresses 192.168.1.10 and up."""
    names = [f"cp{n + 1}" for n in range(control_planes)] + [f"w{n + 1}" for n in range(workers)]
    return {
        "cluster": {"name": "test", "kubernetes": "1.34", **cluster},
        "hosts": [
            {
                "name": name,
                "address": f"192.168.1.{10 + n}",
                "role": "control-plane" if n < control_planes else "worker",
            }
            for n, name in enumerate(names)
        ],
    }


def written(folder: Path, data: object) -> Path:
    """The data (or text) as a private file."""
    path = folder / "inventory.yaml"
    path.write_text(data if isinstance(data, str) else yaml.safe_dump(data, sort_keys=False))
    path.chmod(0o600)
    return path


def inventory(folder: Path, change: Callable[[dict[str, Any]], object] = lambda _: None, **cluster: Any) -> Inventory:
    data = document(cluster.pop("control_planes", 1), cluster.pop("workers", 1), **cluster)
    change(data)
    return load(written(folder, data), env={})


def context(made: Inventory, facts: Facts = EL9) -> Context:
    """As after connecting: every host looks like ``facts``."""
    return Context(made, {host.name: facts for host in made.hosts})


def admin_conf(data: str = "LS0tLS1CRUdJTg==", endpoint: str = "192.168.1.10:6443") -> str:
    """A kubeconfig as `kubeadm init` writes it, with ``data`` as its certificates and key."""
    return f"""\
apiVersion: v1
clusters:
- cluster:
    certificate-authority-data: {data}
    server: https://{endpoint}
  name: kubernetes
contexts:
- context:
    cluster: kubernetes
    user: kubernetes-admin
  name: kubernetes-admin@kubernetes
current-context: kubernetes-admin@kubernetes
kind: Config
preferences: {{}}
users:
- name: kubernetes-admin
  user:
    client-certificate-data: {data}
    client-key-data: {data}
"""
