"""The parts of the simulated fleet that are plain functions."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import pytest

from kbootstrap import inventory
from kbootstrap_lab import LabError, simulated, state_dir
from kbootstrap_lab.simulated import catalogue
from kbootstrap_lab.simulated.daemon import address
from kbootstrap_lab.simulated.fakes import configs, gpg, internet, jsonpath, kubectl
from kbootstrap_lab.simulated.fakes.common import Failed
from kbootstrap_lab.simulated.fakes.kubeadm_versions import image_names
from kbootstrap_lab.simulated.inventory import DOCKER_KEY, KUBERNETES_KEY, text
from kbootstrap_lab.simulated.spec import NETWORK, Spec

ROOT = Path(__file__).parents[2]
BIN = ROOT / "tests/lab/kbootstrap_lab/simulated/bin"


def demo() -> simulated.Lab:
    hosts = tuple(
        simulated.LabHost(name, address(70, index), 2222, Spec(name, index, "centos9").ip, "centos9", "up", 0)
        for index, name in enumerate(("cp1", "w1", "w2", "w3"))
    )
    return simulated.Lab("demo", hosts, None, Path("~/.local/state/kbootstrap/labs/demo").expanduser())


def test_the_committed_example_is_what_lab_up_writes() -> None:
    assert (ROOT / "inventories/lab.yaml").read_text() == text(demo(), "kb", password=False, sudo_password=False)


def test_the_inventory_is_valid(tmp_path: Path) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(text(demo(), "kb", password=False, sudo_password=False))
    loaded = inventory.load(path)
    assert [host.name for host in loaded.hosts] == ["cp1", "w1", "w2", "w3"]
    assert str(loaded.first_control_plane.node_ip) == "192.168.1.10"
    assert loaded.endpoint == "192.168.1.10:6443"
    assert loaded.cluster.package_key == (KUBERNETES_KEY,)


def test_every_host_has_addresses_of_its_own() -> None:
    specs = [Spec(f"h{number}", number, "centos9") for number in range(simulated.MAX_HOSTS)]
    assert len({spec.ip for spec in specs}) == len({spec.mac for spec in specs}) == len(specs)
    assert len({address(70, spec.index) for spec in specs}) == len(specs)
    assert all(ipaddress.ip_address(spec.ip) in NETWORK for spec in specs)
    assert Spec.from_json(json.loads(json.dumps(specs[3].to_json()))) == specs[3]


@pytest.mark.parametrize("name", ["", "Demo", "a/b", "..", "-a", "a" * 41])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(LabError):
        state_dir(name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"control_planes": 0}, "at least one"),
        ({"workers": 5000}, "1 to 1000"),
        ({"distribution": "gentoo"}, "distributions are"),
        ({"state": "shiny"}, "dirty or clean"),
    ],
)
def test_labs_that_are_refused(
    options: dict[str, object], words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with pytest.raises(LabError, match=words):
        simulated.up("refused", **options)  # type: ignore[arg-type]
    assert list(tmp_path.iterdir()) == []


# --- packages and keys -----------------------------------------------------------------------------------------------


def test_versions_in_order() -> None:
    ordered = ["1.6.33-1", "1.34.0-1.1", "1.34.2-1.1", "1.34.10-1.1", "2.2.0~rc1-1", "2.2.0-1", "1:0.1-1"]
    assert sorted(reversed(ordered), key=catalogue.version_key) == ordered


@pytest.mark.parametrize("distribution", catalogue.DISTRIBUTIONS)
def test_every_requirement_can_be_met(distribution: str) -> None:
    """A package with a missing dependency could not be installed."""
    system = {package.name for package in catalogue.available(distribution, "os")}
    for minor in catalogue.KUBERNETES_MINORS:
        packages = list(catalogue.available(distribution, f"kubernetes-1.{minor}"))
        names = system | {package.name for package in packages}
        for package in packages:
            for requirement in package.requires:
                assert names & set(catalogue.satisfied_by(requirement)), f"{package.name} needs {requirement}"


def test_every_command_of_a_package_has_a_stand_in() -> None:
    from kbootstrap_lab.simulated import packages

    for distribution in catalogue.DISTRIBUTIONS:
        family = "debian" if distribution == "debian12" else "el"
        for package in catalogue.available(distribution, "os"):
            for command in catalogue.content(package.name, family, package.version).commands:
                path = BIN / Path(packages.stand_in(command)).name
                assert path.is_file(), f"{command} of {package.name}"
                assert path.stat().st_mode & 0o111, f"{path} cannot be run"


def test_the_keys_are_the_pinned_ones() -> None:
    """The stand-in of gpg computes the fingerprint from the file, and it equals the one of the real gpg."""
    assert gpg.fingerprints((BIN / "kubernetes.asc").read_bytes()) == [KUBERNETES_KEY] == [internet.KEYS["kubernetes"]]
    assert gpg.fingerprints((BIN / "docker.asc").read_bytes()) == [DOCKER_KEY] == [internet.KEYS["docker"]]
    with pytest.raises(Failed):
        gpg.fingerprints(b"<html>no key here</html>")


@pytest.mark.parametrize(
    ("url", "distribution", "repository"),
    [
        ("https://pkgs.k8s.io/core:/stable:/v1.34/rpm/", "centos9", "kubernetes-1.34"),
        ("https://pkgs.k8s.io/core:/stable:/v1.23/rpm/", "centos9", None),
        ("https://mirror.example/core:/stable:/v1.20/rpm/", "centos9", "kubernetes-1.20"),
        ("https://mirrors.aliyun.com/kubernetes-new/core/stable/v1.30/rpm/", "centos9", "kubernetes-1.30"),
        ("https://download.docker.com/linux/centos/9/x86_64/stable/", "centos9", "docker"),
        ("https://download.docker.com/linux/centos/9/x86_64/stable/", "centos7", None),
        ("https://download.docker.com/linux/centos/7/x86_64/stable", "centos7", "docker"),
        ("https://vault.centos.org/7.9.2009/os/x86_64/", "centos7", "os"),
        ("https://packages.cloud.google.com/yum/repos/kubernetes-el7-x86_64", "centos7", None),
    ],
)
def test_rpm_repositories(url: str, distribution: str, repository: str | None) -> None:
    found = internet.rpm_repository(url, distribution.removeprefix("centos"))
    assert (found.id if found else None) == repository


@pytest.mark.parametrize(
    ("image", "there"),
    [
        ("registry.k8s.io/kube-apiserver:v1.34.2", True),
        ("registry.k8s.io/kube-apiserver:v1.34.9", False),
        ("registry.k8s.io/coredns/coredns:v1.12.1", True),
        ("registry.aliyuncs.com/google_containers/pause:3.10.1", True),
        ("ghcr.io/flannel-io/flannel:v0.28.9", True),
        ("ghcr.io/flannel-io/flannel-cni-plugin:v1.9.1-flannel3", True),
        ("ghcr.io/flannel-io/flannel:latest", False),
        ("registry.k8s.io/frob:v1", False),
    ],
)
def test_images(image: str, there: bool) -> None:
    assert internet.image_exists(image) == there


# --- formats of kubectl and kubeadm ----------------------------------------------------------------------------------

NODES = {
    "items": [
        {
            "metadata": {"name": "a", "labels": {"x": "1", "k8s.io/y": "2"}},
            "ready": True,
            "c": [{"t": "R", "s": "yes"}],
        },
        {"metadata": {"name": "b"}, "count": 3, "c": [{"t": "D", "s": "no"}, {"t": "R", "s": "no"}]},
    ]
}


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{.items[*].metadata.name}", "a b"),
        (".items[0].metadata.name", "a"),
        ("{.items[-1].metadata.name}", "b"),
        ('{range .items[*]}{.metadata.name}{"\\t"}{.c[?(@.t=="R")].s}{"\\n"}{end}', "a\tyes\nb\tno\n"),
        ("{.items[0].metadata.labels}", '{"k8s.io/y":"2","x":"1"}'),
        ("{.items[0].metadata.labels.k8s\\.io/y}", "2"),
        ("{.items[0].metadata.labels['k8s\\.io/y']}", "2"),
        ("{.items[*].ready}{.items[1].count}", "true3"),
        ("{.items[*].nothing.here}", ""),
        ("name: {.items[0].metadata.name}!", "name: a!"),
        ('{.items[?(@.count>2)].metadata.name}{"}"}', "b}"),
        ("{range .items[*]}[{range .c[*]}{.t}{end}]{end}", "[R][DR]"),
        ("{.items[0:1].metadata.name}", "a"),
        ("{$.items[1].metadata.name}", "b"),
    ],
)
def test_jsonpath(template: str, shown: str) -> None:
    assert jsonpath.render(template, NODES) == shown


@pytest.mark.parametrize(
    "template", ["{.items[", "{range .items[*]}{.x}", "{..name}", "{.items[?(@.a ~ 1)]}", "{.x}{end}"]
)
def test_jsonpath_it_does_not_know_is_refused(template: str) -> None:
    with pytest.raises(Failed):
        jsonpath.render(template, NODES)


@pytest.mark.parametrize(
    ("words", "seconds"), [("24h0m0s", 86400), ("30m", 1800), ("1h30m", 5400), ("90s", 90), ("0", 0)]
)
def test_durations(words: str, seconds: float) -> None:
    assert kubectl.go_duration(words) == seconds


@pytest.mark.parametrize(
    ("document", "version", "error"),
    [
        ("apiVersion: kubeadm.k8s.io/v1beta3\nkind: InitConfiguration\n", "1.34.2", None),
        ("apiVersion: kubeadm.k8s.io/v1beta2\nkind: InitConfiguration\n", "1.34.2", "old API spec"),
        ("apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\n", "1.30.0", "is registered for version"),
        ("apiVersion: kubeadm.k8s.io/v1beta4\nkind: ClusterConfiguration\npodSubnet: x\n", "1.34.2", "unknown field"),
        (
            "apiVersion: kubeadm.k8s.io/v1beta4\nkind: InitConfiguration\nnodeRegistration: {x: 1}\n",
            "1.34.2",
            "unknown field",
        ),
        ("kind: InitConfiguration\n", "1.34.2", "mandatory"),
        ("a: [\n", "1.34.2", "error converting YAML"),
        ("apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\nfailSwapOn: false\n", "1.34.2", None),
    ],
)
def test_kubeadm_documents(document: str, version: str, error: str | None, tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(document)
    if error is None:
        assert len(configs.load(str(path), version)) == 1
    else:
        with pytest.raises(Failed, match=error):
            configs.load(str(path), version)


def test_kubeadm_lists_the_images_of_its_documents() -> None:
    configuration = {
        "imageRepository": "mirror.example/google_containers",
        "etcd": {"local": {"imageTag": "3.5.26-0"}},
        "dns": {"imageRepository": "quay.io/dns", "imageTag": "v1.14.0"},
    }
    names = image_names("1.34.1", configuration)
    assert "mirror.example/google_containers/etcd:3.5.26-0" in names
    assert "quay.io/dns/coredns:v1.14.0" in names
    assert "registry.k8s.io/coredns/coredns:v1.12.1" in image_names("1.34.1", {})


def test_kubeadm_up_to_1_30_hands_the_resolv_conf_of_the_first_host_to_all() -> None:
    """kubernetes/kubeadm#3034. From 1.31 on, every node gets its own; a cluster of before keeps what it has."""
    old = configs.cluster_kubelet({}, "1.30.1", resolved=True)
    assert configs.node_kubelet(old, "1.30.1", resolved=False) == {"resolvConf": configs.RESOLVED}
    assert configs.node_kubelet(old, "1.31.1", resolved=False) == {"resolvConf": configs.RESOLVED}
    new = configs.cluster_kubelet({}, "1.31.1", resolved=True)
    assert configs.node_kubelet(new, "1.31.1", resolved=False) == {}
    assert configs.node_kubelet(new, "1.31.1", resolved=True) == {"resolvConf": configs.RESOLVED}
