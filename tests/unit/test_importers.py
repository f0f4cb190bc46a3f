"""Inventories from the files of k0sctl and KubeKey, and through `ansible-inventory`: each one loads."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner
from support.examples import written

from kbootstrap.cli import cli
from kbootstrap.errors import InventoryError
from kbootstrap.inventory import load
from kbootstrap.inventory.from_k0sctl import from_k0sctl
from kbootstrap.inventory.from_kubekey import from_kubekey
from kbootstrap.inventory.generate import render
from kbootstrap.inventory.imported import Imported
from kbootstrap.inventory.models import Inventory

K0SCTL = """\
apiVersion: k0sctl.k0sproject.io/v1beta1
kind: Cluster
metadata:
  name: My_Shop
spec:
  hosts:
    - role: worker
      ssh: {address: 10.0.0.2, user: ops, port: 2222, keyPath: ~/.ssh/shop}
      files: [{src: a, dst: b}]
    - role: controller
      hostname: Front_1
      privateAddress: 192.168.0.1
      ssh:
        address: 10.0.0.1
        keyPath: ~/.ssh/shop
        bastion: {address: 10.9.9.9, user: jump}
    - role: controller+worker
      openSSH: {address: 10.0.0.3}
  k0s:
    version: v1.34.1+k0s.0
    config:
      spec:
        api: {externalAddress: api.example.com, sans: [api.example.com]}
        network: {provider: calico, podCIDR: 10.244.0.0/16, serviceCIDR: 10.96.0.0/16}
        storage: {type: etcd}
  hooks: {apply: {}}
"""

KUBEKEY = """\
apiVersion: kubekey.kubesphere.io/v1alpha2
kind: Cluster
metadata: {name: sample}
spec:
  hosts:
  - {name: node1, address: 172.16.0.1, internalAddress: 172.16.0.1, port: 8022, user: ubuntu, password: "Pw@1"}
  - {name: node2, address: 172.16.0.2, internalAddress: "10.1.0.2,fd00::2", user: ubuntu, password: "Pw@1"}
  - {name: node3, address: 172.16.0.3, internalAddress: 10.1.0.3, privateKeyPath: "~/.ssh/id_rsa", arch: arm64}
  - {name: spare, address: 172.16.0.9}
  roleGroups:
    etcd: [node1]
    control-plane: [node1]
    worker: ["node[1:3]"]
    registry: [node1]
  controlPlaneEndpoint: {internalLoadbalancer: haproxy, domain: lb.kubesphere.local, address: "", port: 6443}
  kubernetes: {version: v1.33.1, clusterName: cluster.local, containerManager: docker}
  network: {plugin: calico, kubePodsCIDR: 10.233.64.0/18, kubeServiceCIDR: 10.233.0.0/18}
  addons: []
"""

KUBEKEY_4 = """\
apiVersion: kubekey.kubesphere.io/v1
kind: Inventory
metadata: {name: default}
spec:
  hosts:
    node1: {connector: {type: ssh, host: 10.0.0.1, port: 2222, user: root, password: one}, internal_ipv4: 192.168.0.1}
    node2: {connector: {host: 10.0.0.2, user: ops, password: two, private_key: /keys/ops}, storage: []}
    10.0.0.3:
  groups:
    k8s_cluster: {groups: [kube_control_plane, kube_worker]}
    kube_control_plane: {hosts: [node1]}
    kube_worker: {hosts: [node2], groups: [more]}
    more: {hosts: ["10.0.0.3"]}
    nfs: {hosts: [node1]}
