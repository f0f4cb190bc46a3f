"""Which packets pass between pods: the addresses of Services, and what a client in a pod or on a host is told.

No packet is sent. What decides is what decides on real hosts: whether both hosts are up, whether their firewalls let
the tunnel's UDP port and the NodePorts pass, and what a device between them drops (the fault ``drop-udp``).
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
from collections.abc import Iterator
from typing import Any

from kbootstrap_lab.simulated.fakes import cluster
from kbootstrap_lab.simulated.fakes.cluster import CLUSTERS, State, flannel, host_serves, load, pods
from kbootstrap_lab.simulated.fakes.common import HOST, LAB, Failed, allowed, connect, read

Object = dict[str, Any]

NO_ANSWER = "no answer within 5 s"
"""What the client says when packets are dropped. Nobody waits for it here."""


# --- Services --------------------------------------------------------------------------------------------------------


def give_addresses(state: State, service: Object) -> None:
    """Give a new Service its ClusterIP and, if it has that type, its NodePorts, as the API server does."""
    number = int(hashlib.sha256(json.dumps(service["metadata"], sort_keys=True).encode()).hexdigest()[:8], 16)
    network = ipaddress.ip_network(state["service_cidr"])
    spec = service["spec"]
    spec.setdefault("clusterIP", str(network[100 + number % (network.num_addresses - 200)]))
    if spec.get("type") == "NodePort":
        for index, port in enumerate(spec["ports"]):
            port.setdefault("nodePort", 30000 + (number + index) % 2768)


def _services(state: State) -> Iterator[Object]:
    return (entry["object"] for key, entry in state["objects"].items() if key.startswith("Service/"))


def _endpoints(state: State, service: Object) -> list[Object]:
    meta, wanted = service["metadata"], service["spec"].get("selector", {})
    return [
        pod
        for pod in pods(state)
        if pod["metadata"]["namespace"] == meta["namespace"]
        and all(pod["metadata"]["labels"].get(key) == value for key, value in wanted.items())
        and _ready(pod)
    ]


def _ready(pod: Object) -> bool:
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"]["conditions"])


def answer_of_node_port(address: str, port: int) -> str:
    """What a client on this host gets at a NodePort. Raises Failed with curl's messages."""
    where, directory = f"curl: (7) Failed to connect to {address} port {port}: ", f"{LAB}/net/{address}"
    closed = address != HOST["IP"] and not allowed(f"{directory}/firewall", port)
    if closed or not os.path.exists(f"{directory}/name") or os.path.exists(f"{directory}/down"):
        raise Failed(where + "No route to host", 7)
    if not os.path.exists(f"{directory}/listen/10256"):  # kube-proxy
        raise Failed(where + "Connection refused", 7)
    for state, service in _everywhere():
        if any(each.get("nodePort") == port for each in service["spec"].get("ports", [])):
            for pod in _endpoints(state, service):
                if pod["status"]["hostIP"] == address:
                    return _said_by(pod)
    raise Failed(where + "Connection refused", 7)


def _everywhere() -> Iterator[tuple[State, Object]]:
    for name in os.listdir(CLUSTERS) if os.path.isdir(CLUSTERS) else []:
        if name.endswith(".json"):
            state = load(name.removesuffix(".json"))
            yield from ((state, service) for service in _services(state))


def _said_by(pod: Object) -> str:
    """The answer of a pod that serves with netcat: it says its variable NODE."""
    variables = {entry["name"]: entry.get("value", "") for entry in pod["spec"]["containers"][0].get("env", [])}
    return f"kbootstrap {variables.get('NODE', '')}\n"


# --- packets ---------------------------------------------------------------------------------------------------------


def passes(state: State, source: str, target: str) -> bool:
    """Whether a packet from a pod of one node reaches a pod of the other, and the answer comes back."""
    one, other = state["nodes"][source], state["nodes"][target]
    if source == target:
        return True
    if not (host_serves(one["ip"], 10250, state["id"]) and host_serves(other["ip"], 10250, state["id"])):
        return False
    port = _tunnel(state)
    return port is None or (_lets_in(other["ip"], one["ip"], port) and _lets_in(one["ip"], other["ip"], port))


def _tunnel(state: State) -> int | None:
    """The UDP port of the pod network's tunnel; None without a tunnel."""
    config = state["objects"].get("ConfigMap/kube-flannel/kube-flannel-cfg")
    if flannel(state) is None or config is None:
        return None
    backend = json.loads(config["object"]["data"]["net-conf.json"])["Backend"]
    return backend.get("Port", 8472) if backend["Type"] == "vxlan" else None


def _lets_in(host: str, sender: str, port: int) -> bool:
    dropped = read(f"{LAB}/net/{host}/drop-udp").split()
    return str(port) not in dropped and allowed(f"{LAB}/net/{host}/firewall", port, "udp", sender)


# --- a client in a pod -----------------------------------------------------------------------------------------------


def ask(state: State, pod: Object, program: list[str], lines: list[str]) -> list[str] | None:
    """What kbootstrap's client in a pod prints for the places on its standard input. None: not that client."""
    if program[:2] != ["sh", "-c"] or "wget -q -O -" not in program[2] or len(program) != 6:
        return None
    found = []
    for kind, target, place in (line.split() for line in lines if line.count(" ") == 2):
        found.append(f"{program[5]} {kind} {target} {_reached(state, pod, place)}")
    return found


def _reached(state: State, pod: Object, place: str) -> str:
    host, _, port = place.partition(":")
    source = pod["spec"]["nodeName"]
    if not re.fullmatch(r"[\d.]+", host):
        service = _named(state, source, host)
        if service is None:
            return f"wget: bad address '{place}'"
        host = service["spec"]["clusterIP"]
    for service in _services(state):
        if service["spec"].get("clusterIP") == host:
            return _through_service(state, source, service, f"{host}:{port}")
    there = [other for other in pods(state) if other["status"].get("podIP") == host and _ready(other)]
    if not there or not passes(state, source, there[0]["spec"]["nodeName"]):
        return NO_ANSWER
    return "ok"


def _named(state: State, source: str, name: str) -> Object | None:
    """The Service of a full name, if a pod of CoreDNS answers."""
    dns = [pod for pod in pods(state) if pod["metadata"]["labels"].get("k8s-app") == "kube-dns" and _ready(pod)]
    if not any(passes(state, source, pod["spec"]["nodeName"]) for pod in dns):
        return None
    for service in _services(state):
        meta = service["metadata"]
        if name.startswith(f"{meta['name']}.{meta['namespace']}.svc."):
            return service
    return None


def _through_service(state: State, source: str, service: Object, place: str) -> str:
    if "kube-proxy" in state.get("skipped", []):
        return NO_ANSWER
    endpoints = _endpoints(state, service)
    if not endpoints:
        return f"wget: can't connect to remote host ({place.partition(':')[0]}): Connection refused"
    return "ok" if any(passes(state, source, pod["spec"]["nodeName"]) for pod in endpoints) else NO_ANSWER


def exec_channel(state: State, pod: Object) -> None:
    """Check that the API server reaches the kubelet of a pod. Raises Failed, as kubectl says it."""
    address = cluster.load(state["id"])["nodes"][pod["spec"]["nodeName"]]["ip"]
    try:
        connect(address, 10250)
    except Failed as failed:
        raise Failed(f"Error from server: error dialing backend: {failed.text}") from None
