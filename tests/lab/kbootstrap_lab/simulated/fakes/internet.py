"""The simulated internet: its host names, what they serve, and the signing keys."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from kbootstrap_lab.simulated.catalogue import KUBERNETES_MINORS
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS
from kbootstrap_lab.simulated.fakes.common import LAB, SIM, Failed, read, write

KEYS = {"kubernetes": "DECDF6A6B09837F48E1CC9C6C3C03A77D90EF796", "docker": "EF238DBD780E521BBE93554FE990407F60C3414D"}
"""Fingerprints of the repositories' signing keys. The keys are in ``bin/NAME.asc``."""

_KUBERNETES = {
    "https://pkgs.k8s.io/core:/stable:": 24,
    "https://mirrors.aliyun.com/kubernetes-new/core/stable": 24,
    "https://mirrors.tuna.tsinghua.edu.cn/kubernetes/core:/stable:": 24,
    "https://mirror.example/core:/stable:": min(KUBERNETES_MINORS),
}
"""Hosts of Kubernetes packages, each with its first minor. ``mirror.example`` is the lab's mirror of all of them."""

_DOCKER = (
    "https://download.docker.com",
    "https://mirrors.aliyun.com/docker-ce",
    "https://mirrors.tuna.tsinghua.edu.cn/docker-ce",
    "https://mirror.example",
)
_OS = tuple(sorted({server for distribution in DISTRIBUTIONS.values() for server in distribution.servers}))
_REGISTRIES = {
    "registry.k8s.io": 200,
    "registry.aliyuncs.com": 401,
    "registry-1.docker.io": 401,
    "docker.io": 301,
    "ghcr.io": 401,
    "ghcr.m.daocloud.io": 401,
    "quay.io": 401,
    "mirror.example": 200,
}


class Repository(NamedTuple):
    """A package repository: its id in the catalogue, the key that signs packages, and whether it signs metadata.

    A real OS has several repositories. Here one has all packages and the others are empty.
    """

    id: str
    signer: str
    signed_metadata: bool


def known_host(url: str) -> bool:
    """Whether the host name in this URL resolves."""
    host = host_of(url)
    if "nameserver" not in read("/etc/resolv.conf"):
        return False
    known = {host_of(base) for base in (*_KUBERNETES, *_DOCKER, *_OS)} | set(_REGISTRIES)
    return host in known


def host_of(url: str) -> str:
    return re.sub(r"^[a-z+]+://", "", url).partition("/")[0].partition(":")[0]


def trouble(url: str) -> str:
    """The fault that a test set for this server: ``timeout``, ``reset``, or an HTTP status.

    The file /.lab/internet/HOST has "KIND", or "KIND TIMES" for that many requests. An empty file is a timeout.
    """
    path = f"{LAB}/internet/{host_of(url)}"
    if not os.path.exists(path):
        return ""
    kind, _, times = read(path).strip().partition(" ")
    if times == "1":
        os.unlink(path)
    elif times:
        write(path, f"{kind} {int(times) - 1}\n")
    return kind or "timeout"


def check_up(url: str) -> None:
    """Raises Failed, with the messages of curl and dnf, when a test set a fault for this server."""
    kind = trouble(url)
    if kind == "timeout":
        raise Failed(f"curl: (28) Failed to connect to {host_of(url)} port 443 after 20000 ms: Timeout was reached", 28)
    if kind == "reset":
        raise Failed("curl: (56) Recv failure: Connection reset by peer", 56)
    if kind:
        raise Failed(f"Status code: {kind} for {url}", 22)


def kubernetes(url: str) -> tuple[int, str, str] | None:
    """The minor, the kind (rpm or deb) and the rest of a path in a Kubernetes repository."""
    for base, first in _KUBERNETES.items():
        match = re.match(re.escape(base) + r"/v1\.(\d+)/(rpm|deb)/?(.*)\Z", url)
        if match and first <= int(match[1]) < KUBERNETES_MINORS.stop:
            return int(match[1]), match[2], match[3]
    return None


_VAULT = re.compile(
    r"https?://(vault\.centos\.org|mirrors\.(aliyun\.com|tuna\.tsinghua\.edu\.cn)/centos-vault)/"
    r"(?P<release>[\w.-]+)/(?P<part>\w+)/"
)
_IN_VAULT = {"7.9.2009": "os updates extras", "8.5.2111": "BaseOS AppStream extras", "8-stream": "BaseOS AppStream"}
"""The releases in CentOS' archive, and some of their parts."""


def rpm_repository(url: str, release: str) -> Repository | None:
    """The repository at a baseurl (or metalink) for an EL release, or None when there is none."""
    found = kubernetes(url)
    if found and found[1] == "rpm" and found[2] in ("", "/"):
        return Repository(f"kubernetes-1.{found[0]}", "kubernetes", True)
    docker = _docker_release(url)
    if docker:
        return Repository("docker", "docker", False) if docker == release else None
    archive = _VAULT.match(url)
    if archive and archive["part"] not in _IN_VAULT.get(archive["release"], "").split():
        return None
    if any(url.startswith(base) for base in _OS):
        whole = not re.search(r"baseos|updates|extras", url, re.I)
        return Repository("os" if whole else "empty", "", False)
    return None


