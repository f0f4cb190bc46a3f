"""The inventory: what is loaded, and the error for every mistake."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.examples import ROOT, document, inventory, written

from kbootstrap.errors import InventoryError
from kbootstrap.inventory import load
from kbootstrap.inventory.models import KUBERNETES_KEYS
from kbootstrap.text import printable


def mistakes(folder: Path, data: object, env: dict[str, str] | None = None) -> str:
    with pytest.raises(InventoryError) as refused:
        load(written(folder, data), env=env or {})
    assert refused.value.exit_code == 2
    return refused.value.message


@pytest.mark.parametrize("path", sorted((ROOT / "inventories").glob("*.yaml")), ids=lambda path: path.name)
def test_the_examples_load(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    env = {name: "x" for name in ("KB_SSH_PASSWORD", "KB_SUDO_PASSWORD", "SUDO_PASSWORD", "SSH_PASSPHRASE")}
    assert load(path, env={**os.environ, **env}).first_control_plane.is_control_plane


def test_the_smallest_inventory_and_its_defaults(tmp_path: Path) -> None:
    made = inventory(tmp_path)
    assert made.endpoint == "192.168.1.10:6443"
    assert str(made.cluster.pod_cidr) == "10.244.0.0/16"
    assert made.cluster.image_repository == "registry.k8s.io"
    assert made.hosts[0].ssh.host_key_policy == "strict"
    assert made.hosts[0].ssh.sudo == "passwordless"
    assert [host.is_control_plane for host in made.hosts] == [True, False]


def test_ssh_settings_of_a_host_override_those_of_all(tmp_path: Path) -> None:
    data = document()
    data["ssh"] = {"user": "ops", "port": 2222, "key": "keys/id"}
    data["hosts"][1]["ssh"] = {"user": "root", "sudo": "none"}
    one, two = load(written(tmp_path, data), env={}).hosts
    assert (one.ssh.user, one.ssh.port, one.ssh.sudo) == ("ops", 2222, "passwordless")
    assert (two.ssh.user, two.ssh.port, two.ssh.sudo) == ("root", 2222, "none")
    assert one.ssh.key == tmp_path / "keys" / "id"


def test_every_mistake_at_once_with_line_place_and_suggestion(tmp_path: Path) -> None:
    said = mistakes(
        tmp_path,
        "cluster:\n"
        "  name: Test_1\n"
        "  kubernets: '1.34'\n"
        "  kubernetes: 1.34\n"
        "  selinux: off\n"
        "hosts:\n"
        "  - {name: a, address: 10.0.0.1, role: boss}\n"
        "  - {name: a, adress: 10.0.0.2, role: worker}\n",
    )
    assert "7 mistakes" in said
    for part in (
        ":2: cluster.name",
        ":3: cluster.kubernets: unknown key; did you mean 'kubernetes'?",
        ':4: cluster.kubernetes: write the version in quotes: "1.34"',
        ":5: cluster.selinux",
        ":7: hosts[0].role",
        ":8: hosts[1].name: 'a' is already used by a",
        ":8: hosts[1].adress: unknown key; did you mean 'address'?",
    ):
        assert part in said


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d["hosts"][1].update(name="cp1"), "hosts[1].name: 'cp1' is already used by cp1"),
        (lambda d: d["hosts"][1].update(address="192.168.1.10"), "is already used by cp1"),
        (lambda d: d["hosts"][0].update(role="worker"), "no host has the role control-plane"),
        (lambda d: d["cluster"].update(pod_cidr="10.96.0.0/16"), "overlaps service_cidr"),
        (lambda d: d["cluster"].update(pod_cidr="192.168.0.0/16"), "contains the addresses of cp1, w1"),
        (lambda d: d["cluster"].update(pod_cidr="10.244.0.0/24"), "has room for 1 node (a /24 each)"),
        (lambda d: d["cluster"].update(pod_cidr="10.244.0.1/16"), "cluster.pod_cidr"),
        (lambda d: d["cluster"].update(service_cidr="11.0.0.0/8"), "this must be a network from /12 to /24"),
        (lambda d: d["cluster"].update(kubernetes="latest"), "cluster.kubernetes"),
        (lambda d: d["cluster"].update(runtime="dockershim"), "Kubernetes 1.24 removed dockershim"),
        (lambda d: d["cluster"].update(runtime="dockershim", kubernetes="1.23"), "kbootstrap does not set it up"),
        (lambda d: d["cluster"].update(runtime={"name": "cri-dockerd"}), "kbootstrap does not install cri-dockerd"),
        (lambda d: d["cluster"].update(runtime="podman"), "Podman does not implement the container runtime interface"),
        (lambda d: d["cluster"].update(runtime="rkt"), "'rkt' is not one of 'containerd'"),
        (lambda d: d["cluster"].update(control_plane_endpoint="api"), "'api' is not host:port"),
        (lambda d: d["hosts"][0].update(address="cp1.example.com"), "also set internal_address"),
        (lambda d: d["hosts"][0].update(taints=["nonsense"]), "hosts[0].taints"),
        (lambda d: d["hosts"][1].update(schedulable=False), "hosts[1].schedulable: ordinary pods run on every worker"),
        (lambda d: d["hosts"][0].update(labels={"bad key!": "x"}), "hosts[0].labels"),
        (lambda d: d["hosts"][0].update(name="a\x1b[31m"), "hosts[0].name"),
        (lambda d: d.update(ssh={"user": "${env:USER}"}), "ssh.user"),
        (lambda d: d["cluster"].update(runtime={"mirrors": {"../../x": ["https://m"]}}), "'../../x' is not a registry"),
        (lambda d: d["cluster"].update(runtime={"mirrors": {"docker.io": ['https://m"x']}}), "is not an http"),
        (lambda d: d["cluster"].update(runtime={"insecure_registries": ["*"]}), "'*' is not a registry"),
        (lambda d: d["cluster"].update(image_repository="a b"), "cluster.image_repository"),
        (lambda d: d["cluster"].update(ntp=["-x"]), "cluster.ntp"),
        (lambda d: d.update(ssh={"password": "${env:KB_NOT_SET}"}), "KB_NOT_SET"),
        (lambda d: d.update(ssh={"password": "${file:/nowhere/at/all}"}), "/nowhere/at/all"),
        (lambda d: d.pop("hosts"), "hosts: this key is missing"),
        (lambda d: d.update(hosts=[]), "hosts"),
    ],
)
def test_single_mistakes(tmp_path: Path, change: Any, text: str) -> None:
    data = document()
    change(data)
    assert text in mistakes(tmp_path, data)


@pytest.mark.parametrize(
    ("broken", "hidden", "text"),
    [
        (
            lambda d: d["cluster"].update(naem="x"),
            lambda d: d["hosts"][0].update(role="worker"),
            "no host has the role",
        ),
        (
            lambda d: d["hosts"][0].pop("role"),
            lambda d: d["hosts"][1].update(name="cp1"),
            "'cp1' is already used by cp1",
        ),
        (lambda d: d["hosts"][0].pop("name"), lambda d: d["hosts"][1].update(address="192.168.1.10"), "by hosts[0]"),
        (
            lambda d: d["hosts"].append("nonsense"),
            lambda d: d["hosts"][1].update(address="w1.example.com"),
            "'w1.example.com' is a name",
        ),
        (lambda d: d["hosts"][0].pop("address"), lambda d: d["cluster"].update(pod_cidr="192.168.0.0/16"), "of w1"),
        (
            lambda d: d["hosts"][0].update(address="a b"),
            lambda d: d["cluster"].update(pod_cidr="10.96.0.0/16"),
            "overlaps service_cidr",
        ),
        (lambda d: d["cluster"].update(pod_cidr=5), lambda d: d["cluster"].update(service_cidr="10.0.0.0/8"), "/12 to"),
        (lambda d: d["cluster"].pop("kubernetes"), lambda d: d["cluster"].update(pod_cidr="10.0.0.0/24"), "room for 1"),
        (
            lambda d: d["cluster"].pop("kubernetes"),
            lambda d: d["cluster"].update(control_plane_endpoint="x"),
            "host:port",
        ),
    ],
)
def test_a_wrong_key_hides_no_other_mistake(tmp_path: Path, broken: Any, hidden: Any, text: str) -> None:
    data = document()
    broken(data)
    alone = mistakes(tmp_path, data)
    assert text not in alone
    hidden(data)
    both = mistakes(tmp_path, data)
    assert text in both
    assert {line.partition(": ")[2] for line in alone.splitlines()} <= {
        line.partition(": ")[2] for line in both.splitlines()
    }


def test_an_invalid_value_is_not_compared_with_others(tmp_path: Path) -> None:
    """An invalid role may be a control plane host; an invalid network is not the default."""
    data = document(workers=2)
    data["hosts"][0].update(role="boss", internal_address="nonsense")
    data["hosts"][1].update(address="192.168.1.10", internal_address="10.244.0.7", ssh={"port": 2222})
    data["cluster"]["pod_cidr"] = "10.244.0.0"
    assert "3 mistakes" in mistakes(tmp_path, data)
    assert "2 mistakes" in mistakes(tmp_path, {"cluster": [], "hosts": [{**data["hosts"][1], "role": "nonsense"}]})


def test_a_duplicate_is_reported_at_the_key_that_is_in_the_file(tmp_path: Path) -> None:
    data = document(workers=2)
    data["hosts"][1]["address"] = data["hosts"][0]["address"]
    said = mistakes(tmp_path, data)
    assert "1 mistake:" in said
    assert "hosts[1].address: '192.168.1.10' is already used by cp1" in said
    data["hosts"][1].update(address="192.168.9.9", internal_address="192.168.1.10")
    assert "hosts[1].internal_address: '192.168.1.10' is already used by cp1" in mistakes(tmp_path, data)


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda d: d.update(parallelism="many"), "parallelism: this must be a whole number"),
        (lambda d: d.update(parallelism=1.5), "parallelism: this must be a whole number"),
        (lambda d: d.update(parallelism=0), "parallelism: 0 is too small: at least 1"),
        (lambda d: d.update(parallelism=5000), "parallelism: 5000 is too large: at most 1000"),
        (lambda d: d.update(ssh={"agent": "perhaps"}), "ssh.agent: this must be true or false"),
        (lambda d: d.update(ssh={"key": 5}), "ssh.key: this must be the path of a file"),
        (lambda d: d.update(ssh={"bastions": 5}), "ssh.bastions: this must be a list"),
        (lambda d: d["hosts"][0].update(labels=5), "hosts[0].labels: this must be a mapping"),
        (lambda d: d["hosts"][0].update(name="a" * 64), "hosts[0].name"),
        (lambda d: d.update(hosts=[]), "hosts: this needs at least 1"),
    ],
)
def test_mistakes_are_reported_in_terms_of_yaml(tmp_path: Path, change: Any, text: str) -> None:
    data = document()
    change(data)
    assert text in mistakes(tmp_path, data)


@pytest.mark.parametrize(
    "text",
    ["", "- a\n- b\n", "cluster: [\n", "cluster: &a {x: *a}\n", "a: 1\na: 2\n", "\x00", "cluster: !!python/x y\n"],
)
def test_what_is_no_inventory(tmp_path: Path, text: str) -> None:
    assert "inventory.yaml" in mistakes(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"missing\.yaml"):
        load(tmp_path / "missing.yaml", env={})
    with pytest.raises(InventoryError):
        load(tmp_path, env={})


def test_secrets_come_from_the_environment_and_from_files(tmp_path: Path) -> None:
    (tmp_path / "pass").write_text("from a file\n")
    data = document()
    data["ssh"] = {"password": "${env:KB_PW}", "sudo": "password", "sudo_password": f"${{file:{tmp_path / 'pass'}}}"}
    made = load(written(tmp_path, data), env={"KB_PW": "from the environment"})
    assert made.hosts[0].ssh.password is not None
    assert made.hosts[0].ssh.password.reveal() == "from the environment"
    assert made.hosts[0].ssh.sudo_password is not None
    assert made.hosts[0].ssh.sudo_password.reveal() == "from a file"
    assert {secret.reveal() for secret in made.secrets()} == {"from the environment", "from a file"}
    assert "from the environment" not in repr(made)
    assert made.warnings == ()


@pytest.mark.parametrize(
    ("secret", "says"),
    [
        ("${env:AWS_SECRET_ACCESS_KEY}", "only variables named KB_... can be used, not AWS_SECRET_ACCESS_KEY"),
        ("${env:}", "only variables named KB_"),
        ("${file:/etc/passwd}", "/etc/passwd is not in the folder of the inventory"),
        ("${file:~/.ssh/id_ed25519}", "is not in the folder of the inventory"),
        ("${file:../other}", "is not in the folder of the inventory"),
        ("${file:link}", "is not in the folder of the inventory"),
        ("${file:pipe}", "it is not a plain file"),
        ("${file:large}", "it is larger than 64 KiB"),
    ],
)
def test_an_inventory_does_not_choose_which_secrets_its_hosts_get(tmp_path: Path, secret: str, says: str) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (tmp_path / "other").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "other")
    os.mkfifo(folder / "pipe")
    (folder / "large").write_bytes(b"x" * 100_000)
    data = document()
    data["ssh"] = {"password": secret}
    assert says in mistakes(folder, data, env={"AWS_SECRET_ACCESS_KEY": "x", "": "x"})


@pytest.mark.parametrize("secret", ["2026-01-01", "2026-13-45", "12:34:56", "0x1F", "on", "1_000", "!!binary x", "1e3"])
def test_a_secret_is_the_text_as_it_is_written(tmp_path: Path, secret: str) -> None:
    text = f"cluster: {{name: t, kubernetes: '1.34'}}\nssh: {{password: {secret}}}\n"
    made = load(written(tmp_path, text + "hosts: [{name: a, address: 10.0.0.1, role: control-plane}]\n"), env={})
    assert [known.reveal() for known in made.secrets()] == [secret.removeprefix("!!binary ")]


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["hosts"][0].update(taints=["--kubeconfig=/tmp/x:NoSchedule"]), "hosts[0].taints"),
        (lambda d: d["hosts"][0].update(taints=["*=*:NoSchedule"]), "hosts[0].taints"),
        (lambda d: d["hosts"][0].update(taints=["a=b c:NoSchedule"]), "hosts[0].taints"),
        (lambda d: d["hosts"][0].update(taints=["a=-b:NoSchedule"]), "hosts[0].taints"),
        (lambda d: d["hosts"][0].update(labels={"-a": "b"}), "hosts[0].labels"),
        (lambda d: d["cluster"].update(package_repository="https://me:secret@mirror.example/x"), "package_repository"),
        (lambda d: d["cluster"].update(package_repository="http://mirror.example/\x1b[2J"), "package_repository"),
        (lambda d: d["cluster"].update(package_repository="http://mirror.example/\u202ex"), "package_repository"),
        (lambda d: d["cluster"].update(package_repository="https://-o/x y"), "package_repository"),
    ],
)
def test_values_have_the_grammar_of_what_they_are(tmp_path: Path, change: Any, place: str) -> None:
    data = document()
    change(data)
    said = mistakes(tmp_path, data)
    assert place in said
    assert "secret" not in said
    assert printable(said) == said


@pytest.mark.parametrize("number", ["1:" * 500_000 + "1", "1" * 1_000_000, "1" * 900_000 + ".5", "0x" + "f" * 900_000])
def test_a_number_that_never_ends_costs_nothing(tmp_path: Path, number: str) -> None:
    began = time.process_time()
    said = mistakes(tmp_path, f"cluster: {{name: t, kubernetes: '1.34'}}\nparallelism: {number}\nhosts: []\n")
    assert "parallelism: this is too long for a number or a date" in said
    assert len(said) < 2000
    assert time.process_time() - began < 5


@pytest.mark.parametrize("extra", ["keys", "bastions"])
def test_a_file_that_is_no_inventory_costs_little(tmp_path: Path, extra: str) -> None:
    lines = {
        "keys": [f"k{n}: 1" for n in range(40_000)],
        "bastions": ["ssh:", "  bastions:", *(f"  - {{address: 10.0.0.{n % 250}}}" for n in range(1000))],
    }
    began = time.process_time()
    said = mistakes(tmp_path, yaml.safe_dump(document()) + "\n".join(lines[extra]) + "\n")
    assert len(said) < 50_000
    assert time.process_time() - began < 15


def test_a_trusted_inventory_may(tmp_path: Path) -> None:
    folder = tmp_path / "inventory"
    folder.mkdir()
    (tmp_path / "other").write_text("from a file")
    data = document()
    data["ssh"] = {"password": "${env:MINE}", "sudo_password": "${file:../other}"}
    made = load(written(folder, data), env={"MINE": "from the environment"}, trusted=True)
    assert {secret.reveal() for secret in made.secrets()} == {"from the environment", "from a file"}


def test_a_secret_in_clear_in_a_file_others_read_is_warned_of(tmp_path: Path) -> None:
    data = document()
    data["ssh"] = {"password": "in clear"}
    path = written(tmp_path, data)
    assert load(path, env={}).warnings == ()
    for mode in (0o644, 0o640, 0o604, 0o660):
        path.chmod(mode)
        (warning,) = load(path, env={}).warnings
        assert "ssh.password" in warning
        assert "in clear:" not in warning
    data["ssh"] = {"password": "${env:KB_PW}"}
    path = written(tmp_path, data)
    path.chmod(0o644)
    assert load(path, env={"KB_PW": "elsewhere"}).warnings == ()


def test_plain_http_is_warned_of(tmp_path: Path) -> None:
    made = inventory(
        tmp_path,
        package_repository="http://mirror.example.com",
        runtime={
            "name": "containerd",
            "package_repository": "http://mirror.example.com",
            "mirrors": {"docker.io": ["https://good.example.com", "http://bad.example.com"]},
            "insecure_registries": ["worse.example.com:5000"],
        },
    )
    packages, runtime, images = made.warnings
    assert "cluster.package_repository is plain HTTP" in packages
    assert "cluster.runtime.package_repository is plain HTTP" in runtime
    assert "docker.io from http://bad.example.com, worse.example.com:5000" in images
    assert "good.example.com" not in images


@pytest.mark.parametrize("key", ['"\\x08"', '"\\e[31m"', '""', '"a\\nb"', '"\\ud800"'])
def test_an_invisible_key_is_reported_in_a_visible_form(tmp_path: Path, key: str) -> None:
    said = mistakes(tmp_path, f"{key}: 1\n")
    assert printable(said) == said
    assert re.search(r"yaml:1: ('.*'|the file): .", said)


def test_surrogates_are_refused(tmp_path: Path) -> None:
    """They come from YAML's escapes, and from a variable that is not UTF-8."""
    data = document()
    data["ssh"] = {"password": "${env:KB_PW}"}
    assert "ssh.password: this is not UTF-8 text" in mistakes(tmp_path, data, env={"KB_PW": "\udcff"})


