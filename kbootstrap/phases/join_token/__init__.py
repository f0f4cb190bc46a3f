"""A short-lived join token (and certificate key) for hosts that are not yet members."""

from __future__ import annotations

from kbootstrap.inventory.models import Host
from kbootstrap.kubernetes import kubeadm
from kbootstrap.kubernetes.kubeadm import JOIN_TTL
from kbootstrap.phases.common import first_control_plane, other_hosts
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.phases.reset import forget_step
from kbootstrap.steps import Step


def joining(context: Context) -> list[Host]:
    """The hosts that will join in this run: they have facts and are not members."""
    return [
        host
        for host in other_hosts(context.inventory)
        if host.name in context.facts and context.facts[host.name].cluster_state != "member"
    ]


def may_be_known(context: Context, newcomer: Host) -> bool:
    """Whether the cluster may know a joining host from an earlier life.

    A join that did not finish leaves a node and an etcd member. So does a control plane host that was installed anew;
    its stale member would keep it from joining. A new cluster knows nobody.
    """
    if context.facts[newcomer.name].cluster_state == "half":
        return True
    first = context.facts.get(context.inventory.first_control_plane.name)
    return newcomer.is_control_plane and first is not None and first.cluster_state == "member"


def steps(context: Context, host: Host) -> list[Step]:
    newcomers = joining(context)
    made = [
        forget_step(host, newcomer)
        for newcomer in newcomers
        if may_be_known(context, newcomer) and newcomer.name not in context.lost
    ]
    if newcomers:
        made.append(
            Step(
                "join-token",
                f"Create a join token, valid {JOIN_TTL.removesuffix('0s')}",
                "join_token/join-token.sh",
                why="Each run creates its own token, valid for half an hour, and deletes it at the end.",
                libraries=("wait",),
                params={"TTL": JOIN_TTL},
                outputs=("join",),
            )
        )
    if any(newcomer.is_control_plane for newcomer in newcomers):
        made.append(
            Step(
                "certificate-key",
                "Upload the control plane certificates for the joining control plane hosts",
                "join_token/certificates.sh",
                why="The joining hosts download the shared certificates, encrypted; the run deletes them at its end.",
                libraries=("cluster", "state", "wait"),
                params={"CONFIG": kubeadm.to_yaml([kubeadm.member_document(context.inventory, host)])},
                outputs=("certificate_key",),
            )
        )
    return made


PHASE = Phase(
    "join-token",
    "Prepare the joins",
    "A host joins with a token, created in this run, and a pinned CA.",
    hosts=first_control_plane,
    steps=steps,
    cluster_scoped=True,
    part_of="join",
)
