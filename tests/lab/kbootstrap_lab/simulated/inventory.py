"""The inventory of a lab."""

from __future__ import annotations

from kbootstrap_lab.backend import CONTROL_PLANE_ROLE
from kbootstrap_lab.simulated import Lab
from kbootstrap_lab.simulated.distributions import DISTRIBUTIONS
from kbootstrap_lab.state import home_relative

KUBERNETES_KEY = "DECDF6A6B09837F48E1CC9C6C3C03A77D90EF796"
DOCKER_KEY = "EF238DBD780E521BBE93554FE990407F60C3414D"
"""Fingerprints of the signing keys of the simulated internet's package repositories (files in ``keyring/``)."""


def text(
    lab: Lab,
    user: str,
    password: bool,
    sudo_password: bool,
    methods: tuple[str, ...] = (),
    kubernetes: str | None = None,
) -> str:
    """The inventory as YAML. It has no passwords, only the environment variables that they are read from."""
    newest = (DISTRIBUTIONS[host.distribution].newest_kubernetes for host in lab.hosts)
    oldest = min(newest, key=lambda version: int(version.partition(".")[2]))
    lines = [
        "# Written by `kbootstrap lab up`: simulated hosts on this machine. `kbootstrap lab down` removes them again.",
        "# They have no API server: kubectl cannot talk to them.",
        "cluster:",
        f"  name: {lab.name}",
        f'  kubernetes: "{kubernetes or oldest}"',
        "  # The simulated internet signs its packages with keys of its own.",
        f"  package_key: ['{KUBERNETES_KEY}']",
        "  runtime:",
        f"    package_key: ['{DOCKER_KEY}']",
        "",
        "ssh:",
        f"  user: {user}",
        f"  port: {lab.hosts[0].port}",
    ]
    if not methods or "publickey" in methods:
        lines.append(f"  key: {home_relative(lab.directory / 'id_ed25519')}")
    if password:
        lines.append("  password: ${env:KB_SSH_PASSWORD}")
    lines.append(f"  known_hosts: {home_relative(lab.directory / 'known_hosts')}")
    lines.append(f"  sudo: {'none' if user == 'root' else 'password' if sudo_password else 'passwordless'}")
    if sudo_password:
        lines.append("  sudo_password: ${env:KB_SUDO_PASSWORD}")
    lines += ["", "hosts:"]
    for host in lab.hosts:
        lines += [
            f"  - name: {host.name}",
            f"    address: {host.address}",
            f"    internal_address: {host.internal_address}",
            f"    role: {CONTROL_PLANE_ROLE if host.name.startswith('cp') else 'worker'}",
        ]
    return "\n".join(lines) + "\n"