def _docker_release(url: str) -> str:
    """The release of a repository of Docker's for rpm. Its repository for CentOS 8 got no packages since 2024."""
    for base in _DOCKER:
        match = re.match(
            re.escape(base) + r"/linux/(centos|rhel|fedora)/(\d+)/[a-z0-9_]+/stable/?(repodata/repomd\.xml)?\Z", url
        )
        if match and (match[1], match[2]) in _DOCKER_RELEASES:
            return match[2]
    return ""


_DOCKER_RELEASES = {
    *(("centos", release) for release in ("7", "9", "10")),
    *(("rhel", release) for release in ("8", "9", "10")),
    *(("fedora", release) for release in ("42", "43")),
}


def deb_repository(url: str, suite: str, release: str) -> Repository | None:
    """The repository of one entry in apt's sources for a codename, or None when there is none."""
    found = kubernetes(url.rstrip("/") + "/")
    if found and found[1] == "deb" and suite == "/":
        return Repository(f"kubernetes-1.{found[0]}", "kubernetes", True)
    system = DOCKER_SYSTEMS.get(suite)
    if any(url.rstrip("/") == f"{base}/linux/{system}" for base in _DOCKER):
        return Repository("docker", "docker", True) if suite == release else None
    if any(url.startswith(base) for base in _OS) and suite.startswith(release):
        return Repository("os" if suite == release else "empty", "", True)
    return None


DOCKER_SYSTEMS = {
    **dict.fromkeys(("bullseye", "bookworm", "trixie"), "debian"),
    **dict.fromkeys(("focal", "jammy", "noble", "resolute"), "ubuntu"),
}
"""The suites of Docker's repositories for apt."""


def fetch(url: str) -> tuple[int, str]:
    """The HTTP status and body of a URL whose host is known."""
    key = _key_at(url)
    if key:
        return 200, read(f"{SIM}/{key}.asc")
    host = host_of(url)
    if host in _REGISTRIES and re.search(r"/v2/?\Z", url):
        return _REGISTRIES[host], "{}\n"
    if _metadata(url):
        return 200, f"simulated metadata of {url}\n"
    return 404, "not found\n"


def _key_at(url: str) -> str:
    found = kubernetes(url)
    if found and found[1:] in (("rpm", "repodata/repomd.xml.key"), ("deb", "Release.key")):
        return "kubernetes"
    if any(re.match(re.escape(base) + r"/linux/(centos|rhel|fedora|debian|ubuntu)/gpg\Z", url) for base in _DOCKER):
        return "docker"
    return ""


def _metadata(url: str) -> bool:
    found = kubernetes(url)
    if found:
        names = {
            "rpm": ("", "repodata/repomd.xml", "repodata/repomd.xml.asc"),
            "deb": ("", "Release", "InRelease", "Packages"),
        }
        return found[2] in names[found[1]]
    if _docker_release(url):
        return True
    for base in _DOCKER:
        match = re.match(re.escape(base) + r"/linux/(debian|ubuntu)/dists/(\w+)/(Release|InRelease)\Z", url)
        if match:
            return DOCKER_SYSTEMS.get(match[2]) == match[1]
        if url.rstrip("/") in (base, f"{base}/linux/debian", f"{base}/linux/ubuntu"):
            return True
    roots = {base.rpartition("/core")[0] for base in _KUBERNETES}
    return url.rstrip("/") in roots or any(url.startswith(base) for base in _OS)


# --- images ----------------------------------------------------------------------------------------------------------

_IMAGE_BASES = ("registry.k8s.io", "registry.aliyuncs.com/google_containers", "mirror.example/google_containers")
_IMAGE_TAGS = {
    r"kube-(apiserver|controller-manager|scheduler|proxy)": r"v1\.(\d+)\.[0-2]",
    "pause": r"3\.\d+(\.\d+)?",
    "etcd": r"3\.\d+\.\d+-\d+",
    "(coredns/)?coredns": r"v?1\.\d+\.\d+",
}
_OTHER_IMAGES = (
    r"(ghcr\.(m\.daocloud\.)?io/flannel-io|docker\.io/flannel|mirror\.example/flannel[a-z-]*)"
    r"/(flannel:v0\.\d+\.\d+|flannel-cni-plugin:v1\.\d+\.\d+-flannel\d+)",
    r"(docker\.io/library|quay\.io/[a-z]+)/[a-z0-9-]+:[\w.-]+",
)


def image_problem(reference: str) -> str:
    """containerd's message when an image cannot be pulled; empty when it can."""
    host = reference.partition("/")[0]
    if host not in _REGISTRIES or not known_host(reference):
        return f'failed to do request: Head "https://{host}/v2/": dial tcp: lookup {host}: no such host'
    kind = trouble(reference)
    if kind.isdigit():
        return f"unexpected status from HEAD request to https://{host}/v2/: {kind}"
    if kind:
        return f'failed to do request: Head "https://{host}/v2/": dial tcp: i/o timeout'
    return "" if image_exists(reference) else f"{reference}: not found"


def image_exists(reference: str) -> bool:
    """Whether the registry in the image's name has this image."""
    for base in _IMAGE_BASES:
        if reference.startswith(base + "/"):
            name, _, tag = reference.removeprefix(base + "/").rpartition(":")
            return any(re.fullmatch(n, name) and re.fullmatch(t, tag) for n, t in _IMAGE_TAGS.items())
    return any(re.fullmatch(pattern, reference) for pattern in _OTHER_IMAGES)
