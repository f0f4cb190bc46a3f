"""All version tables of kbootstrap, each with its source. This module does not connect to a host."""

from __future__ import annotations

import datetime
import re
from typing import Literal

Minor = tuple[int, int]

OLDEST: Minor = (1, 20)
NEWEST: Minor = (1, 37)
"""The oldest and the newest Kubernetes minor that kbootstrap supports."""
OLDEST_UPSTREAM: Minor = (1, 24)
"""pkgs.k8s.io has no packages of older minors (https://kubernetes.io/blog/2023/08/15/pkgs-k8s-io-introduction/)."""

_END_OF_LIFE = {
    20: "2022-02-28",
    21: "2022-06-28",
    22: "2022-12-08",
    23: "2023-02-28",
    24: "2023-07-28",
    25: "2023-10-28",
    26: "2024-02-28",
    27: "2024-07-16",
    28: "2024-10-22",
    29: "2025-02-28",
    30: "2025-07-15",
    31: "2025-11-11",
    32: "2026-02-28",
    33: "2026-06-28",
    34: "2026-10-27",
    35: "2027-02-28",
    36: "2027-06-28",
    37: "2027-10-28",
}
"""Minors, with the day on which upstream ends their patches (https://kubernetes.io/releases/patch-releases/)."""

FLANNEL_VERSION = "v0.28.9"
FLANNEL_CNI_PLUGIN = "v1.9.1-flannel3"
"""These two were released together: https://github.com/flannel-io/flannel/releases/tag/v0.28.9."""

_VERSION = re.compile(r"1\.(0|[1-9][0-9]{0,2})(?:\.(0|[1-9][0-9]{0,2}))?\Z")


def parse(text: str) -> tuple[Minor, str | None]:
    """Parse ``1.34`` or ``1.34.2`` (a leading v is allowed): its minor, and the full version if it has a patch.

    Raises ValueError with a message for the user.
    """
    plain = text.strip().removeprefix("v")
    match = _VERSION.match(plain)
    if match is None:
        raise ValueError(
            f"{text!r} is not a Kubernetes version; write a minor such as '1.34' or a version such as '1.34.2'"
        )
    minor = (1, int(match[1]))
    if minor > NEWEST:
        raise ValueError(
            f"Kubernetes {show(minor)} is not known to this kbootstrap (up to {show(NEWEST)}): upgrade kbootstrap"
        )
    if minor < OLDEST:
        digits = "; a minor has two digits after the dot" if minor[1] < 10 else ""
        raise ValueError(f"Kubernetes {show(minor)} is not supported (from {show(OLDEST)}){digits}")
    return minor, plain if match[2] is not None else None


def pattern() -> str:
    """A regular expression for what ``parse`` takes, for the JSON Schema."""
    minors = "|".join(str(minor) for minor in range(OLDEST[1], NEWEST[1] + 1))
    return rf"^\s*v?1\.({minors})(\.(0|[1-9][0-9]{{0,2}}))?\s*$"


def exact(text: str) -> str | None:
    """The full version if the text is one with a patch, else None, e.g. for a version that a host reports."""
    try:
        return parse(text)[1]
    except ValueError:
        return None


def show(minor: Minor) -> str:
    """``1.34`` for (1, 34)."""
    return f"{minor[0]}.{minor[1]}"


def end_of_life(minor: Minor) -> datetime.date:
    """The day on which upstream ends the patches of a minor, also security fixes."""
    return datetime.date.fromisoformat(_END_OF_LIFE[minor[1]])


def config_api(minor: Minor) -> Literal["v1beta2", "v1beta3", "v1beta4"]:
    """The kubeadm config API to write for a minor.

    1.22 added v1beta3 and 1.31 added v1beta4; 1.37 removed v1beta3
    (https://kubernetes.io/docs/reference/config-api/kubeadm-config.v1beta4/).
    """
    if minor >= (1, 31):
        return "v1beta4"
    return "v1beta3" if minor >= (1, 22) else "v1beta2"


def pause_image(minor: Minor) -> str:
    """The tag of the pause image kubeadm of this minor expects (PauseVersion in cmd/kubeadm/app/constants)."""
    tags = [
        ((1, 36), "3.10.2"),
        ((1, 34), "3.10.1"),
        ((1, 31), "3.10"),
        ((1, 26), "3.9"),
        ((1, 25), "3.8"),
        ((1, 24), "3.7"),
        ((1, 23), "3.6"),
        ((1, 22), "3.5"),
        ((1, 21), "3.4.1"),
    ]
    return next((tag for since, tag in tags if minor >= since), "3.2")