def test_an_even_number_of_control_planes_is_warned_of(tmp_path: Path) -> None:
    made = inventory(tmp_path, control_planes=2, control_plane_endpoint="api.example.com:6443")
    assert [warning for warning in made.warnings if "majority" in warning]
    assert inventory(tmp_path, control_planes=3, control_plane_endpoint="api.example.com:6443").warnings == ()


_SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20)
_KEYS = st.sampled_from(
    ["cluster", "hosts", "ssh", "name", "kubernetes", "address", "role", "pod_cidr", "key", "kubeadm"]
)
_DATA = st.recursive(_SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_KEYS, inner, max_size=4))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=_KEYS, where=st.sampled_from(["", "cluster", "hosts", "ssh"]), value=_DATA)
def test_no_value_anywhere_is_more_than_a_mistake(tmp_path: Path, key: str, where: str, value: object) -> None:
    """A good inventory with a strange value in one place is loaded or refused."""
    data = document()
    data["ssh"] = {}
    place = data if not where else data["hosts"][0] if where == "hosts" else data[where]
    place[key] = value
    try:
        load(written(tmp_path, json.dumps(data)), env={})
    except InventoryError as error:
        assert "inventory.yaml" in error.message  # noqa: PT017 - either way out is right
        for sentence in ("input should", "unable to parse", "is instance of", "valid dictionary"):
            assert sentence not in error.message  # noqa: PT017


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(alphabet="abc:{}[]-\n #&*!|>'\"%@`,?\t0x\x07é", max_size=60))
def test_no_text_is_more_than_a_mistake(tmp_path: Path, text: str) -> None:
    with pytest.raises(InventoryError):
        load(written(tmp_path, text), env={})


