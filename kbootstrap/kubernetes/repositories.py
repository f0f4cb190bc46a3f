"""Package repositories: their URLs per OS family, in the layout of the upstream sites."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from kbootstrap.inventory.mirrors import OS_REPOSITORIES
from kbootstrap.versions import NEWEST, Minor, show

if TYPE_CHECKING:
    from kbootstrap.inventory.models import Cluster
    from kbootstrap.remote.facts import Facts

KUBERNETES_PACKAGES = ("kubelet", "kubeadm", "kubectl", "cri-tools", "kubernetes-cni")


@dataclass(frozen=True)
class Repository:
    """One package repository.

    ``suite`` is the text after the URL in a Debian source line. ``key_urls`` are asked in this order for the key;
    ``metadata_url`` is a file that only a repository with packages has.
    """

    id: str
    title: str
    url: str
    metadata_url: str
    key_urls: tuple[str, ...]
    fingerprints: tuple[str, ...]
    suite: str = ""
    exclude: str = ""
    signed_metadata: bool = False


def kubernetes(cluster: Cluster, facts: Facts) -> Repository:
    """The repository of the wanted minor.

    Its layout: https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/. All minors are signed with one key, and
    each has its own copy of it. Those of minors that are no longer maintained expired on 2024-11-02
    (https://github.com/kubernetes/release/issues/3818), so the newest minor's copy comes first.
    """
    debian = facts.family == "debian"
    key = "deb/Release.key" if debian else "rpm/repodata/repomd.xml.key"
    minors = dict.fromkeys((NEWEST, cluster.minor))
    keys = tuple(f"{_base(cluster, minor)}/{key}" for minor in minors)
    url = f"{_base(cluster, cluster.minor)}/{'deb' if debian else 'rpm'}/"
    title = f"Kubernetes {show(cluster.minor)}"
    if debian:
        return Repository("kubernetes", title, url, f"{url}InRelease", keys, cluster.package_key, suite="/")
    return Repository(
        "kubernetes",
        title,
        url,
        f"{url}repodata/repomd.xml",
        keys,
        cluster.package_key,
        exclude=" ".join(KUBERNETES_PACKAGES),
        signed_metadata=True,
    )


def _base(cluster: Cluster, minor: Minor) -> str:
    base, wanted = cluster.package_repository, show(minor)
    return base.replace("{minor}", wanted) if "{minor}" in base else f"{base}/core:/stable:/v{wanted}"


_VAULT = {"7": "7.9.2009", "8": "8.5.2111"}
"""The last releases of CentOS Linux 7 and 8 in https://vault.centos.org. They get no updates any more."""


def vault(cluster: Cluster, facts: Facts) -> str:
    """The archive with the packages of this CentOS, whose own servers ended in July 2024. Empty on every other OS."""
    if facts.os.id.lower() != "centos" or facts.os.release not in _VAULT:
        return ""
    release = _VAULT[facts.os.release]
    if facts.os.release == "8" and "stream" in facts.os_name.lower():
        release = "8-stream"
    elif facts.os.release == "7" and facts.arch != "x86_64":
        release = f"altarch/{release}"
    return f"{OS_REPOSITORIES.get(cluster.os_repository, cluster.os_repository)}/{release}"


def vault_file(cluster: Cluster, facts: Facts) -> str:
    """A file of that archive that shows whether it can be reached."""
    base = vault(cluster, facts)
    part = f"os/{facts.arch}" if facts.os.release == "7" else f"BaseOS/{facts.arch}/os"
    return base and f"{base}/{part}/repodata/repomd.xml"


def docker(cluster: Cluster, facts: Facts) -> Repository:
    """Docker's repository, which has containerd.io; https://docs.docker.com/engine/install/ has its layout."""
    base = f"{cluster.runtime.package_repository}/linux"
    keys = cluster.runtime.package_key
    release = facts.os.release
    if facts.family == "debian":
        url = f"{base}/{facts.os.base}"
        metadata = f"{url}/dists/{release}/InRelease"
        return Repository("docker", "containerd", url, metadata, (f"{url}/gpg",), keys, suite=f"{release} stable")
    # Docker's repository for CentOS 8 got no packages after the end of CentOS Stream 8; the one for RHEL 8 does.
    system = {"fedora": "fedora"}.get(facts.os.base, "rhel" if release == "8" else "centos")
    url = f"{base}/{system}/{release}/{facts.arch}/stable/"
    metadata = f"{url}repodata/repomd.xml"
    return Repository("docker", "containerd", url, metadata, (f"{base}/{system}/gpg",), keys, exclude="containerd.io")
