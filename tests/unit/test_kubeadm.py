"""kubeadm's documents of every API version, and the parsed join command."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from support.examples import DEBIAN12, EL9, MIRROR, inventory

from kbootstrap import versions
from kbootstrap.errors import InventoryError, KbootstrapError
from kbootstrap.kubernetes import kubeadm
from kbootstrap.secret import Secret

TOKEN, HASH = "abcdef.0123456789abcdef", "sha256:" + "0123456789abcdef" * 4
COMMAND = f"kubeadm join 192.168.1.10:6443 --token {TOKEN} --discovery-token-ca-cert-hash {HASH}"


@pytest.mark.parametrize(
    ("kubernetes", "api"),
    [("1.20", "v1beta2"), ("1.21", "v1beta2"), ("1.22", "v1beta3"), ("1.30", "v1beta3"), ("1.31", "v1beta4"),
     ("1.34", "v1beta4")],
)  # fmt: skip
def test_the_api_version_follows_the_minor(tmp_path: Path, kubernetes: str, api: str) -> None:
    made = inventory(
        tmp_path, kubernetes=kubernetes, package_repository=MIRROR, kubeadm={"extra_args": {"api_server": {"v": "4"}}}
    )
    init, cluster, kubelet = kubeadm.init_documents(made, made.first_control_plane, kubernetes + ".1")
    assert init["apiVersion"] == cluster["apiVersion"] == f"kubeadm.k8s.io/{api}"
    assert cluster["kubernetesVersion"] == f"v{kubernetes}.1"
    arguments = cluster["apiServer"]["extraArgs"]
    assert arguments == ([{"name": "v", "value": "4"}] if api == "v1beta4" else {"v": "4"})
    assert init["localAPIEndpoint"] == {"advertiseAddress": "192.168.1.10", "bindPort": 6443}
    assert kubelet["cgroupDriver"] == "systemd"


def test_an_extra_join_configuration_goes_into_every_join_and_no_init(tmp_path: Path) -> None:
    extra = {"kind": "JoinConfiguration", "patches": {"directory": "/etc/patches"}}
    made = inventory(tmp_path, kubeadm={"documents": [extra]})
    join = kubeadm.parse_join_command(COMMAND)
    (document,) = kubeadm.join_documents(made, made.host("w1"), join, None)
    assert document["patches"] == {"directory": "/etc/patches"}
    assert document["nodeRegistration"]["name"] == "w1"
    init = kubeadm.init_documents(made, made.first_control_plane, "1.34.1")
    assert "JoinConfiguration" not in [each["kind"] for each in init]


def test_the_inventory_decides_networks_names_and_images(tmp_path: Path) -> None:
    made = inventory(
        tmp_path,
        pod_cidr="10.100.0.0/16",
        service_cidr="10.200.0.0/16",
        dns_domain="k8s.example",
        image_repository="registry.aliyuncs.com/google_containers",
        control_plane_endpoint="api.example.com:6443",
    )
    cluster = kubeadm.init_documents(made, made.first_control_plane, "1.34.1")[1]
    assert cluster["networking"] == {
        "podSubnet": "10.100.0.0/16",
        "serviceSubnet": "10.200.0.0/16",
        "dnsDomain": "k8s.example",
    }
    assert cluster["imageRepository"] == "registry.aliyuncs.com/google_containers"
    assert cluster["controlPlaneEndpoint"] == "api.example.com:6443"


def test_extra_documents_are_merged_or_added(tmp_path: Path) -> None:
    extras = [
        {"kind": "ClusterConfiguration", "apiServer": {"certSANs": ["api.example.com"]}},
        {"apiVersion": "kubeproxy.config.k8s.io/v1alpha1", "kind": "KubeProxyConfiguration", "mode": "ipvs"},
    ]
    made = inventory(tmp_path, kubeadm={"documents": extras})
    documents = kubeadm.init_documents(made, made.first_control_plane, "1.34.1")
    assert documents[1]["apiServer"]["certSANs"] == ["192.168.1.10", "api.example.com"]
    assert documents[-1]["mode"] == "ipvs"
    assert list(yaml.safe_load_all(kubeadm.to_yaml(documents))) == documents


@pytest.mark.parametrize("minor", ["1.20", "1.30", "1.36", "1.37"])
def test_the_documents_are_the_reviewed_ones(tmp_path: Path, minor: str, golden: Callable[[str, str], None]) -> None:
    """One file for every API version, and for the newest minors."""
    arguments = {"extra_args": {"api_server": {"v": "4"}, "etcd": {"quota-backend-bytes": 8589934592}}}
    made = inventory(tmp_path, control_planes=2, kubernetes=minor, package_repository=MIRROR, kubeadm=arguments)
    join = kubeadm.parse_join_command(COMMAND)
    documents = kubeadm.init_documents(made, made.first_control_plane, f"{minor}.1", EL9)
    documents += [kubeadm.member_document(made, made.host("cp1"))]
    for name, key in (("cp2", Secret("k" * 64)), ("w1", None)):
        documents += kubeadm.join_documents(made, made.host(name), join, key, replace(DEBIAN12, resolved=True))
    golden(f"kubeadm-{minor}.yaml", kubeadm.to_yaml(documents))


def test_lists_of_named_entries_are_merged_by_name(tmp_path: Path) -> None:
    """From v1beta4 on, arguments are such lists: an extra one must not throw ours away."""
    extras = [
        {
            "kind": "ClusterConfiguration",
            "apiServer": {"extraArgs": [{"name": "v", "value": "9"}, {"name": "profiling", "value": "false"}]},
        },
        {"kind": "JoinConfiguration", "nodeRegistration": {"kubeletExtraArgs": [{"name": "v", "value": "6"}]}},
    ]
    made = inventory(
        tmp_path, kubeadm={"documents": extras, "extra_args": {"api_server": {"audit-log-maxage": "30", "v": "4"}}}
    )
    cluster = kubeadm.init_documents(made, made.first_control_plane, "1.34.1")[1]
    arguments = [(each["name"], each["value"]) for each in cluster["apiServer"]["extraArgs"]]
    assert arguments == [("audit-log-maxage", "30"), ("v", "9"), ("profiling", "false")]
    (join,) = kubeadm.join_documents(made, made.host("w1"), kubeadm.parse_join_command(COMMAND), None)
    kubelet = {each["name"]: each["value"] for each in join["nodeRegistration"]["kubeletExtraArgs"]}
    assert kubelet == {"node-ip": "192.168.1.11", "v": "6"}


@pytest.mark.parametrize(
    ("minor", "kind", "api", "wanted"),
    [
        ("1.34", "ClusterConfiguration", "kubeadm.k8s.io/v1beta3", "1.34 has the apiVersion kubeadm.k8s.io/v1beta4"),
        ("1.30", "JoinConfiguration", "kubeadm.k8s.io/v1beta4", "1.30 has the apiVersion kubeadm.k8s.io/v1beta3"),
        ("1.34", "KubeletConfiguration", "kubelet.config.k8s.io/v1", "the apiVersion kubelet.config.k8s.io/v1beta1"),
        ("1.34", None, "kubeadm.k8s.io/v1beta4", "this document needs a kind"),
    ],
)  # fmt: skip
def test_a_document_of_another_api_is_refused_with_its_line(
    tmp_path: Path, minor: str, kind: str | None, api: str, wanted: str
) -> None:
    fine = {"kind": "ClusterConfiguration", "apiServer": {}}
    wrong = {"apiVersion": api, **({"kind": kind} if kind else {})}
    with pytest.raises(InventoryError) as refused:
        inventory(tmp_path, kubernetes=minor, kubeadm={"documents": [fine, wrong]})
    text = (tmp_path / "inventory.yaml").read_text().splitlines()
    line = next(number for number, each in enumerate(text, 1) if f"apiVersion: {api}" in each)
    assert f"inventory.yaml:{line}: cluster.kubeadm.documents[1]" in str(refused.value)
    assert wanted in str(refused.value)
    assert "documents[0]" not in str(refused.value)


def test_a_containerd_that_is_too_old_is_refused_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"cluster.runtime.version: .*1\.6\.33.*needs containerd 1\.7\.28"):
        inventory(tmp_path, kubernetes="1.35", runtime={"name": "containerd", "version": "1.6.33"})
    assert inventory(tmp_path, kubernetes="1.35", runtime={"name": "containerd", "version": "1.7.29"})


def test_the_certificate_is_valid_for_every_address_an_operator_uses(tmp_path: Path) -> None:
    def change(data: dict[str, Any]) -> None:
        data["hosts"][0].update(address="203.0.113.10", internal_address="10.0.0.1")
        data["hosts"][1].update(address="CP2.example.com", internal_address="10.0.0.2")
        data["hosts"][2].update(address="alias_of_ssh_config", internal_address="10.0.0.3")
        data["hosts"][3].update(address="203.0.113.13", internal_address="10.0.0.4")

    made = inventory(tmp_path, change, control_planes=3, workers=1)
    cluster = kubeadm.init_documents(made, made.first_control_plane, "1.34.1")[1]
    assert cluster["apiServer"]["certSANs"] == ["203.0.113.10", "cp2.example.com"]


@pytest.mark.parametrize(
    ("resolved", "path"), [(True, "/run/systemd/resolve/resolv.conf"), (False, "/etc/resolv.conf")]
)
def test_each_kubelet_reads_the_resolv_conf_of_its_host(tmp_path: Path, resolved: bool, path: str) -> None:
    """kubeadm up to 1.30 hands the first host's path to all (kubernetes/kubeadm#3034)."""
    facts = replace(EL9, resolved=resolved)
    join = kubeadm.parse_join_command(COMMAND)
    own = {"kind": "KubeletConfiguration", "resolvConf": "/etc/pods-resolv.conf"}
    for settings, wanted in (
        ({}, path),
        ({"documents": [own]}, None),
        ({"extra_args": {"kubelet": {"resolv-conf": "/x"}}}, "/x"),
    ):
        made = inventory(tmp_path, kubernetes="1.30", kubeadm=settings)
        (document,) = kubeadm.join_documents(made, made.host("w1"), join, None, facts)
        assert document["nodeRegistration"]["kubeletExtraArgs"].get("resolv-conf") == wanted
        init = kubeadm.init_documents(made, made.first_control_plane, "1.30.1", facts)[0]
        assert init["nodeRegistration"]["kubeletExtraArgs"].get("resolv-conf") == wanted