@pytest.mark.parametrize(
    "value",
    ["!!bool x", "!!int ''", "!!float ''", "!!timestamp x", "!!binary '?'", "!!python/name:os.system", "2001-99-99"],
)
def test_a_value_yaml_itself_cannot_make_is_a_mistake_of_its_line(tmp_path: Path, value: str) -> None:
    said = mistakes(tmp_path, f"cluster: {{kubernetes: '1.34'}}\nhosts: []\nparallelism: {value}\n")
    assert "inventory.yaml:3: parallelism" in said


def test_a_file_nested_without_end_is_a_mistake(tmp_path: Path) -> None:
    assert "inventory.yaml" in mistakes(tmp_path, "cluster: " + "[" * 5000 + "]" * 5000)


@pytest.mark.parametrize(
    ("ssh", "place"),
    [
        ({"password": "${file:~no-such-user/password}"}, "ssh.password"),
        ({"password": "${file:a\0b}"}, "ssh.password"),
        ({"key": "~no-such-user/id"}, "ssh.key"),
        ({"known_hosts": "a\0b"}, "ssh.known_hosts"),
    ],
)
def test_a_path_that_leads_nowhere_is_a_mistake(tmp_path: Path, ssh: dict[str, str], place: str) -> None:
    data = document()
    data["ssh"] = ssh
    assert place in mistakes(tmp_path, data)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda d: d["hosts"][0].update(name=f"{'a' * 40}.{'b' * 40}"), "hosts[0].name"),
        (lambda d: d["cluster"].update(control_plane_endpoint="api:99999"), "cluster.control_plane_endpoint"),
        (lambda d: d["cluster"].update(control_plane_endpoint="api:0"), "cluster.control_plane_endpoint"),
        (
            lambda d: d["hosts"][1].update(address="192.168.1.10", internal_address="10.0.0.9", ssh={"port": 22}),
            "hosts[1].address",
        ),
    ],
)
def test_what_could_never_work_on_a_host_is_a_mistake(tmp_path: Path, change: Any, place: str) -> None:
    """Linux allows host names of 64 characters, and the default port is 22."""
    data = document()
    change(data)
    assert place in mistakes(tmp_path, data)


