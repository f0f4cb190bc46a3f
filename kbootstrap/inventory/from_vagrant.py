"""Hosts from the output of `vagrant ssh-config`."""

from __future__ import annotations

import ipaddress

from kbootstrap.inventory.generate import NewHost, checked, port

VAGRANT_FIRST = ipaddress.IPv4Address("192.168.56.10")
"""The first machine's address on the private network of scripts/vagrant/Vagrantfile. The other addresses follow it."""


def from_vagrant(text: str, control_planes: int = 1) -> list[NewHost]:
    """Hosts from the output of `vagrant ssh-config`; the first ``control_planes`` of them are control plane hosts.

    VirtualBox forwards a port of 127.0.0.1 to each machine, and Vagrant does not show the machine's own address. We
    assume the address that scripts/vagrant/Vagrantfile sets. Preflight reports a wrong address.
    """
    sections: list[dict[str, str]] = []
    for line in text.splitlines():
        key, _, value = line.strip().partition(" ")
        if key.lower() == "host":
            sections.append({"name": value.strip()})
        elif sections and value:
            sections[-1].setdefault(key.lower(), value.strip().strip('"'))
    hosts = [
        NewHost(
            section["name"],
            section.get("hostname", section["name"]),
            index < control_planes,
            section.get("user", ""),
            port(section.get("port", "22")),
            section.get("identityfile", ""),
            str(VAGRANT_FIRST + index) if section.get("hostname", "").startswith("127.") else "",
            section.get("stricthostkeychecking") == "no",
        )
        for index, section in enumerate(sections)
    ]
    return checked(hosts, control_planes)
