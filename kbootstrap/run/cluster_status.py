"""The cluster as its API server sees it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from kbootstrap import versions
from kbootstrap.errors import KbootstrapError
from kbootstrap.inventory.models import Inventory
from kbootstrap.run.options import Control, Options
from kbootstrap.run.run import Run
from kbootstrap.run.workflow import STATUS, Workflow

MAX_ROWS = 20_000
MAX_FIELD = 300
"""Longest field that is shown, in characters. A node's name has at most 253."""


@dataclass(frozen=True)
class NodeStatus:
    """A node as the API server sees it; ``reason`` is why it is not Ready, or another problem of it.

    ``os``, ``kernel`` and ``runtime`` are what its kubelet reports.
    """

    name: str
    address: str
    role: str
    ready: bool
    version: str
    reason: str = ""
    os: str = ""
    kernel: str = ""
    runtime: str = ""
    in_inventory: bool = True


@dataclass(frozen=True)
class ClusterStatus:
    """The data of ``kbootstrap status``. ``missing`` are the inventory's hosts that are not nodes."""

    nodes: tuple[NodeStatus, ...]
    missing: tuple[str, ...]
    pods_not_running: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.missing and not self.pods_not_running and all(node.ready for node in self.nodes)


def read_status(inventory: Inventory, options: Options, control: Control) -> ClusterStatus:
    """Ask the API server through the first control plane host. Raises KbootstrapError when it does not answer."""
    run = _run_on_first_control_plane("status", inventory, options, control)
    facts = run.state.facts.get(inventory.first_control_plane.name)
    api_server = versions.exact(facts.apiserver_version) if facts else None
    clean = control.redactor.clean
    ours = {host.name for host in inventory.hosts}
    nodes = (_node_status(row, api_server) for row in _rows(clean(_found(run, "nodes"))))
    found = {node.name: replace(node, in_inventory=node.name in ours) for node in nodes}
    ordered = [found.pop(host.name) for host in inventory.hosts if host.name in found]
    names = {node.name for node in ordered}
    return ClusterStatus(
        nodes=(*ordered, *found.values()),
        missing=tuple(host.name for host in inventory.hosts if host.name not in names),
        pods_not_running=tuple(text for row in _rows(clean(_found(run, "pods"))) if (text := _pod_trouble(row))),
    )


def read_kubeconfig(inventory: Inventory, options: Options, control: Control) -> str:
    """The administrator's kubeconfig, read from the first control plane host. Raises KbootstrapError."""
    return _found(_run_on_first_control_plane("kubeconfig", inventory, options, control), "kubeconfig")


def _run_on_first_control_plane(name: str, inventory: Inventory, options: Options, control: Control) -> Run:
    first = inventory.first_control_plane.name
    workflow: Workflow = replace(STATUS, name=name)
    run = Run(workflow, "plan", inventory, replace(options, limit=(first,)), control, lambda _event: None)
    ended = run.execute()
    failure = ended.hosts[first].failure
    if failure is not None:
        error = KbootstrapError(failure.message, failure.hint)
        error.exit_code = ended.exit_code
        raise error
    return run


def _found(run: Run, name: str) -> str:
    outputs = run.state.outputs
    found = {"nodes": outputs.nodes, "pods": outputs.pods}.get(name)
    if name == "kubeconfig" and outputs.kubeconfig is not None:
        found = outputs.kubeconfig.reveal()
    if found is None:
        raise KbootstrapError(
            f"{run.inventory.first_control_plane.name}: the API server does not answer (no {name})",
            "If there is no cluster yet, run `kbootstrap up`. Otherwise run `journalctl -u kubelet` and `crictl ps -a`"
            " on this host. [api-server]",
        )
    return found


def _rows(text: str) -> list[str]:
    return [row for row in text.split("\n", MAX_ROWS)[:MAX_ROWS] if row]


def _fields(row: str, count: int) -> list[str]:
    """The tab-separated fields of a row from the host, exactly ``count`` of them."""
    fields = [field[:MAX_FIELD] for field in row.split("\t", count - 1)]
    return fields + [""] * (count - len(fields))


def _node_status(row: str, api_server: str | None) -> NodeStatus:
    """A row of ``nodes`` in shell/lib/cluster.sh."""
    name, ready, version, address, labels, reason, system, kernel, runtime = _fields(row, 9)
    control_plane = any(f"node-role.kubernetes.io/{role}" in labels for role in ("control-plane", "master"))
    trouble = _skew(version, api_server) if ready == "True" else reason or "the node sends no status"
    return NodeStatus(
        name=name,
        address=address,
        role="control plane" if control_plane else "worker",
        ready=ready == "True",
        version=version,
        reason=trouble,
        os=system,
        kernel=kernel,
        runtime=runtime,
    )


def _skew(kubelet: str, api_server: str | None) -> str:
    """The problem between the versions of a kubelet and the API server; empty if there is none."""
    exact = versions.exact(kubelet)
    if exact is None or api_server is None:
        return ""
    if versions.kubelet_skew_ok(versions.parse(exact)[0], versions.parse(api_server)[0]):
        return ""
    return f"kubelet {exact} is not compatible with API server {api_server} (version skew policy)"


def _pod_trouble(row: str) -> str:
    """Why a pod (a row of ``pods`` in shell/lib/cluster.sh) is not running; empty if it runs."""
    namespace, name, phase, ready, owner, reason, message, _node = _fields(row, 8)
    if phase == "Succeeded" or (phase == "Running" and ("false" not in ready or owner == "Node")):
        return ""
    return f"{namespace}/{name}: {phase}, {reason or 'not ready'}" + (f": {message}" if message else "")