@pytest.mark.parametrize(("word", "control_plane"), [("master", True), ("control-plane", True), ("worker", False)])
def test_the_names_of_the_roles(tmp_path: Path, word: str, control_plane: bool) -> None:
    assert (
        inventory(tmp_path, lambda data: data["hosts"][1].update(role=word)).hosts[1].is_control_plane is control_plane
    )


def test_minors_older_than_upstreams_packages_need_a_repository(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"cluster.kubernetes: .* starts with 1\.24"):
        inventory(tmp_path, kubernetes="1.23")
    assert inventory(tmp_path, kubernetes="1.23", package_repository="https://mirror.example.com/k8s").cluster.minor
    assert inventory(tmp_path, kubernetes="1.24").cluster.minor == (1, 24)


# --- mirrors ---


@pytest.mark.parametrize("name", ["aliyun", "tsinghua"])
def test_a_preset_changes_what_must_change_together(tmp_path: Path, name: str) -> None:
    cluster = inventory(tmp_path, mirror=name).cluster
    texts = [cluster.image_repository, cluster.package_repository, cluster.runtime.package_repository]
    texts.append(cluster.network.image_repository or "")
    assert not [text for text in texts if re.search(r"k8s\.io|docker\.com|^$|docker\.io|ghcr\.io(/|$)", text)]
    assert cluster.os_repository == name
    assert cluster.package_key == KUBERNETES_KEYS


