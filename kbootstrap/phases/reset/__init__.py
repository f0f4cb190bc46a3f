"""Takes hosts out of the cluster and puts back what was there before kbootstrap.

Four phases: the cluster is told first (``drain``), the hosts leave it (``reset``), the cluster forgets them
(``forget``), and the hosts get back what they had (``restore``). The cluster is only told where it stays: where at
least one control plane host takes no part in the reset.
"""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.kubernetes import kubeadm
from kbootstrap.phases.common import control_plane_hosts, every_host
from kbootstrap.phases.phase import Context, Pairs, Phase
from kbootstrap.steps import Step

DRAIN_SECONDS = 300
"""Longest wait for the pods of one node to end: ten times their usual grace period."""


def staying_control_plane(inventory: Inventory, leaving: frozenset[str]) -> Host | None:
    """The control plane host that acts for the cluster; None where no control plane host stays."""
    return next((host for host in inventory.control_planes if host.name not in leaving), None)


def _nodes_to_notify(context: Context, host: Host) -> list[Host]:
    """The hosts whose leaving this control plane host tells the cluster; those that cannot be reset do not leave."""
    if staying_control_plane(context.inventory, context.leaving) != host:
        return []
    return [other for other in _leaving_order(context.inventory) if other.name in context.leaving - context.lost]


def _leaving_order(inventory: Inventory) -> list[Host]:
    """Workers first, the first control plane host last."""
    return [host for host in inventory.hosts if not host.is_control_plane] + list(reversed(inventory.control_planes))


# --- drain, forget ---------------------------------------------------------------------------------------------------


def _drain_steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            f"drain-{other.name}",
            f"Drain {other.name}",
            "reset/drain.sh",
            why="Its pods are ended in order, and started again on the nodes that stay, before the host leaves.",
            libraries=("cluster",),
            params={"NODE_NAME": other.name, "SECONDS_TO_WAIT": str(DRAIN_SECONDS)},
            timeout=DRAIN_SECONDS + 60,
        )
        for other in _nodes_to_notify(context, host)
    ]


def forget_step(host: Host, node: Host) -> Step:
    """Removes what ``node`` left behind in the cluster of ``host``; `up` has it too, for a join that broke off."""
    return Step(
        f"forget-{node.name}",
        f"Remove {node.name} from the cluster's records",
        "reset/forget.sh",
        why="A node object without a host stays NotReady for ever; a stale etcd member counts for etcd's majority.",
        libraries=("cluster",),
        params={"NODE_NAME": node.name, "ADDRESS": node.node_ip, "SELF": host.name},
    )


def _forget_steps(context: Context, host: Host) -> list[Step]:
    return [forget_step(host, other) for other in _nodes_to_notify(context, host)]


def _after_reset(inventory: Inventory, host: Host) -> Pairs:
    return [("reset", other.name) for other in inventory.hosts]


DRAIN = Phase(
    "drain",
    "Drain the nodes that leave",
    "Where the cluster stays, other nodes take over the pods; where the whole cluster goes, nothing is drained.",
    hosts=control_plane_hosts,
    steps=_drain_steps,
    cluster_scoped=True,
)
FORGET = Phase(
    "forget",
    "Remove the nodes that left",
    "Where the cluster stays, it keeps no trace of a host that left.",
    hosts=control_plane_hosts,
    steps=_forget_steps,
    after=_after_reset,
    cluster_scoped=True,
)

# --- reset -----------------------------------------------------------------------------------------------------------


def _reset_steps(context: Context, host: Host) -> list[Step]:
    return [
        Step(
            "kubeadm",
            "Take the host out of its cluster (kubeadm reset)",
            "reset/kubeadm.sh",
            why="Pods, certificates, etcd's data and the kubelet's state go; an etcd member leaves its cluster first.",
            libraries=("cleanup",),
            params={"CRI_SOCKET": kubeadm.CRI_SOCKET},
            timeout=900,
        ),
        Step(
            "network",
            "Remove the pod network",
            "reset/network.sh",
            why="kubeadm leaves interfaces and files, and the next cluster's pods would get addresses of this one.",
            libraries=("cleanup",),
        ),
        Step(
            "rules",
            "Remove the packet filter rules of Kubernetes",
            "reset/rules.sh",
            why="kubeadm leaves them behind, and they send traffic to Services that are gone.",
            libraries=("cleanup",),
        ),
    ]


