"""Where packages come from: repository addresses per OS family, as the upstream sites lay them out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbootstrap.model import Param, Step
from kbootstrap.versions import show

if TYPE_CHECKING:
    from kbootstrap.facts import Facts
    from kbootstrap.inventory import Cluster

KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl", "cri-tools", "kubernetes-cni")


@dataclass(frozen=True)
class Source:
    """One package repository. ``suite`` is what follows the address in a Debian source line."""

    id: str
    title: str
    url: str
    key_url: str
    fingerprints: tuple[str, ...]
    suite: str = ""
    exclude: str = ""
    signed_metadata: bool = False

    def step(self, why: str) -> Step:
        """The step that makes the host know this repository and trust exactly its pinned keys."""
        params: dict[str, Param] = {
            "ID": self.id,
            "NAME": self.title,
            "URL": self.url,
            "KEY_URL": self.key_url,
            "FINGERPRINTS": " ".join(self.fingerprints),
            "SUITE": self.suite,
            "EXCLUDE": self.exclude,
            "SIGNED": "1" if self.signed_metadata else "0",
        }
        title = f"Add the package repository of {self.title}"
        shell = "repository/repository.sh"
        return Step(
            f"{self.id}-repository",
            title,
            shell,
            why=why,
            params=params,
            timeout=600,
            retries=3,
            libraries=("files", "network", "os", "state"),
        )


def kubernetes(cluster: Cluster, facts: Facts) -> Source:
    """The repository of the wanted minor.

    Its layout: https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/
    """
    minor = show(cluster.minor)
    base = cluster.package_repository
    base = base.replace("{minor}", minor) if "{minor}" in base else f"{base}/core:/stable:/v{minor}"
    title = f"Kubernetes {minor}"
    if facts.family == "debian":
        return Source("kubernetes", title, f"{base}/deb/", f"{base}/deb/Release.key", cluster.package_key, suite="/")
    key = f"{base}/rpm/repodata/repomd.xml.key"
    exclude = " ".join(KUBERNETES_PACKAGES)
    url = f"{base}/rpm/"
    return Source("kubernetes", title, url, key, cluster.package_key, exclude=exclude, signed_metadata=True)


def docker(cluster: Cluster, facts: Facts) -> Source:
    """Docker's repository, which has containerd.io; https://docs.docker.com/engine/install/ has its layout."""
    base = f"{cluster.runtime.package_repository}/linux"
    keys = cluster.runtime.package_key
    if facts.family == "debian":
        system = "ubuntu" if facts.os_id == "ubuntu" else "debian"
        suite = f"{facts.os_codename} stable"
        return Source("docker", "containerd", f"{base}/{system}", f"{base}/{system}/gpg", keys, suite=suite)
    release = el_release(facts)
    url = f"{base}/centos/{release}/{facts.arch}/stable/"
    return Source("docker", "containerd", url, f"{base}/centos/gpg", keys)


def el_release(facts: Facts) -> str:
    """The CentOS release whose packages fit: the host's own major where it is one, else by what it descends from."""
    major = facts.os_version.split(".")[0]
    if facts.os_id in ("openeuler", "anolis", "kylin", "fedora", "amzn"):
        return "9" if facts.os_id in ("fedora", "amzn") or major in ("22", "24") else "8"
    return major
