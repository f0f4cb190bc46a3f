"""kubeadm's versions, and the images of each version."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import re
from typing import Any

from kbootstrap_lab.simulated.fakes import cluster
from kbootstrap_lab.simulated.fakes.common import Failed, read


def package_version(name: str) -> str:
    text = read(f"/var/lib/rpm/{name}") or read(f"/var/lib/dpkg/status.d/{name}")
    match = re.search(r"^Version: ([\d.]+)", text, re.MULTILINE)
    return match[1] if match else ""


def kubeadm_version() -> str:
    return package_version("kubeadm")


def wanted_version(text: str) -> str:
    """The version of a configuration. ``stable-1`` would need the internet; here it is kubeadm's own version."""
    if not text or text.startswith("stable"):
        return kubeadm_version()
    match = re.fullmatch(r"v?(1\.\d+\.\d+)", text)
    if not match:
        raise Failed(f"could not parse {text!r} as version")
    have, wanted = cluster.minor(kubeadm_version()), cluster.minor(match[1])
    if wanted > have:
        raise Failed(
            f"this version of kubeadm only supports deploying clusters with the control plane version <= 1.{have}. "
            f"Current version: v{match[1]}"
        )
    if wanted < have - 1:
        raise Failed(
            f"this version of kubeadm only supports deploying clusters with the control plane version >= 1.{have - 1}.0. "
            f"Current version: v{match[1]}"
        )
    return match[1]


def image_names(version: str, configuration: dict[str, Any], repository: str = "") -> list[str]:
    """The output of ``kubeadm config images list``. The tags are those of kubeadm's constants, or the configuration's."""
    repository = repository or configuration.get("imageRepository") or "registry.k8s.io"
    own = {
        "etcd": ((configuration.get("etcd") or {}).get("local") or {}),
        "coredns": configuration.get("dns") or {},
    }
    minor = cluster.minor(version)
    tables: dict[str, list[tuple[int, str]]] = {
        "pause": [
            (36, "3.10.2"),
            (34, "3.10.1"),
            (31, "3.10"),
            (26, "3.9"),
            (25, "3.8"),
            (24, "3.7"),
            (23, "3.6"),
            (22, "3.5"),
            (21, "3.4.1"),
            (0, "3.2"),
        ],
        "etcd": [
            (35, "3.6.6-0"),
            (34, "3.6.4-0"),
            (33, "3.5.21-0"),
            (31, "3.5.15-0"),
            (27, "3.5.9-0"),
            (24, "3.5.3-0"),
            (22, "3.5.0-0"),
            (0, "3.4.13-0"),
        ],
        "coredns": [
            (34, "v1.12.1"),
            (33, "v1.12.0"),
            (31, "v1.11.3"),
            (29, "v1.11.1"),
            (27, "v1.10.1"),
            (25, "v1.9.3"),
            (23, "v1.8.6"),
            (22, "v1.8.4"),
            (21, "v1.8.0"),
            (0, "1.7.0"),
        ],
    }
    tag = {name: next(value for since, value in table if minor >= since) for name, table in tables.items()}
    tag |= {name: section["imageTag"] for name, section in own.items() if section.get("imageTag")}
    at = {name: section.get("imageRepository") or repository for name, section in own.items()}
    names = [
        f"{repository}/{component}:v{version}"
        for component in ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kube-proxy")
    ]
    # Only the default repository has CoreDNS in a subfolder.
    dns = "coredns/coredns" if at["coredns"] == "registry.k8s.io" and minor >= 21 else "coredns"
    names += [
        f"{at['coredns']}/{dns}:{tag['coredns']}",
        f"{repository}/pause:{tag['pause']}",
        f"{at['etcd']}/etcd:{tag['etcd']}",
    ]
    return names
