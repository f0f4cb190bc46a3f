"""Package repositories: their URLs per OS family, in the layout of the upstream sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbootstrap.versions import show

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Cluster
    from kbootstrap.remote.facts import Facts

KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl", "cri-tools", "kubernetes-cni")


@dataclass(frozen=True)
class Repository:
    """One package repository. ``suite`` is the text after the URL in a Debian source line."""

    id: str
    title: str
    url: str
    key_url: str
    fingerprints: tuple[str, ...]
    suite: str = ""
    exclude: str = ""
    signed_metadata: bool = False


def kubernetes(cluster: Cluster, facts: Facts) -> Repository:
    """The repository of the wanted minor.

    Its layout: https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/
    """
    minor = show(cluster.minor)
    base = cluster.package_repository
    base = base.replace("{minor}", minor) if "{minor}" in base else f"{base}/core:/stable:/v{minor}"
    title = f"Kubernetes {minor}"
    if facts.family == "debian":
        return Repository(
            "kubernetes", title, f"{base}/deb/", f"{base}/deb/Release.key", cluster.package_key, suite="/"
        )
    key = f"{base}/rpm/repodata/repomd.xml.key"
    exclude = " ".join(KUBERNETES_PACKAGES)
    url = f"{base}/rpm/"
    return Repository("kubernetes", title, url, key, cluster.package_key, exclude=exclude, signed_metadata=True)


def docker(cluster: Cluster, facts: Facts) -> Repository:
    """Docker's repository, which has containerd.io; https://docs.docker.com/engine/install/ has its layout."""
    base = f"{cluster.runtime.package_repository}/linux"
    keys = cluster.runtime.package_key
    if facts.family == "debian":
        system = "ubuntu" if facts.os_id == "ubuntu" else "debian"
        suite = f"{facts.os_codename} stable"
        return Repository("docker", "containerd", f"{base}/{system}", f"{base}/{system}/gpg", keys, suite=suite)
    release = el_release(facts)
    url = f"{base}/centos/{release}/{facts.arch}/stable/"
    return Repository("docker", "containerd", url, f"{base}/centos/gpg", keys)


def el_release(facts: Facts) -> str:
    """The CentOS release whose packages work on the host: its own major, or the release its OS is based on."""
    major = facts.os_version.split(".")[0]
    if facts.os_id in ("openeuler", "anolis", "kylin", "fedora", "amzn"):
        return "9" if facts.os_id in ("fedora", "amzn") or major in ("22", "24") else "8"
    return major