def test_own_keys_are_kept_beside_a_preset(tmp_path: Path) -> None:
    own: dict[str, Any] = {
        "image_repository": "harbor.example.com/k8s",
        "runtime": {"version": "1.7.29"},
        "network": "flannel",
    }
    cluster = inventory(tmp_path, mirror="aliyun", **own).cluster
    assert cluster.image_repository == "harbor.example.com/k8s"
    assert cluster.runtime.version == "1.7.29"
    assert cluster.runtime.package_repository == "https://mirrors.aliyun.com/docker-ce"
    assert cluster.network.image_repository
    assert inventory(tmp_path, mirror="aliyun", runtime="containerd").cluster.runtime == (
        inventory(tmp_path, mirror="aliyun").cluster.runtime
    )


@pytest.mark.parametrize(
    ("cluster", "place", "words"),
    [
        ({"mirror": "azure"}, "cluster.mirror", "is not one of 'none', 'aliyun' or 'tsinghua'"),
        ({"mirror": ["aliyun"]}, "cluster.mirror", "is not one of"),
        ({"mirror": "aliyun", "runtime": 5}, "cluster.runtime", "must be a mapping"),
        ({"mirror": "aliyun", "network": [1]}, "cluster.network", "must be a mapping"),
        ({"os_repository": "valt"}, "cluster.os_repository", "is not vault, aliyun, tsinghua, keep, or an http"),
        ({"os_repository": "http://u:p@a.example"}, "cluster.os_repository", "a user or a password in a URL"),
        ({"mirror": "aliyun", "kubernetes": "1.23"}, "cluster.kubernetes", "mirrors.aliyun.com/kubernetes-new"),
    ],
)
def test_wrong_mirrors_are_refused(tmp_path: Path, cluster: dict[str, Any], place: str, words: str) -> None:
    with pytest.raises(InventoryError) as caught:
        inventory(tmp_path, **{"kubernetes": "1.34", **cluster})
    assert place in str(caught.value)
    assert words in str(caught.value)


def test_requirements_are_named_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(InventoryError, match=r"preflight.warn\[0\].*'product_uuid' is not one of .*'product-uuid'"):
        inventory(tmp_path, lambda data: data.update(preflight={"warn": ["product_uuid"]}))
    made = inventory(tmp_path, lambda data: data.update(preflight={"warn": ["product-uuid", "clock"]}))
    assert made.preflight.warn == ("product-uuid", "clock")
