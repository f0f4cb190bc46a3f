"""What `status` makes of the rows that the control plane's host prints."""

from __future__ import annotations

import pytest

from kbootstrap.run.cluster_status import NodeStatus, _node_status, _pod_trouble


def row(*fields: str) -> str:
    return "\t".join(fields)


def test_a_ready_node_has_no_reason() -> None:
    said = row("w1", "True", "v1.34.2", "10.0.0.2", "{}", "kubelet is posting ready status")
    assert _node_status(said, "1.34.2") == NodeStatus("w1", "10.0.0.2", "worker", True, "v1.34.2")


@pytest.mark.parametrize("label", ["node-role.kubernetes.io/control-plane", "node-role.kubernetes.io/master"])
def test_a_control_plane_is_known_by_its_label(label: str) -> None:
    assert _node_status(row("cp1", "True", "v1.20.2", "", f'{{"{label}":""}}', ""), None).role == "control plane"


def test_a_node_that_is_not_ready_says_why() -> None:
    assert _node_status(row("w1", "False", "v1.34.2", "", "", "no CNI"), "1.34.2").reason == "no CNI"
    assert _node_status("w1", "1.34.2").reason == "the node sends no status"


@pytest.mark.parametrize(
    ("kubelet", "api_server", "fits"),
    [
        ("v1.34.2", "1.34.0", True),
        ("v1.31.9", "1.34.0", True),
        ("v1.30.9", "1.34.0", False),
        ("v1.35.0", "1.34.0", False),
        ("v1.34.2", None, True),
        ("rubbish", "1.34.0", True),
    ],
)
def test_a_kubelet_outside_the_version_skew_is_named(kubelet: str, api_server: str | None, fits: bool) -> None:
    reason = _node_status(row("w1", "True", kubelet, "", "", ""), api_server).reason
    assert (reason == "") is fits
    assert fits or "is not compatible with API server 1.34.0" in reason


def test_pods_that_run_or_have_ended_are_no_trouble() -> None:
    assert _pod_trouble(row("default", "job", "Succeeded", "false", "Job", "", "")) == ""
    assert _pod_trouble(row("kube-system", "dns", "Running", "true true", "ReplicaSet", "", "")) == ""
    assert _pod_trouble(row("kube-system", "etcd-cp1", "Running", "false", "Node", "", "")) == ""


def test_a_pod_that_does_not_run_says_why() -> None:
    waiting = row("kube-system", "dns", "Pending", "false", "ReplicaSet", "ImagePullBackOff", "no such image")
    assert _pod_trouble(waiting) == "kube-system/dns: Pending, ImagePullBackOff: no such image"
    assert _pod_trouble(row("kube-system", "dns", "Running", "false", "ReplicaSet", "", "")).endswith("not ready")
