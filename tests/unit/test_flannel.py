"""Flannel's manifest, and its start on a node as the fleet's fakes and the real flanneld do it."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.examples import inventory

from kbootstrap.phases.network import flannel
from kbootstrap_lab.simulated.fakes.flannel import DIAL_SECONDS, PODS_SECONDS, SYNC_SECONDS, start, withdraws


def daemon_set(tmp_path: Path, **cluster: Any) -> dict[str, Any]:
    return flannel.manifest(inventory(tmp_path, **cluster))[-1]


def pod(daemon: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = daemon["spec"]["template"]["spec"]
    return found


def upstream() -> dict[str, Any]:
    """A DaemonSet as Flannel's own manifest has it, in what matters here."""
    copies = ["-f", "/etc/kube-flannel/cni-conf.json", "/etc/cni/net.d/10-flannel.conflist"]
    return {
        "spec": {
            "template": {
                "spec": {
                    "initContainers": [{"name": "install-cni", "command": ["cp"], "args": copies}],
                    "containers": [{"name": "kube-flannel", "env": [{"name": "POD_NAME", "valueFrom": {}}]}],
                }
            }
        }
    }


def test_the_images_are_upstreams(tmp_path: Path) -> None:
    images = [each["image"] for each in pod(daemon_set(tmp_path))["initContainers"]]
    assert images == ["ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3", "ghcr.io/flannel-io/flannel:v0.28.9"]


def test_flannel_tolerates_every_taint(tmp_path: Path) -> None:
    assert pod(daemon_set(tmp_path))["tolerations"] == [{"operator": "Exists"}]


@pytest.mark.parametrize(
    ("endpoint", "server", "port"),
    [(None, "192.168.1.10", "6443"), ("api.example.com:8443", "api.example.com", "8443")],
)
def test_flanneld_asks_the_control_plane_endpoint(tmp_path: Path, endpoint: str | None, server: str, port: str) -> None:
    """The Service's address leads nowhere before kube-proxy has written its rules."""
    given = {"control_plane_endpoint": endpoint} if endpoint else {}
    (container,) = pod(daemon_set(tmp_path, **given))["containers"]
    environment = {each["name"]: each.get("value") for each in container["env"]}
    assert environment["KUBERNETES_SERVICE_HOST"] == server
    assert environment["KUBERNETES_SERVICE_PORT"] == port


def test_our_flannel_starts_at_the_first_try(tmp_path: Path) -> None:
    begin = start(daemon_set(tmp_path), 100.0, 100.0)
    assert begin.restarts == 0
    assert begin.subnet == begin.configuration == 100 + PODS_SECONDS + SYNC_SECONDS
    assert withdraws(daemon_set(tmp_path))


def test_a_manifest_like_upstreams_restarts_and_promises_too_early() -> None:
    """What real clusters show: flanneld dials before kube-proxy's rules, and the CNI configuration is there first."""
    begin = start(upstream(), 100.0, 100.0)
    assert begin.restarts == 1
    assert begin.configuration == 100 + PODS_SECONDS
    assert begin.subnet is not None
    assert begin.subnet >= 100 + PODS_SECONDS + DIAL_SECONDS
    late = start(upstream(), 110.0, 100.0)
    assert (late.restarts, late.subnet) == (0, 110 + PODS_SECONDS + SYNC_SECONDS), "kube-proxy has been there"
    assert start(upstream(), 100.0, None).subnet is None, "a cluster without kube-proxy"


# --- the hook itself, in a shell ---


class Node:
    """The folders of a node that Flannel's containers see."""

    def __init__(self, root: Path, container: dict[str, Any]) -> None:
        self.root = root
        names = ("run/flannel", "etc/cni/net.d", "etc/kube-flannel")
        for name in names:
            (root / name).mkdir(parents=True)
        (root / "etc/kube-flannel/cni-conf.json").write_text('{"name": "cbr0"}\n')
        self.place = root / "etc/cni/net.d/10-flannel.conflist"
        self.subnet = root / "run/flannel/subnet.env"
        mounted = {each["mountPath"].rstrip("/") for each in container["volumeMounts"]}
        command = container["command"]
        assert command[:2] == ["sh", "-c"]
        script: str = command[2]
        for name in names:
            if f"/{name}" in script:
                assert f"/{name}" in mounted, f"{name} is used, but not mounted"
            script = script.replace(f"/{name}", f"{root}/{name}")
        self.script = script

    def start(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen(["dash", "-c", self.script])

    def run(self) -> int:
        return self.start().wait(10)


@pytest.fixture
def offer(tmp_path: Path) -> Node:
    (container,) = pod(daemon_set(tmp_path))["containers"]
    hook = container["lifecycle"]["postStart"]["exec"]
    return Node(tmp_path / "node", {**hook, "volumeMounts": container["volumeMounts"]})


@pytest.fixture
def withdraw(tmp_path: Path) -> Node:
    return Node(tmp_path / "node", pod(daemon_set(tmp_path))["initContainers"][-1])


def test_the_cni_configuration_waits_for_the_subnet_file(offer: Node) -> None:
    process = offer.start()
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    assert not offer.place.exists()
    offer.subnet.write_text("FLANNEL_SUBNET=10.244.0.1/24\n")
    assert process.wait(10) == 0
    assert offer.place.read_text() == '{"name": "cbr0"}\n'


def test_an_equal_configuration_is_not_written_again(offer: Node) -> None:
    """containerd reads the file at every write, and a half-written one would make the node NotReady for a moment."""
    offer.subnet.write_text("FLANNEL_SUBNET=10.244.0.1/24\n")
    offer.place.write_text("an older one\n")
    assert offer.run() == 0
    assert offer.place.read_text() == '{"name": "cbr0"}\n'
    before = offer.place.stat()
    assert offer.run() == 0
    after = offer.place.stat()
    assert (before.st_mtime_ns, before.st_ino) == (after.st_mtime_ns, after.st_ino)


def test_after_a_boot_the_configuration_of_before_is_withdrawn(withdraw: Node) -> None:
    withdraw.place.write_text("{}\n")
    assert withdraw.run() == 0
    assert not withdraw.place.exists()


def test_a_pod_that_is_replaced_keeps_the_network_up(withdraw: Node) -> None:
    withdraw.place.write_text("{}\n")
    withdraw.subnet.write_text("FLANNEL_SUBNET=10.244.0.1/24\n")
    assert withdraw.run() == 0
    assert withdraw.place.exists()
