"""kubeadm's preflight checks, with the messages of the real one."""

# ruff: noqa: E501 - messages are those of the real program, in one piece

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from kbootstrap_lab.simulated.fakes import cluster, runtime
from kbootstrap_lab.simulated.fakes.common import HOST, LAB, Failed, read, user
from kbootstrap_lab.simulated.fakes.kubeadm_versions import package_version

if TYPE_CHECKING:
    from kbootstrap_lab.simulated.fakes.kubeadm import Request


def need_root() -> None:
    if user() != "root":
        raise Failed("[ERROR IsPrivilegedUser]: user is not running as root")


class Preflight:
    """Collects the results of the checks. ``end`` prints them and raises Failed when a fatal error is left."""

    def __init__(self, request: Request, registration: dict[str, Any]) -> None:
        listed = ",".join(request.options.get("--ignore-preflight-errors", [])).split(",")
        self._ignored = {name.lower() for name in [*listed, *registration.get("ignorePreflightErrors", [])] if name}
        self._errors: list[str] = []
        self._warnings: list[str] = []

    def error(self, name: str, text: str) -> None:
        if name.lower() in self._ignored or "all" in self._ignored:
            self.warning(name, text)
        else:
            self._errors.append(f"\t[ERROR {name}]: {text}")

    def warning(self, name: str, text: str) -> None:
        self._warnings.append(f"\t[WARNING {name}]: {text}")

    def end(self) -> None:
        print("\n".join(self._warnings), file=sys.stderr, end="\n" if self._warnings else "")
        if self._errors:
            raise Failed(
                "error execution phase preflight: [preflight] Some fatal errors occurred:\n"
                + "\n".join(self._errors)
                + "\n[preflight] If you know what you are doing, you can make a check non-fatal with "
                "`--ignore-preflight-errors=...`\nTo see the stack trace of this error execute with --v=5 or higher"
            )


def _flag(path: str) -> str:
    """A path as kubeadm writes it in the name of a check."""
    return path.replace("/", "-")


def common_checks(check: Preflight, minor: int) -> None:
    try:
        runtime.check_cri()
    except Failed as failed:
        check.error("CRI", f"could not connect to the container runtime: {failed.text}")
    if read("/proc/sys/net/ipv4/ip_forward").strip() != "1":
        check.error(
            "FileContent--proc-sys-net-ipv4-ip_forward", "/proc/sys/net/ipv4/ip_forward contents are not set to 1"
        )
    if minor < 30:
        path = "/proc/sys/net/bridge/bridge-nf-call-iptables"
        if not read(path):
            check.error(f"FileContent-{_flag(path)}", f"{path} does not exist")
        elif read(path).strip() != "1":
            check.error(f"FileContent-{_flag(path)}", f"{path} contents are not set to 1")
    if len(read("/proc/swaps").splitlines()) > 1:
        text = "running with swap on is not supported. Please disable swap"
        if minor < 22:
            check.error("Swap", text)
        else:
            check.warning(
                "Swap", "swap is supported for cgroup v2 only. The kubelet must be properly configured to use swap."
            )
    for name, needed in {
        "conntrack": minor < 32,
        "crictl": minor < 30,
        "ip": True,
        "iptables": minor < 33,
        "mount": True,
    }.items():
        if needed and not _installed(name):
            check.error(f"FileExisting-{name}", f"{name} not found in system path")
    for name in ("ebtables", "ethtool", "socat", "tc"):
        if not _installed(name):
            check.warning(f"FileExisting-{name}", f"{name} not found in system path")
    if package_version("kubelet") == "":
        check.error("FileExisting-kubelet", "kubelet not found in system path")
    elif cluster.minor(package_version("kubelet")) > minor:
        check.error(
            "KubeletVersion",
            f"the kubelet version is higher than the control plane version. This is not a supported version skew and may "
            f'lead to a malfunctional cluster. Kubelet version: "{package_version("kubelet")}"',
        )
    if not os.path.exists("/etc/systemd/system/multi-user.target.wants/kubelet.service"):
        check.warning(
            "Service-Kubelet", "kubelet service is not enabled, please run 'systemctl enable kubelet.service'"
        )
    if os.path.exists("/run/sim/active/firewalld.service"):
        check.warning(
            "Firewalld",
            "firewalld is active, please ensure ports [6443 10250] are open or your cluster may not function correctly",
        )
    _system_verification(check, minor)


def _system_verification(check: Preflight, minor: int) -> None:
    kernel = tuple(int(part) for part in HOST["KERNEL"].split("-")[0].split(".")[:2])
    if minor in (32, 33) and kernel < (4, 19):
        check.error("SystemVerification", f"unsupported kernel release: {HOST['KERNEL']}")
    if not os.path.exists("/sys/fs/cgroup/cgroup.controllers"):
        if minor >= 35:
            check.error("SystemVerification", "cgroups v1 support is in maintenance mode, please migrate to cgroups v2")
        elif minor >= 31:
            check.warning(
                "SystemVerification", "cgroups v1 support is in maintenance mode, please migrate to cgroups v2"
            )


def _installed(name: str) -> bool:
    return any(os.path.exists(f"{folder}/{name}") for folder in ("/usr/bin", "/usr/sbin", "/usr/local/bin"))


def check_free(check: Preflight, ports: list[int], files: list[str], directories: list[str]) -> None:
    for port in ports:
        if os.path.exists(f"{LAB}/net/{HOST['IP']}/listen/{port}"):
            check.error(f"Port-{port}", f"Port {port} is in use")
    for path in files:
        if os.path.exists(path):
            check.error(f"FileAvailable-{_flag(path)}", f"{path} already exists")
    for path in directories:
        if os.path.isdir(path) and os.listdir(path):
            check.error(f"DirAvailable-{_flag(path)}", f"{path} is not empty")
