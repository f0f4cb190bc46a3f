"""The steps of `prepare` follow the inventory and the facts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.examples import DEBIAN12, EL9, context, inventory

from kbootstrap.phases.prepare import steps
from kbootstrap.remote.facts import Facts
from kbootstrap.steps import Step


def prepared(folder: Path, host: str = "w1", facts: Facts = EL9, **cluster: Any) -> dict[str, Step]:
    made = context(inventory(folder, **cluster), facts)
    return {step.id: step for step in steps(made, made.inventory.host(host))}


def test_a_site_can_keep_the_time_itself(tmp_path: Path) -> None:
    assert {"time", "time-sync"} <= set(prepared(tmp_path))
    assert not {"time", "time-sync"} & set(prepared(tmp_path, time="ignore"))


@pytest.mark.parametrize("host", ["cp1", "w1"])
def test_every_role_opens_kube_proxys_port_and_the_node_ports(tmp_path: Path, host: str) -> None:
    opened = str(prepared(tmp_path, host, firewall="open-ports")["firewall"].params["PORTS"]).split()
    assert {"10256/tcp", "30000-32767/tcp", "30000-32767/udp", "8472/udp"} <= set(opened) | {
        "10256/tcp" if "10256-10257/tcp" in opened else ""
    }


def test_with_host_gw_the_other_nodes_are_trusted(tmp_path: Path) -> None:
    """A packet from a node to a pod of another one comes from the node's address, not from the pod network."""
    vxlan = prepared(tmp_path, firewall="open-ports")["firewall"].params
    assert vxlan["SOURCES"] == "10.244.0.0/16 10.96.0.0/12"
    direct = prepared(tmp_path, firewall="open-ports", network={"backend": "host-gw"})["firewall"].params
    assert direct["SOURCES"] == "10.244.0.0/16 10.96.0.0/12 192.168.1.10"
    assert "8472/udp" not in str(direct["PORTS"])
    assert direct["NODE_IP"] == "192.168.1.11"


def test_only_a_fresh_host_loses_what_an_earlier_flannel_left(tmp_path: Path) -> None:
    assert prepared(tmp_path)["pod-network"].params["FRESH"] == "1"
    member = prepared(tmp_path, facts=replace(EL9, kubelet_conf=True))["pod-network"].params
    assert (member["FRESH"], member["NODES"]) == ("0", "")


def test_the_inventorys_resolv_conf_of_the_kubelet_counts(tmp_path: Path) -> None:
    document = {"apiVersion": "kubelet.config.k8s.io/v1beta1", "kind": "KubeletConfiguration", "resolvConf": "/etc/b"}
    for kubeadm, path in (
        ({}, ""),
        ({"extra_args": {"kubelet": {"resolv-conf": "/etc/a"}}}, "/etc/a"),
        ({"documents": [document]}, "/etc/b"),
    ):
        assert prepared(tmp_path, kubeadm=kubeadm)["pod-network"].params["RESOLV_CONF"] == path


def test_the_policy_for_containers_is_a_package_of_el(tmp_path: Path) -> None:
    for facts, package in ((EL9, "container-selinux"), (DEBIAN12, "")):
        assert prepared(tmp_path, facts=facts, selinux="enforcing")["selinux"].params["PACKAGE"] == package
