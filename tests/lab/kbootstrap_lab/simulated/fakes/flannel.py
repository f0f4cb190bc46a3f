"""When Flannel comes up on a node, in the order of the real one: flanneld, its subnet file, the CNI configuration.

The times are shorter than the real ones, and in proportion: flanneld waits 30 seconds for an address that nobody
answers, looks at the nodes for about one second, and the kubelet tries a failed sandbox again after 10 to 15 seconds.
"""

from __future__ import annotations

from typing import Any, NamedTuple

Object = dict[str, Any]

PODS_SECONDS = 0.4
"""From the scheduling of a pod to its running state."""
RULES_SECONDS = 0.2
"""kube-proxy's, until its rules lead from the Service of the API server to the API server."""
DIAL_SECONDS = 1.6
"""After which flanneld gives up an address that nobody answers, and is started again."""
SYNC_SECONDS = 0.2
"""flanneld's, from the API server's first answer to the subnet file."""
SANDBOX_SECONDS = 2.0
"""Until the kubelet tries again to start a pod whose CNI plugin failed."""

PLACE = "/etc/cni/net.d/10-flannel.conflist"
SUBNET = "/run/flannel/subnet.env"


class Start(NamedTuple):
    """When things are there, in seconds since the epoch. None: never, with this manifest."""

    runs: float
    subnet: float | None
    configuration: float | None
    restarts: int = 0


def start(daemon: Object, scheduled: float, proxy_started: float | None) -> Start:
    """How Flannel starts from this DaemonSet. ``proxy_started``: kube-proxy's pod; None where there is none."""
    pod = daemon["spec"]["template"]["spec"]
    main = pod["containers"][0]
    runs = scheduled + PODS_SECONDS
    subnet: float | None = runs + SYNC_SECONDS
    restarts = 0
    if not _names_a_server(main):
        rules = None if proxy_started is None else proxy_started + PODS_SECONDS + RULES_SECONDS
        restarts = 0 if rules is not None and rules <= runs else 1
        subnet = None if rules is None else max(runs + restarts * DIAL_SECONDS, rules) + SYNC_SECONDS
    return Start(runs, subnet, _configured(pod, main, runs, subnet), restarts)


def _names_a_server(container: Object) -> bool:
    """Whether its environment replaces the address of the API server's Service."""
    return any(each["name"] == "KUBERNETES_SERVICE_HOST" and each.get("value") for each in container.get("env", []))


def _configured(pod: Object, main: Object, runs: float, subnet: float | None) -> float | None:
    """When the manifest puts the CNI configuration in place."""
    if any(_writes(_words(each)) for each in pod.get("initContainers", [])):
        return runs
    hook = " ".join(main.get("lifecycle", {}).get("postStart", {}).get("exec", {}).get("command", []))
    if not _writes(hook):
        return None
    return subnet if SUBNET in hook else runs


def _words(container: Object) -> str:
    return " ".join([*container.get("command", []), *container.get("args", [])])


def _writes(command: str) -> bool:
    return "cp " in command and PLACE in command


def withdraws(daemon: Object) -> bool:
    """Whether an init container removes a CNI configuration of before the boot."""
    pod = daemon["spec"]["template"]["spec"]
    return any(f"rm -f {PLACE}" in _words(each) for each in pod.get("initContainers", []))