"""


def loaded(folder: Path, imported: Imported, **env: str) -> Inventory:
    cluster = dict(imported.cluster)
    name, version = cluster.pop("name", "demo"), cluster.pop("kubernetes", "1.34")
    return load(written(folder, render(imported.hosts, name=name, kubernetes=version, cluster=cluster)), env=env)


def test_what_a_k0sctl_file_says(tmp_path: Path) -> None:
    imported = from_k0sctl(K0SCTL)
    made = loaded(tmp_path, imported)
    assert [(host.name, host.role, host.address, host.node_ip, host.schedulable) for host in made.hosts] == [
        ("front-1", "control-plane", "10.0.0.1", "192.168.0.1", None),
        ("cp2", "control-plane", "10.0.0.3", "10.0.0.3", True),
        ("w1", "worker", "10.0.0.2", "10.0.0.2", None),
    ]
    assert [(host.ssh.user, host.ssh.port) for host in made.hosts] == [("root", None), ("root", None), ("ops", 2222)]
    assert [(hop.address, hop.user) for hop in made.hosts[0].ssh.bastions] == [("10.9.9.9", "jump")]
    assert made.hosts[2].ssh.key == Path("~/.ssh/shop").expanduser()
    assert (made.cluster.name, made.cluster.kubernetes) == ("my-shop", "1.34.1")
    assert (made.endpoint, str(made.cluster.service_cidr)) == ("api.example.com:6443", "10.96.0.0/16")
    assert imported.notes == (
        "node names have lower-case letters, digits, - and . only: Front_1 is now front-1",
        "not taken over from the hosts: files",
        "not taken over from spec: hooks",
        "not taken over from k0s.config.spec: storage",
        "kbootstrap makes a cluster with kubeadm: it does not take over a running cluster of k0s",
    )


def test_what_a_kubekey_cluster_says(tmp_path: Path) -> None:
    imported = from_kubekey(KUBEKEY)
    made = loaded(tmp_path, imported, KB_PASSWORD="Pw@1", KB_SUDO_PASSWORD="Pw@1")
    assert [(host.name, host.role, host.node_ip, host.schedulable, host.ssh.sudo) for host in made.hosts] == [
        ("node1", "control-plane", "172.16.0.1", True, "password"),
        ("node2", "worker", "10.1.0.2", None, "password"),
        ("node3", "worker", "10.1.0.3", None, "none"),
    ]
    assert (made.cluster.kubernetes, made.endpoint) == ("1.33.1", "172.16.0.1:6443")
    assert (str(made.cluster.pod_cidr), str(made.cluster.service_cidr)) == ("10.233.64.0/18", "10.233.0.0/18")
    assert imported.notes == (
        "passwords are not written; before the next command, set KB_PASSWORD, KB_SUDO_PASSWORD",
        "not taken over from spec.hosts, because no group has them: spare",
        "not taken over from the hosts: arch",
        "not taken over from roleGroups: registry",
        "not taken over from spec: addons",
        "KubeKey's internal load balancer is not taken over: the endpoint needs one of your own",
    )


def test_what_an_inventory_of_kubekey_4_says(tmp_path: Path) -> None:
    """The passwords differ, so every host has variables of its own. Root needs none for sudo."""
    imported = from_kubekey(KUBEKEY_4)
    secrets = {"KB_PASSWORD_NODE1": "one", "KB_PASSWORD_NODE2": "two", "KB_SUDO_PASSWORD": "two"}
    made = loaded(tmp_path, imported, **secrets)
    assert [(host.name, host.address, host.node_ip, host.ssh.port) for host in made.hosts] == [
        ("node1", "10.0.0.1", "192.168.0.1", 2222),
        ("node2", "10.0.0.2", "10.0.0.2", None),
        ("10.0.0.3", "10.0.0.3", "10.0.0.3", None),
    ]
    assert [host.ssh.password and host.ssh.password.reveal() for host in made.hosts] == ["one", "two", None]
    assert imported.notes[0].endswith("set KB_PASSWORD_NODE1, KB_PASSWORD_NODE2, KB_SUDO_PASSWORD")
    assert "not taken over from groups: more, nfs" in imported.notes


@pytest.mark.parametrize(
    ("read", "text", "words"),
    [
        (from_k0sctl, KUBEKEY, "this is no Cluster of k0sctl.k0sproject.io/v1beta1"),
        (
            from_k0sctl,
            K0SCTL.replace("role: controller+worker", "role: boss"),
            "spec.hosts[2].role: 'boss' is not one of",
        ),
        (from_k0sctl, K0SCTL.replace("role: controller", "role: worker"), "'worker+worker' is not one of"),
        (from_k0sctl, K0SCTL.replace("openSSH:", "winRM:"), "spec.hosts[2] is reached by winRM"),
        (
            from_k0sctl,
            K0SCTL.replace("openSSH: {address: 10.0.0.3}", "openSSH: {}"),
            "spec.hosts[2].openSSH has no address",
        ),
        (from_k0sctl, K0SCTL.replace("port: 2222", "port: 99999"), "spec.hosts[0].ssh.port: '99999' is not a port"),
        (from_k0sctl, K0SCTL.replace("role: worker", "role: [worker]"), "spec.hosts[0].role is not a text"),
        (
            from_k0sctl,
            "apiVersion: k0sctl.k0sproject.io/v1beta1\nkind: Cluster\nspec: {hosts: a}\n",
            "spec.hosts is not a list",
        ),
        (from_k0sctl, "spec:\n\thosts: a\n", "line 2 of the k0sctl configuration is not YAML"),
        (from_kubekey, K0SCTL, "this is no Cluster of kubekey.kubesphere.io/v1alpha2"),
        (from_kubekey, KUBEKEY.replace("node[1:3]", "node[1:9]"), "hosts that are not in spec.hosts: node4"),
        (from_kubekey, KUBEKEY.replace("node[1:3]", "node[3:1]"), "the range node[3:1] is empty or too large"),
        (from_kubekey, KUBEKEY.replace("control-plane:", "masters:"), "no host is in the group of the control plane"),
        (from_kubekey, KUBEKEY.replace("address: 172.16.0.9", "port: 22"), "spec.hosts[3] has no address"),
        (from_kubekey, KUBEKEY_4.replace("type: ssh", "type: local"), "spec.hosts.node1.connector.type is local"),
        (from_kubekey, KUBEKEY_4.replace("groups: [more]", "groups: [kube_worker]"), "contains itself"),
    ],
)
def test_what_cannot_be_taken_over(read: Callable[[str], Imported], text: str, words: str) -> None:
    with pytest.raises(InventoryError) as refused:
        read(text)
    assert words in refused.value.message


def test_no_password_gets_into_the_new_file(tmp_path: Path) -> None:
    for option, text in (("--from-kubekey", KUBEKEY), ("--from-kubekey", KUBEKEY_4)):
        (tmp_path / "other.yaml").write_text(text, encoding="utf-8")
        made = CliRunner().invoke(cli, ["init", option, str(tmp_path / "other.yaml"), "-f", "-"])
        assert made.exit_code == 0
        for secret in ("Pw@1", "one", "two"):
            assert f": {secret}" not in made.output
            assert f'"{secret}"' not in made.output


ANSIBLE = "[masters]\nm ansible_host=10.0.0.1\n[workers]\nw ansible_host=10.0.0.2\n"
STAND_IN = """\
#!/bin/sh
[ "$1 $3" = "-i --list" ] && [ -f "$2" ] || exit 1
echo '{"masters": {"hosts": ["m"]}, "_meta": {"hostvars": {"m": {"ansible_host": "10.0.0.7"}}}}'
"""


@pytest.mark.parametrize(
    ("program", "address"), [(STAND_IN, "10.0.0.7"), ("#!/bin/sh\necho no >&2; exit 4\n", "10.0.0.1")]
)
def test_a_stand_in_for_ansible_inventory_is_asked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str, address: str
) -> None:
    (tmp_path / "ansible-inventory").write_text(program)
    (tmp_path / "ansible-inventory").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    (tmp_path / "hosts").write_text(ANSIBLE)
    made = CliRunner().invoke(cli, ["init", "--from-ansible", str(tmp_path / "hosts"), "-f", "-"])
    assert made.exit_code == 0
    assert f"address: {address}\n" in made.output
    fails = address == "10.0.0.1"
    assert ("so it is read without: no" in made.output) == fails
    assert ("was read by ansible-inventory" in made.output) == (not fails)


def test_a_stand_in_for_ansible_inventory_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "ansible-inventory").write_text("#!/bin/sh\necho wait >&2\nexec sleep 60\n")
    (tmp_path / "ansible-inventory").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("kbootstrap.cli.inventories.ANSIBLE_S", 0.5)
    (tmp_path / "hosts").write_text(ANSIBLE)
    made = CliRunner().invoke(cli, ["init", "--from-ansible", str(tmp_path / "hosts"), "-f", "-"])
    assert made.exit_code == 0
    assert "timed out" in made.output


@pytest.mark.skipif(shutil.which("ansible-inventory") is None, reason="ansible-core is not installed")
def test_the_real_ansible_inventory_is_asked(tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(ANSIBLE)
    (tmp_path / "host_vars").mkdir()
    (tmp_path / "host_vars" / "w.yaml").write_text("ansible_host: 10.0.0.5\n")
    made = CliRunner().invoke(cli, ["init", "--from-ansible", str(tmp_path / "hosts"), "-f", "-"])
    assert made.exit_code == 0
    assert "address: 10.0.0.5\n" in made.output
