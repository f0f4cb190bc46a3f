"""Public mirrors: which addresses must change together where the upstream sites cannot be reached, or only slowly."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

OS_REPOSITORIES: Mapping[str, str] = {
    "vault": "http://vault.centos.org",
    "aliyun": "https://mirrors.aliyun.com/centos-vault",
    "tsinghua": "https://mirrors.tuna.tsinghua.edu.cn/centos-vault",
}
"""Archives of CentOS releases that have ended. The first is used without TLS, because the certificates of CentOS 7 do
not know today's authorities; yum checks the signatures of the packages."""

_IMAGES = {
    "image_repository": "registry.aliyuncs.com/google_containers",
    "network": {"image_repository": "ghcr.m.daocloud.io/flannel-io"},
}
PRESETS: Mapping[str, Mapping[str, Any]] = {
    "none": {},
    "aliyun": {
        **_IMAGES,
        "os_repository": "aliyun",
        "package_repository": "https://mirrors.aliyun.com/kubernetes-new/core/stable/v{minor}",
        "runtime": {"package_repository": "https://mirrors.aliyun.com/docker-ce"},
    },
    "tsinghua": {
        **_IMAGES,
        "os_repository": "tsinghua",
        "package_repository": "https://mirrors.tuna.tsinghua.edu.cn/kubernetes",
        "runtime": {"package_repository": "https://mirrors.tuna.tsinghua.edu.cn/docker-ce"},
    },
}
"""The values of `cluster.mirror`, as the keys of `cluster` that they set. Tsinghua has packages and no images."""


def with_preset(cluster: Any) -> Any:
    """The section ``cluster`` with the keys of its preset, where the inventory does not have them itself."""
    if not isinstance(cluster, dict):
        return cluster
    name = cluster.get("mirror", "none")
    preset = PRESETS.get(name, {}) if isinstance(name, str) else {}
    return _filled(cluster, preset) if preset else cluster


def _filled(given: dict[str, Any], preset: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(given)
    for key, value in preset.items():
        own = filled.setdefault(key, value)
        if isinstance(value, Mapping):
            # `runtime: containerd` is a short form of `runtime: {name: containerd}`.
            own = {"name": own} if isinstance(own, str) else own
            filled[key] = _filled(own, value) if isinstance(own, dict) else own
    return filled