def containerd_major(minor: Minor) -> str:
    """The containerd major that a kubelet needs; empty when any major works.

    Kubelets before 1.23 support only CRI v1alpha2, which containerd 2 removed
    (https://github.com/containerd/containerd/blob/main/docs/containerd-2.0.md).
    """
    return "1" if minor < (1, 23) else ""


APT_WITH_SEQUOIA = ("trixie", "forky")
"""Debian's releases whose apt checks signatures with sqv, which refuses version 3 packets since 2026-02-01."""
OLDEST_WITH_V4_SIGNATURE: Minor = (1, 33)
"""Minors that ended before have such signatures (https://github.com/kubernetes/release/issues/3869)."""


def containerd_minimum(minor: Minor) -> tuple[str, ...]:
    """The oldest containerd of each major that a kubelet works with, the oldest major first; empty: any.

    1.26 needs CRI v1, which came with 1.6; 1.35 was tested with 1.7.28 and 2.1.5 and newer ones
    (https://github.com/containerd/containerd/blob/main/RELEASES.md). 1.38 asks the runtime for its cgroup driver,
    which no 1.x answers (https://github.com/kubernetes/enhancements/pull/6087).
    """
    if minor >= (1, 38):
        return ("2.1.5",)
    if minor >= (1, 35):
        return ("1.7.28", "2.1.5")
    return ("1.6.0",) if minor >= (1, 26) else ()


def containerd_problem(version: str, minor: Minor) -> str:
    """Why this containerd cannot be used with a minor; empty when it can, or when it is not a version."""
    major, numbers = version.partition(".")[0], _numbers(version)
    if not numbers:
        return ""
    needed, minimum = containerd_major(minor), containerd_minimum(minor)
    if needed and major != needed:
        return f"Kubernetes {show(minor)} needs containerd {needed}.x"
    same = [oldest for oldest in minimum if oldest.partition(".")[0] == major]
    if minimum and numbers < _numbers((same or minimum)[0]):
        return f"Kubernetes {show(minor)} needs containerd {' or '.join(minimum)} or newer"
    return ""


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d{1,9}(\.\d{1,9}){0,2}", version, re.ASCII)
    return tuple(int(part) for part in match[0].split(".")) if match else ()


def containerd_advised(minor: Minor) -> str:
    """The containerd that upstream advises for a minor that also runs with older ones; empty: no advice."""
    return "2.2.0" if minor >= (1, 36) else ""


def kubelet_skew_ok(kubelet: Minor, api_server: Minor) -> bool:
    """A kubelet is never newer than the API server and at most 3 minors older, 2 before 1.28.

    https://kubernetes.io/releases/version-skew-policy/
    """
    allowed = 3 if api_server >= (1, 28) else 2
    return 0 <= api_server[1] - kubelet[1] <= allowed


def kernel(text: str) -> tuple[int, int]:
    """Major and minor of ``uname -r``; (0, 0) when it is not one."""
    match = re.match(r"(\d+)\.(\d+)", text)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def refuses_cgroup_v1(minor: Minor) -> bool:
    """Whether the kubelet refuses cgroup v1 by default (https://github.com/kubernetes/enhancements/issues/5573)."""
    return minor >= (1, 35)


def os_problem(
    el_release: str, kernel_release: str, minor: Minor, *, cgroup: int = 2
) -> tuple[Literal["error", "warning"], str] | None:
    """Why a Kubernetes minor does not run, or runs with a warning, on a host's OS; None if there is no problem.

    ``el_release`` is empty for other families than EL.

    Kernel limits: kubeadm's SystemVerification requires 4.19 since 1.32 and only warns since 1.34
    (https://github.com/kubernetes/system-validators); the kubelet refuses cgroup v1 by default since 1.35
    (https://github.com/kubernetes/enhancements/issues/5573).
    """
    runs = kernel(kernel_release)
    wanted = show(minor)
    if el_release == "7":
        if minor >= (1, 32):
            return (
                "error",
                f"EL 7 (kernel 3.10, systemd 219) runs Kubernetes up to 1.31; {wanted} does not run on it",
            )
        return "warning", "EL 7 is past its end of life, and Kubernetes 1.31 is the last version that runs on it"
    if (1, 32) <= minor <= (1, 33) and runs < (4, 19):
        return "error", f"kernel {kernel_release} is older than 4.19, which Kubernetes {wanted} requires"
    if refuses_cgroup_v1(minor) and cgroup == 1:
        return (
            "error",
            f"the host uses cgroup v1, which the kubelet of Kubernetes {wanted} refuses; boot with cgroup v2",
        )
    if minor >= (1, 34) and runs < (4, 19):
        return "warning", f"kernel {kernel_release} is older than 4.19, which Kubernetes {wanted} recommends"
    if minor >= (1, 31) and cgroup == 1:
        return "warning", "the host uses cgroup v1, which is in maintenance mode since Kubernetes 1.31"
    return None