def test_a_join_document_pins_the_ca_and_registers_the_address(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2)
    join = kubeadm.parse_join_command(COMMAND)
    (worker,) = kubeadm.join_documents(made, made.host("w1"), join, None)
    assert worker["discovery"]["bootstrapToken"]["caCertHashes"] == [HASH]
    assert "controlPlane" not in worker
    assert "192.168.1.12" in str(worker["nodeRegistration"])
    (master,) = kubeadm.join_documents(made, made.host("cp2"), join, Secret("k" * 64))
    assert master["controlPlane"]["certificateKey"] == "k" * 64
    assert master["controlPlane"]["localAPIEndpoint"]["advertiseAddress"] == "192.168.1.11"


def test_the_join_command() -> None:
    for text in (COMMAND, f"W0101 warning\n{COMMAND} \n", COMMAND + f" --discovery-token-ca-cert-hash {HASH}"):
        join = kubeadm.parse_join_command(text)
        assert (join.endpoint, join.token.reveal(), join.token_id) == ("192.168.1.10:6443", TOKEN, "abcdef")
        assert set(join.ca_hashes) == {HASH}
        assert TOKEN not in repr(join)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "kubeadm join",
        COMMAND.replace(TOKEN, "abc"),
        COMMAND.replace(TOKEN, TOKEN.upper()),
        COMMAND.replace(HASH, "sha256:12"),
        COMMAND.replace(HASH, "md5:" + "0" * 64),
        COMMAND.replace("192.168.1.10:6443", "$(reboot):6443"),
        COMMAND.replace("192.168.1.10:6443", "192.168.1.10"),
        COMMAND.replace(f" --token {TOKEN}", ""),
        COMMAND.replace(f" --discovery-token-ca-cert-hash {HASH}", " --discovery-token-unsafe-skip-ca-verification"),
    ],
)
def test_join_commands_that_are_refused(text: str) -> None:
    with pytest.raises(KbootstrapError, match="no valid join command"):
        kubeadm.parse_join_command(text)


