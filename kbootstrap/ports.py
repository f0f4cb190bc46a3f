"""The ports Kubernetes uses, in one table for preflight, the firewall and the kubeadm documents.

Source: https://kubernetes.io/docs/reference/networking/ports-and-protocols/. A control plane host runs a kubelet and a
kube-proxy like every node, so it has the ports of a worker as well.
"""

from __future__ import annotations

from collections.abc import Collection

API_SERVER = 6443
"""The port of the API server."""
NODE_PORTS = range(30000, 32768)
"""NodePorts of Services. A NodePort is in use only when a Service has it."""

_WORKER = (10250, 10256)
_CONTROL_PLANE = (API_SERVER, 2379, 2380, 10250, 10256, 10257, 10259)


def listening(*, control_plane: bool) -> tuple[int, ...]:
    """The TCP ports that the components of a node listen on."""
    return _CONTROL_PLANE if control_plane else _WORKER


def firewall(*, control_plane: bool) -> tuple[str, ...]:
    """The ports to open in a node's firewall, in the format of ``firewall-cmd --add-port``."""
    node_ports = f"{NODE_PORTS.start}-{NODE_PORTS.stop - 1}"
    ports = [f"{port}/tcp" for port in _joined(listening(control_plane=control_plane))]
    return (*ports, f"{node_ports}/tcp", f"{node_ports}/udp")


def _joined(ports: Collection[int]) -> list[str]:
    """Join adjacent ports into ranges: 2379-2380."""
    ranges: list[list[int]] = []
    for port in sorted(ports):
        if ranges and ranges[-1][1] == port - 1:
            ranges[-1][1] = port
        else:
            ranges.append([port, port])
    return [str(first) if first == last else f"{first}-{last}" for first, last in ranges]
