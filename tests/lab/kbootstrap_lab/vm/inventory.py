"""The inventory of a lab of machines. It sets only what differs from hosts with internet access."""

from __future__ import annotations

from kbootstrap_lab.containers.inventory import cluster_lines, role, ssh_lines
from kbootstrap_lab.vm.labs import Lab
from kbootstrap_lab.vm.network import GATEWAY

IGNORED = ("FileExisting-crictl",)
"""kubeadm's preflight errors to ignore: crictl is a stand-in."""


def text(lab: Lab, password: bool, sudo_password: bool) -> str:
    """The inventory as YAML. It has no passwords, only the environment variables that they are read from."""
    lines = [
        "# Written by `kbootstrap lab up --backend vm`: virtual machines with real kubeadm.",
        *cluster_lines(lab.name, GATEWAY, IGNORED),
        "",
        *ssh_lines(lab.user, lab.directory, password, sudo_password),
    ]
    if lab.accelerator == "tcg":
        lines += ["  # Without KVM a machine is twenty times slower than this one.", "  connect_timeout: 60"]
        lines.append("  command_timeout: 1800")
    lines += [
        "",
        "# The operator comes through a forwarded port, the machines reach each other in a network of their own.",
        "hosts:",
    ]
    for host in lab.hosts:
        lines.append(
            f"  - {{name: {host.name}, address: {host.address}, ssh: {{port: {host.port}}},"
            f" internal_address: {host.internal_address}, role: {role(host.name)}}}"
        )
    return "\n".join(lines) + "\n"