def _needs_drain(inventory: Inventory, host: Host) -> Pairs:
    return [("drain", other.name) for other in inventory.control_planes]


def _after_workers(inventory: Inventory, host: Host) -> Pairs:
    """Workers side by side, then control plane hosts one after the other: etcd lets one member go at a time."""
    if not host.is_control_plane:
        return []
    order = _leaving_order(inventory)
    return [("reset", other.name) for other in order[: order.index(host)]]


PHASE = Phase(
    "reset",
    "Leave the cluster",
    "kubeadm reset, and everything of the cluster that it does not clean up.",
    hosts=every_host,
    steps=_reset_steps,
    requires=_needs_drain,
    after=_after_workers,
)

# --- restore ---------------------------------------------------------------------------------------------------------


def _restore_steps(context: Context, host: Host) -> list[Step]:
    settings = [] if context.keep_settings else _settings_steps(context)
    return [*_software_steps(context), *settings, _state_step(context)]


def _software_steps(context: Context) -> list[Step]:
    return [
        Step(
            "kubeconfig",
            "Put the SSH user's kubeconfig back",
            "reset/kubeconfig.sh",
            why="Its credentials are for a cluster that is gone.",
            libraries=("restore",),
        ),
        Step(
            "containerd",
            "Put containerd's configuration back",
            "reset/containerd.sh",
            why="What used containerd before goes on with it as it was.",
            libraries=("restore",),
        ),
        Step(
            "packages",
            "Remove the packages that came" if context.purge else "Turn the kubelet off, remove the repositories",
            "reset/packages.sh",
            why="A repository and a key that nobody needs are no longer trusted; packages go only when asked for.",
            libraries=("cleanup", "os", "restore", "state"),
            params={"PURGE": "1" if context.purge else "0"},
            timeout=1800,
        ),
    ]


def _settings_steps(context: Context) -> list[Step]:
    """What undoes `prepare`, in the opposite order of its dependencies."""
    steps = (
        ("time", "Put the time service back", "The clock is kept by what kept it before.", ("restore", "state")),
        (
            "kernel",
            "Put the kernel's settings back",
            "A host that is no node any more should not forward packets.",
            ("restore", "state"),
        ),
        (
            "selinux",
            "Put SELinux back as it was",
            "It protects the host again as its owner wanted.",
            ("restore", "state"),
        ),
        (
            "firewall",
            "Put the firewall back as it was",
            "Ports that nothing listens on any more are closed.",
            ("files", "restore", "state"),
        ),
        ("swap", "Turn swap on again", "The host gets back the memory that its owner gave it.", ("restore", "state")),
        ("hosts", "Take the nodes out of /etc/hosts", "Names of nodes that are gone lead nowhere.", ("restore",)),
        ("hostname", "Give the host its old name back", "Others may know it by that name.", ("restore", "state")),
    )
    return [
        Step(
            name,
            title,
            f"reset/{name}.sh",
            why=why,
            params={"CLUSTER": context.inventory.cluster.name} if name == "hosts" else {},
            libraries=libraries,
        )
        for name, title, why, libraries in steps
    ]


def _state_step(context: Context) -> Step:
    return Step(
        "state",
        "Remove kbootstrap's own records",
        "reset/state.sh",
        why="Last of all: until here an interrupted reset can be run again.",
        params={"KEEP": "1" if context.keep_settings else "0"},
    )


RESTORE = Phase(
    "restore",
    "Put back what was there",
    "Files, services and settings as they were before kbootstrap, from its records on the host.",
    hosts=every_host,
    steps=_restore_steps,
)
