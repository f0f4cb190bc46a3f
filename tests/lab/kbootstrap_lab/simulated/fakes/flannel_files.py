"""The effects of Flannel's DaemonSet on a host: CNI plugin, CNI configuration, subnet file, VXLAN interface."""

from __future__ import annotations

import ipaddress
import json
import os
import time

from kbootstrap_lab.simulated.fakes import cluster, flannel
from kbootstrap_lab.simulated.fakes.common import HOST, read, run_main, write

LINKS = "/run/sim/links"


def main(command: str, argv: list[str]) -> int:
    return run_main(_main, command, argv)


def _main(_command: str, _argv: list[str]) -> int:
    """Write what the pod writes, when its time has come. Does nothing when no pod runs here."""

    deadline = time.monotonic() + 8
    while time.monotonic() < deadline:
        identity = read("/var/lib/sim/cluster").strip()
        if not identity or not cluster.exists(identity):
            return 0
        state = cluster.load(identity)
        node, daemon = cluster.local_node(state), cluster.flannel(state)
        if node is None or daemon is None or not cluster.kubelet_answers(state, node):
            return 0
        if _advance(state, node, daemon["object"]):
            return 0
        time.sleep(0.1)
    return 0


def _advance(state: cluster.State, node: cluster.State, daemon: cluster.State) -> bool:
    """Write what is due. Returns whether nothing more will come."""
    begin, problem = cluster.network_start(state, node), cluster.network_problem(state, node)
    if begin is None or time.time() < begin.runs:
        return False
    if flannel.withdraws(daemon) and not os.path.exists(flannel.SUBNET) and os.path.exists(flannel.PLACE):
        os.unlink(flannel.PLACE)
    if cluster.cni_ready(state, node):
        _keep(flannel.PLACE, _config(state)["cni-conf.json"])
        _keep("/opt/cni/bin/flannel", "flannel: a CNI plugin\n", 0o755)
    if problem is None:
        _write(node, _config(state))
        return True
    # A crash with a restart still to come is over when the Service's rules are there.
    return problem[0] != "ContainerCreating" and not (begin.restarts and begin.subnet)


def _config(state: cluster.State) -> dict[str, str]:
    found: dict[str, str] = state["objects"]["ConfigMap/kube-flannel/kube-flannel-cfg"]["object"]["data"]
    return found


def _write(node: cluster.State, config: dict[str, str]) -> None:
    network = ipaddress.ip_network(node["pod_cidr"])
    net = json.loads(config["net-conf.json"])
    gateway = next(network.hosts())
    _keep(
        flannel.SUBNET,
        f"FLANNEL_NETWORK={net['Network']}\nFLANNEL_SUBNET={gateway}/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=true\n",
    )
    lines = [f"4 cni0 {gateway}/24 {_mac(2)}"]
    if net.get("Backend", {}).get("Type", "vxlan") == "vxlan":
        lines.insert(0, f"3 flannel.1 {network.network_address}/32 {_mac(1)}")
    _keep(LINKS, "".join(line + "\n" for line in lines))
    for table in ("filter", "nat"):
        _keep(f"/run/sim/iptables/iptables-{table}", "".join(_with_rules(table)))
    for line in lines:
        _number, name, _address, mac = line.split()
        _keep(f"/sys/class/net/{name}/address", mac + "\n")


def _with_rules(table: str) -> list[str]:
    """The table with the chains of kube-proxy and Flannel. Other rules stay."""
    hook = {"filter": "FORWARD", "nat": "POSTROUTING"}[table]
    chains = {"filter": ("KUBE-FORWARD", "FLANNEL-FWD"), "nat": ("KUBE-POSTROUTING", "FLANNEL-POSTRTG")}[table]
    mine = [f"-N {chain}\n" for chain in chains]
    mine += [f"-A {hook} -m comment --comment {chain.lower()} -j {chain}\n" for chain in chains]
    mine += [f"-A {chain} -j ACCEPT\n" for chain in chains]
    there = read(f"/run/sim/iptables/iptables-{table}").splitlines(keepends=True)
    return [line for line in there if line not in mine] + mine


def _mac(number: int) -> str:
    last = HOST["IP"].split(".")
    return f"0a:58:{int(last[2]):02x}:{int(last[3]):02x}:00:{number:02x}"


def _keep(path: str, text: str, mode: int = 0o644) -> None:
    """Write a file only when it is missing or differs, so that an equal file keeps its modification time."""
    if read(path) != text:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        write(path, text, mode)
