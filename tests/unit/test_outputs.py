"""Outputs of hosts are exactly right, or refused."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
import yaml

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Connection
from kbootstrap.inventory import load
from kbootstrap.inventory.models import Inventory
from kbootstrap.kubernetes.kubeadm import JoinCommand
from kbootstrap.phases.outputs import Outputs, accept
from kbootstrap.secret import Secret

TOKEN = "abcdef.0123456789abcdef"
HASH = "sha256:" + "0123456789abcdef" * 4
CA = base64.b64encode(b"-----BEGIN CERTIFICATE-----").decode()
KEY = base64.b64encode(b"-----BEGIN EC PRIVATE KEY-----").decode()


@pytest.fixture
def inventory(tmp_path: Path) -> Inventory:
    path = tmp_path / "inventory.yaml"
    path.write_text(
        "cluster: {name: demo, kubernetes: '1.34'}\nhosts: [{name: cp1, address: 192.168.1.10, role: control-plane}]\n"
    )
    return load(path, env={})


def join(endpoint: str = "192.168.1.10:6443") -> str:
    return f"kubeadm join {endpoint} --token {TOKEN} --discovery-token-ca-cert-hash {HASH}"


def admin_conf(server: dict[str, Any] | None = None, user: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    cluster = {"certificate-authority-data": CA, "server": "https://192.168.1.10:6443"}
    credentials = {"client-certificate-data": CA, "client-key-data": KEY}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "kubernetes", "cluster": cluster if server is None else {**cluster, **server}}],
        "users": [{"name": "kubernetes-admin", "user": credentials if user is None else {**credentials, **user}}],
        "contexts": [{"name": "x", "context": {"cluster": "kubernetes", "user": "kubernetes-admin"}}],
        "current-context": "x",
        **more,
    }


def test_the_outputs_of_kubeadm_are_accepted(inventory: Inventory) -> None:
    said = {
        "kubernetes_version": "1.34.2",
        "join": join(),
        "certificate_key": "0123456789abcdef" * 4,
        "kubeconfig": yaml.safe_dump(admin_conf()),
    }
    outputs = Outputs()
    for name, text in said.items():
        outputs = accept(name, text, inventory).added_to(outputs)
    assert outputs.kubernetes_version == "1.34.2"
    assert outputs.join == JoinCommand("192.168.1.10:6443", Secret(TOKEN), (HASH,))
    assert outputs.certificate_key == Secret("0123456789abcdef" * 4)
    assert outputs.kubeconfig is not None
    assert outputs.nodes is None
    written = yaml.safe_load(outputs.kubeconfig.reveal())
    assert written["current-context"] == "demo"
    assert written["users"] == [{"name": "demo-admin", "user": {"client-certificate-data": CA, "client-key-data": KEY}}]


def test_the_secret_parts_of_an_output(inventory: Inventory) -> None:
    taken = {
        "join": (join(), TOKEN),
        "certificate_key": ("ab" * 32, "ab" * 32),
        "kubeconfig": (yaml.safe_dump(admin_conf()), KEY),
    }
    for name, (text, secret) in taken.items():
        assert accept(name, text, inventory).secrets == (Secret(secret),)
    assert accept("kubernetes_version", "1.34.2", inventory).secrets == ()


@pytest.mark.parametrize(
    "endpoint",
    ["192.168.1.66:6443", "192.168.1.10:6444", "evil.example.com:6443", "192.168.1.10:6443;id", "$(id):6443"],
)
def test_a_join_command_that_leads_elsewhere_is_refused(inventory: Inventory, endpoint: str) -> None:
    with pytest.raises((ValueError, KbootstrapError)):
        accept("join", join(endpoint), inventory)


@pytest.mark.parametrize("name", ["DEMO.example.com:6443", "demo.example.com:6443"])
def test_the_case_of_a_dns_name_does_not_matter(inventory: Inventory, name: str) -> None:
    cluster = inventory.cluster.model_copy(update={"control_plane_endpoint": "demo.example.com:6443"})
    taken = accept("join", join(name), inventory.model_copy(update={"cluster": cluster}))
    assert isinstance(taken.value, JoinCommand)
    assert taken.value.endpoint == name


@pytest.mark.parametrize("text", ["", "ab" * 31, "ab" * 33, "AB" * 32, "g" * 64, "ab" * 32 + "\n", "ab" * 31 + "\n\n"])
def test_a_certificate_key_is_64_hex_digits(inventory: Inventory, text: str) -> None:
    with pytest.raises(ValueError, match="64 hex digits"):
        accept("certificate_key", text, inventory)


@pytest.mark.parametrize(
    "text",
    ["1.34", "1.33.2", "2.0.0", "", "1.34.2 evil", "1.34.2 -o APT::Update::Pre-Invoke::=id", "v" * 10**6, "1.34.2\n3"],
)
def test_a_version_is_an_exact_one_of_the_wanted_minor(inventory: Inventory, text: str) -> None:
    with pytest.raises(ValueError, match=r"version|not known") as caught:
        accept("kubernetes_version", text, inventory)
    assert len(str(caught.value)) < 400


EXEC = {"exec": {"apiVersion": "client.authentication.k8s.io/v1", "command": "sh", "args": ["-c", "id"]}}
BOMB = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{new}: &{new} [{','.join([f'*{old}'] * 9)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    "config",
    [
        admin_conf(user=EXEC),
        admin_conf(user={"auth-provider": {"name": "x", "config": {"cmd-path": "/bin/sh"}}}),
        admin_conf(user={"tokenFile": "/root/.ssh/id_ed25519"}),
        admin_conf(user={"client-key": "/root/.ssh/id_ed25519"}),
        admin_conf(user={"client-key-data": "not base64!"}),
        admin_conf(user={"client-key-data": ["x"]}),
        admin_conf(user={"client-key-data": ""}),
        admin_conf(server={"server": "https://evil.example.com:6443"}),
        admin_conf(server={"server": "http://192.168.1.10:6443"}),
        admin_conf(server={"server": "https://192.168.1.10:6443/x"}),
        admin_conf(server={"server": ["https://192.168.1.10:6443"]}),
        admin_conf(server={"insecure-skip-tls-verify": True}),
        admin_conf(server={"proxy-url": "http://evil.example.com"}),
        admin_conf(server={"certificate-authority": "/etc/passwd"}),
        admin_conf(clusters=[]),
        admin_conf(clusters="nonsense"),
        admin_conf(clusters=[None]),
        admin_conf(clusters=[{"name": "x", "cluster": None}]),
        admin_conf(users=admin_conf()["users"] * 2),
        [],
        None,
        "text",
    ],
)
def test_a_kubeconfig_is_the_ca_a_certificate_and_a_key_for_our_endpoint(inventory: Inventory, config: Any) -> None:
    with pytest.raises(ValueError, match=r"^(it|its|a kubeconfig) "):
        accept("kubeconfig", yaml.safe_dump(config), inventory)


@pytest.mark.parametrize(
    "text",
    [
        "- " * 30_000,
        "a: [" + "[" * 60_000,
        "{",
        "a: *b",
        "!!python/object/apply:os.system [id]",
        BOMB,
        "x: 2001-99-99",
        "#" * 70_000,
        "\0",
    ],
)
def test_a_kubeconfig_that_is_a_trap_for_a_parser_is_refused(inventory: Inventory, text: str) -> None:
    with pytest.raises(ValueError, match=r"^(it|its|a kubeconfig) "):
        accept("kubeconfig", text, inventory)


def test_only_checked_parts_of_a_kubeconfig_are_kept(inventory: Inventory) -> None:
    crafted = admin_conf(preferences={"colors": True}, extensions=[{"name": "x", "extension": {"command": "sh"}}])
    crafted["contexts"][0]["context"]["namespace"] = "kube-system"
    taken = accept("kubeconfig", yaml.safe_dump(crafted), inventory)
    assert taken == accept("kubeconfig", yaml.safe_dump(admin_conf()), inventory)


CONNECTIONS = (
    "node\tcp1\t\tfailed\tImagePullBackOff\tSee journalctl -u kubelet on cp1.\npod\tcp1\tcp1\tok\t\t\n"
    "service\tcp1\t\tuntested\tno time was left\t"
)


def test_connections_are_rows_between_hosts_of_the_inventory(inventory: Inventory) -> None:
    found = accept("connections", CONNECTIONS, inventory).added_to(Outputs()).connections
    assert found == (
        Connection("node", "cp1", "", "failed", "ImagePullBackOff", "See journalctl -u kubelet on cp1."),
        Connection("pod", "cp1", "cp1", "ok"),
        Connection("service", "cp1", "", "untested", "no time was left"),
    )
    assert accept("connections", "pod\tcp1\tcp1\tfailed\t" + "x" * 999, inventory).value == (
        Connection("pod", "cp1", "cp1", "failed", "x" * 300),
    )


@pytest.mark.parametrize(
    "text",
    [
        "pod\tcp1\tstranger\tok",
        "pod\t\tcp1\tok",
        "pod\tcp1\tcp1\tperhaps",
        "rumour\tcp1\tcp1\tok",
        "pod\tcp1\tcp1\tok\ta\tb\tc",
        "pod",
        "pod\tcp1\tcp1\tok\n" * 20_001,
    ],
)
def test_other_connections_are_refused(inventory: Inventory, text: str) -> None:
    with pytest.raises(ValueError, match=r"not a connection between hosts|more than 20000"):
        accept("connections", text, inventory)
    with pytest.raises(ValueError, match="no connection was tried"):
        accept("connections", "", inventory)
