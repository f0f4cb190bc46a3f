"""Writes the inventory of a container lab. It sets only what differs from hosts with internet access."""

from __future__ import annotations

from pathlib import Path

from kbootstrap_lab.backend import CONTROL_PLANE_ROLE
from kbootstrap_lab.containers import SERVER, Lab, fingerprint
from kbootstrap_lab.containers.artifacts import KUBERNETES
from kbootstrap_lab.state import home_relative

IGNORED = ("Swap", "SystemVerification", "FileExisting-crictl", "Mem", "NumCPU")
"""kubeadm's preflight errors to ignore: the hosts share this machine's swap, kernel config and memory."""


def text(lab: Lab, password: bool, sudo_password: bool) -> str:
    """The inventory as YAML. It has no passwords, only the environment variables that they are read from."""
    lines = [
        "# Written by `kbootstrap lab up --backend containers`: hosts with real kubeadm.",
        *cluster_lines(lab.name, lab.server, IGNORED),
        "    extra_args:",
        "      # The machine's connection tracking table is not this container's to size.",
        "      kube_proxy: {conntrack: {maxPerCore: 0}}",
        "",
        *ssh_lines(lab.user, lab.directory, password, sudo_password),
        "",
        "hosts:",
    ]
    for host in lab.hosts:
        lines.append(f"  - {{name: {host.name}, address: {host.address}, role: {role(host.name)}}}")
    return "\n".join(lines) + "\n"


def cluster_lines(name: str, time_server: str, ignored: tuple[str, ...]) -> list[str]:
    """The section ``cluster`` of a lab whose packages and images come from the lab's own server."""
    key = fingerprint()
    return [
        "cluster:",
        f"  name: {name}",
        f'  kubernetes: "{KUBERNETES}"',
        "  # The lab has a package server of its own, laid out as pkgs.k8s.io and download.docker.com are.",
        f"  package_repository: http://{SERVER}",
        f"  package_key: {key}",
        "  # CentOS 7 and 8 begin with repositories that are gone. The lab's server has what vault.centos.org has.",
        f"  os_repository: http://{SERVER}/centos-vault",
        "  runtime:",
        f"    package_repository: http://{SERVER}",
        f"    package_key: {key}",
        "    # No registry is there: crictl's stand-in fetches archives from the package server.",
        f"    mirrors: {{registry.k8s.io: ['http://{SERVER}'], docker.io: ['http://{SERVER}']}}",
        f"  ntp: [{time_server}]",
        "  kubeadm:",
        f"    ignore_preflight_errors: [{', '.join(ignored)}]",
    ]


def ssh_lines(user: str, directory: Path, password: bool, sudo_password: bool) -> list[str]:
    """The section ``ssh``, with the key that the lab made in its folder."""
    sudo = "none" if user == "root" else "password" if sudo_password else "passwordless"
    lines = [
        "ssh:",
        f"  user: {user}",
        f"  key: {home_relative(directory / 'id_ed25519')}",
        f"  known_hosts: {home_relative(directory / 'known_hosts')}",
        f"  sudo: {sudo}",
    ]
    if password:
        lines.append("  password: ${env:KB_SSH_PASSWORD}")
    if sudo_password:
        lines.append("  sudo_password: ${env:KB_SUDO_PASSWORD}")
    return lines


def role(name: str) -> str:
    """The role of a lab's host."""
    return CONTROL_PLANE_ROLE if name.startswith("cp") else "worker"


def write(path: Path, made: str) -> None:
    """Write an inventory to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(made, encoding="utf-8")
