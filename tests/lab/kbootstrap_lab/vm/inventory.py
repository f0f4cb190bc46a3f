"""Writes the inventory of a lab of machines. It sets only what differs from hosts with internet access."""

from __future__ import annotations

from pathlib import Path

from kbootstrap_lab.backend import CONTROL_PLANE_ROLE
from kbootstrap_lab.containers import SERVER, fingerprint
from kbootstrap_lab.containers.artifacts import KUBERNETES
from kbootstrap_lab.state import home_relative
from kbootstrap_lab.vm.labs import Lab
from kbootstrap_lab.vm.network import GATEWAY

IGNORED = ("FileExisting-crictl",)
"""kubeadm's preflight errors to ignore: crictl is a stand-in."""


def text(lab: Lab, password: bool, sudo_password: bool) -> str:
    """The inventory as YAML. It has no passwords, only the environment variables that they are read from."""
    sudo = "none" if lab.user == "root" else "password" if sudo_password else "passwordless"
    key = fingerprint()
    lines = [
        "# Written by `kbootstrap lab up --backend vm`: virtual machines with real kubeadm (docs/lab.md).",
        "cluster:",
        f"  name: {lab.name}",
        f'  kubernetes: "{KUBERNETES}"',
        "  # The lab has a package server of its own, laid out as pkgs.k8s.io and download.docker.com are.",
        f"  package_repository: http://{SERVER}",
        f"  package_key: {key}",
        "  runtime:",
        f"    package_repository: http://{SERVER}",
        f"    package_key: {key}",
        "    # No registry is there: crictl's stand-in fetches archives from the package server.",
        f"    mirrors: {{registry.k8s.io: ['http://{SERVER}'], docker.io: ['http://{SERVER}']}}",
        f"  ntp: [{GATEWAY}]",
        "  kubeadm:",
        f"    ignore_preflight_errors: [{', '.join(IGNORED)}]",
        "",
        "ssh:",
        f"  user: {lab.user}",
        f"  key: {home_relative(lab.directory / 'id_ed25519')}",
        f"  known_hosts: {home_relative(lab.directory / 'known_hosts')}",
        f"  sudo: {sudo}",
    ]
    if lab.accelerator == "tcg":
        lines += ["  # Without KVM a machine is twenty times slower than this one.", "  connect_timeout: 60"]
        lines.append("  command_timeout: 1800")
    if password:
        lines.append("  password: ${env:KB_SSH_PASSWORD}")
    if sudo_password:
        lines.append("  sudo_password: ${env:KB_SUDO_PASSWORD}")
    lines += [
        "",
        "# The operator comes through a forwarded port, the machines reach each other in a network of their own.",
    ]
    lines.append("hosts:")
    for host in lab.hosts:
        role = CONTROL_PLANE_ROLE if host.name.startswith("cp") else "worker"
        lines.append(
            f"  - {{name: {host.name}, address: {host.address}, ssh: {{port: {host.port}}},"
            f" internal_address: {host.internal_address}, role: {role}}}"
        )
    return "\n".join(lines) + "\n"


def write(path: Path, lab: Lab, password: bool, sudo_password: bool) -> None:
    """Write the inventory to ``path``."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text(lab, password, sudo_password), encoding="utf-8")