@given(st.text() | st.text(alphabet="kubeadm join-toksh256:.\n ", max_size=120))
def test_any_text_is_parsed_or_refused(text: str) -> None:
    with pytest.raises(KbootstrapError):
        kubeadm.parse_join_command(text)


@pytest.mark.parametrize(
    ("text", "minor", "exact"),
    [("1.34", (1, 34), None), ("1.34.2", (1, 34), "1.34.2"), ("v1.20.15", (1, 20), "1.20.15")],
)
def test_versions(text: str, minor: tuple[int, int], exact: str | None) -> None:
    assert versions.parse(text) == (minor, exact)


@pytest.mark.parametrize("text", ["", "latest", "1", "1.x", "2.0", "1.34.2.1", "1.34-rc.1", "0.9"])
def test_versions_that_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"version|1\.34"):
        versions.parse(text)


@pytest.mark.parametrize(
    ("kubelet", "api_server", "ok"),
    [((1, 34), (1, 34), True), ((1, 31), (1, 34), True), ((1, 30), (1, 34), False), ((1, 35), (1, 34), False)],
)
def test_the_kubelet_may_be_older_but_never_newer(kubelet: Any, api_server: Any, ok: bool) -> None:
    assert versions.kubelet_skew_ok(kubelet, api_server) is ok


@pytest.mark.parametrize("endpoint", ["192.168.1.10:٦٤٤٣", "192.168.1.10:99999", "192.168.1.10:0"])
def test_the_port_of_a_join_command_is_a_port(endpoint: str) -> None:
    with pytest.raises(KbootstrapError, match="no valid join command"):
        kubeadm.parse_join_command(COMMAND.replace("192.168.1.10:6443", endpoint))
