"""Removes hosts from the cluster and restores the state they had before kbootstrap.

Four phases: drain the nodes (``drain``), reset the hosts (``reset``), remove the nodes from the cluster (``forget``),
and restore the hosts' original state (``restore``). ``drain`` and ``forget`` run only if the cluster stays: if at least
one control plane host takes no part in the reset.
"""

from __future__ import annotations

from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.kubernetes import kubeadm
from kbootstrap.phases.common import control_plane_hosts, every_host
from kbootstrap.phases.phase import Context, Pairs, Phase
from kbootstrap.steps import Step

DRAIN_SECONDS = 300
"""Maximum wait for the pods of one node to end, in seconds: ten times the default grace period."""


def staying_control_plane(inventory: Inventory, leaving: frozenset[str]) -> Host | None:
    """The control plane host that acts for the cluster; None if no control plane host stays."""
    return next((host for host in inventory.control_planes if host.name not in leaving), None)


def _nodes_to_notify(context: Context, host: Host) -> list[Host]:
    """The leaving hosts that this control plane host drains and removes. Hosts that cannot be reset do not leave."""
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
            why="Its pods shut down cleanly and start again on the other nodes before the host leaves.",
            libraries=("cluster",),
            params={"NODE_NAME": other.name, "SECONDS_TO_WAIT": str(DRAIN_SECONDS)},
            timeout=DRAIN_SECONDS + 60,
        )
        for other in _nodes_to_notify(context, host)
    ]


def forget_step(host: Host, node: Host) -> Step:
    """The step that removes ``node`` from the cluster of ``host``. `up` also uses it, after an interrupted join."""
    return Step(
        f"forget-{node.name}",
        f"Remove {node.name} from the cluster",
        "reset/forget.sh",
        why="A node object without a host stays NotReady; a stale etcd member still counts for etcd's majority.",
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
    "Other nodes take over the pods. If the whole cluster is reset, nothing is drained.",
    hosts=control_plane_hosts,
    steps=_drain_steps,
    cluster_scoped=True,
)
FORGET = Phase(
    "forget",
    "Remove the nodes that left",
    "If the cluster stays, no node object or etcd member of a removed host is left.",
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
            "Remove the host from its cluster (kubeadm reset)",
            "reset/kubeadm.sh",
            why="This removes pods, certificates, etcd's data and kubelet state; an etcd member leaves etcd first.",
            libraries=("cleanup",),
            params={"CRI_SOCKET": kubeadm.CRI_SOCKET},
            timeout=900,
        ),
        Step(
            "network",
            "Remove the pod network",
            "reset/network.sh",
            why="kubeadm leaves interfaces and files; with them, pods of the next cluster would get old addresses.",
            libraries=("cleanup",),
            params={"POD_CIDR": str(context.inventory.cluster.pod_cidr)},
        ),
        Step(
            "rules",
            "Remove the packet filter rules of Kubernetes",
            "reset/rules.sh",
            why="kubeadm does not remove them, and they route traffic to Services that no longer exist.",
            libraries=("cleanup",),
        ),
    ]


def _needs_drain(inventory: Inventory, host: Host) -> Pairs:
    return [("drain", other.name) for other in inventory.control_planes]


def _after_workers(inventory: Inventory, host: Host) -> Pairs:
    """Workers in parallel, then control plane hosts one by one: etcd removes one member at a time."""
    if not host.is_control_plane:
        return []
    order = _leaving_order(inventory)
    return [("reset", other.name) for other in order[: order.index(host)]]


PHASE = Phase(
    "reset",
    "Leave the cluster",
    "Run kubeadm reset, and remove everything of the cluster that it leaves.",
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
            "Restore the SSH user's kubeconfig",
            "reset/kubeconfig.sh",
            why="Its credentials are for a cluster that no longer exists.",
            libraries=("home", "state"),
        ),
        Step(
            "containerd",
            "Restore containerd's configuration",
            "reset/containerd.sh",
            why="Other users of containerd get their original configuration back.",
            libraries=("restore",),
        ),
        Step(
            "packages",
            "Remove the packages that `up` installed"
            if context.purge
            else "Disable the kubelet and remove the repositories",
            "reset/packages.sh",
            why="The host no longer trusts the repositories and keys; only --purge removes packages.",
            libraries=("cleanup", "os", "restore", "state"),
            params={"PURGE": "1" if context.purge else "0"},
            timeout=1800,
        ),
    ]


def _settings_steps(context: Context) -> list[Step]:
    """The steps that undo `prepare`, in reverse order of its dependencies."""
    steps = (
        (
            "time",
            "Restore the time service",
            "The original time service sets the clock again.",
            ("restore", "services", "state"),
        ),
        (
            "pod-network",
            "Restore other network configurations",
            "Other CNI plugins and NetworkManager work as before.",
            ("restore",),
        ),
        (
            "kernel",
            "Restore the kernel settings",
            "A host that is no longer a node should not forward packets.",
            ("restore", "state"),
        ),
        (
            "selinux",
            "Restore the SELinux mode",
            "SELinux protects the host again as before.",
            ("restore", "state"),
        ),
        (
            "firewall",
            "Restore the firewall",
            "Ports that are no longer used are closed.",
            ("files", "restore", "state"),
        ),
        ("swap", "Turn swap on again", "The host can use its original swap space.", ("restore", "state")),
        ("hosts", "Remove the nodes from /etc/hosts", "The host no longer needs the names of the nodes.", ("restore",)),
        ("hostname", "Restore the host name", "Other systems may know the host by its old name.", ("restore", "state")),
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
        "Remove kbootstrap's saved state",
        "reset/state.sh",
        why="This is the last step, so an interrupted reset can be run again.",
        params={"KEEP": "1" if context.keep_settings else "0"},
    )


RESTORE = Phase(
    "restore",
    "Restore the host's original state",
    "Files, services and settings as they were before kbootstrap, from the state it saved on the host.",
    hosts=every_host,
    steps=_restore_steps,
)
