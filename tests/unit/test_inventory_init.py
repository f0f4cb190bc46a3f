"""New inventories: each one loads again with the same values."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st
from support.examples import written

from kbootstrap.errors import InventoryError
from kbootstrap.inventory import load
from kbootstrap.inventory.from_ansible import from_ansible
from kbootstrap.inventory.from_vagrant import from_vagrant
from kbootstrap.inventory.generate import NewHost, from_targets, look_up, render, with_addresses

_PATHS = st.text(alphabet="abc/ ,:#{}[]'\"&*!|>%@`?-$~", min_size=1, max_size=150).map(lambda text: "/" + text + "x")
_USERS = st.text(alphabet="abc01-_.\\", min_size=1, max_size=20) | st.sampled_from(["null", "yes", "1e3", "0x1", "a,b"])
_LOGINS = st.tuples(st.just("") | _USERS, st.integers(1, 65535), st.just("") | _PATHS)


@settings(max_examples=60, deadline=None, phases=[Phase.explicit, Phase.generate])
@example([("", 22, ""), ("a,b", 22, "")])
@example([("", 22, ""), ("", 22, "/a b/" + "c" * 80 + " d/id")])
@example([("", 22, ""), ("", 22, "/keys/[x]")])
@given(logins=st.lists(_LOGINS, min_size=1, max_size=3))
def test_every_login_is_read_back_as_it_was(logins: list[tuple[str, int, str]]) -> None:
    hosts = [
        NewHost(f"h{index}", f"10.0.0.{index + 1}", index == 0, user, port, key)
        for index, (user, port, key) in enumerate(logins)
    ]
    with tempfile.TemporaryDirectory() as folder:
        made = load(written(Path(folder), render(hosts, name="demo", kubernetes="1.34")), env={})
    read = [(host.ssh.user or "", host.ssh.port or 22, str(host.ssh.key or "")) for host in made.hosts]
    assert read == [(user, port, str(Path(key)) if key else "") for user, port, key in logins]


@pytest.mark.parametrize(("masters", "roles"), [(1, "mww"), (2, "mmw"), (3, "mmm")])
def test_the_first_hosts_are_the_control_planes(tmp_path: Path, masters: int, roles: str) -> None:
    hosts = from_targets(["a@10.0.0.1", "a@10.0.0.2", "a@10.0.0.3"], masters)
    made = load(written(tmp_path, render(hosts, name="demo", kubernetes="1.34")), env={})
    assert "".join("m" if host.is_control_plane else "w" for host in made.hosts) == roles


def test_settings_of_all_hosts_are_written_once() -> None:
    text = render(from_targets(["root@10.0.0.1:2222", "root@10.0.0.2:2222"], 1), name="demo", kubernetes="1.34")
    assert text.count("user: root") == text.count("port: 2222") == 1
    assert "sudo: none" in text


def test_more_control_planes_than_hosts_are_refused() -> None:
    with pytest.raises(InventoryError, match=r"3 control plane hosts requested, but only 1 host$"):
        from_targets(["root@10.0.0.1"], 3)


@pytest.mark.parametrize(("name", "kubernetes"), [("Bad Name", "1.34"), ("demo", "latest"), ("demo", "1.99")])
def test_an_inventory_that_would_not_load_is_not_written(name: str, kubernetes: str) -> None:
    with pytest.raises(InventoryError):
        render(from_targets(["root@10.0.0.1"], 1), name=name, kubernetes=kubernetes)


def test_vagrant_machines_with_addresses_of_their_own_keep_them() -> None:
    (host,) = from_vagrant("Host box\n  HostName 172.28.128.3\n  User vagrant\n  StrictHostKeyChecking yes\n")
    assert (host.address, host.internal_address, host.port, host.trusted_at_first) == ("172.28.128.3", "", 22, False)


def test_groups_of_groups_of_an_ansible_inventory() -> None:
    text = "[masters]\nm\n[workers:children]\nrack\n[rack:children]\nshelf\n[shelf]\nn1\nn2\n"
    assert [(host.name, host.control_plane) for host in from_ansible(text).hosts] == [
        ("m", True),
        ("n1", False),
        ("n2", False),
    ]


def test_the_most_specific_ansible_variable_wins() -> None:
    text = (
        "[masters]\nm ansible_user=host\n[workers]\nw\n[etcd]\nm\n"
        "[all:vars]\nansible_user = all\nansible_port = 2201\n[workers:vars]\nansible_user='group'\n"
    )
    assert [(host.user, host.port) for host in from_ansible(text).hosts] == [("host", 2201), ("group", 2201)]


def test_leading_zeros_of_an_ansible_range_stay() -> None:
    assert [host.name for host in from_ansible("[masters]\nn[08:10].lan\n").hosts] == ["n08.lan", "n09.lan", "n10.lan"]


@pytest.mark.parametrize(
    "text", ["[masters]\n''\n", "[masters]\nn[3:1]\n", "[masters]\nn[1:999999]\n", "[masters]\n'a"]
)
def test_ansible_lines_that_name_no_host_are_refused(text: str) -> None:
    with pytest.raises(InventoryError):
        from_ansible(text)


KUBESPRAY = """\
[all]
node1 ansible_host=95.54.0.12 ip=10.3.0.1 access_ip=10.3.0.1 etcd_member_name=etcd1
node2 ansible_host=95.54.0.13 ip=10.3.0.2 access_ip=95.54.0.13
node3:2222 ansible_host=95.54.0.14 access_ip=10.3.0.3 ansible_user=ops
db1 ansible_host=95.54.0.15
jump ansible_host=95.54.0.1 ansible_user=ann
[bastion]
jump
[kube_control_plane]
node1
[etcd:children]
kube_control_plane
[kube_node]
node[1:3]
[k8s_cluster:children]
kube_control_plane
kube_node
[k8s_cluster:vars]
ansible_user=centos
ansible_become=true
ansible_become_password=hunter2
node_labels={"a": "b"}
"""
AS_YAML = """\
all:
  hosts:
    node1: {ansible_host: 95.54.0.12, ip: 10.3.0.1, access_ip: 10.3.0.1, etcd_member_name: etcd1}
    node2: {ansible_host: 95.54.0.13, ip: 10.3.0.2, access_ip: 95.54.0.13}
    node3: {ansible_host: 95.54.0.14, access_ip: 10.3.0.3, ansible_port: 2222, ansible_user: ops}
    db1: {ansible_host: 95.54.0.15}
  children:
    bastion: {hosts: {jump: {ansible_host: 95.54.0.1, ansible_user: ann}}}
    k8s_cluster:
      vars:
        ansible_user: centos
        ansible_become: true
        ansible_become_password: !vault |
          $ANSIBLE_VAULT;1.1;AES256
        node_labels: {a: b}
      children:
        kube_control_plane: {hosts: {node1: }}
        kube_node:
          hosts:
            node[1:3]:
"""
AS_JSON = json.dumps(
    {
        "_meta": {
            "hostvars": {
                "node1": {"ansible_host": "95.54.0.12", "ip": "10.3.0.1", "etcd_member_name": "etcd1"},
                "node2": {"ansible_host": "95.54.0.13", "ip": "10.3.0.2", "access_ip": "95.54.0.13"},
                "node3": {"ansible_host": "95.54.0.14", "access_ip": "10.3.0.3", "ansible_port": 2222},
                "db1": {},
                "jump": {"ansible_host": "95.54.0.1", "ansible_user": "ann"},
            }
        },
        "all": {"children": ["bastion", "k8s_cluster", "ungrouped"]},
        "bastion": {"hosts": ["jump"]},
        "ungrouped": {"hosts": ["db1"]},
        "k8s_cluster": {
            "children": ["kube_control_plane", "kube_node"],
            "vars": {"ansible_user": "centos", "ansible_become_password": "hunter2", "node_labels": {"a": "b"}},
        },
        "kube_control_plane": {"hosts": ["node1"]},
        "kube_node": {"hosts": ["node1", "node2", "node3"]},
    }
)


@pytest.mark.parametrize("text", [KUBESPRAY, AS_YAML, AS_JSON], ids=["ini", "yaml", "json"])
def test_what_an_ansible_inventory_says_is_taken_over_or_named(tmp_path: Path, text: str) -> None:
    imported = from_ansible(text)
    env = {"KB_SUDO_PASSWORD": "secret"}
    made = load(written(tmp_path, render(imported.hosts, name="demo", kubernetes="1.34")), env=env)
    assert [(host.name, host.address, host.node_ip, host.ssh.port) for host in made.hosts] == [
        ("node1", "95.54.0.12", "10.3.0.1", None),
        ("node2", "95.54.0.13", "10.3.0.2", None),
        ("node3", "95.54.0.14", "10.3.0.3", 2222),
    ]
    assert {host.ssh.sudo for host in made.hosts} == {"password"}
    assert [host.schedulable for host in made.hosts] == [True, None, None]
    assert {host.ssh.user for host in made.hosts} <= {"centos", "ops"}
    assert [(hop.address, hop.user) for host in made.hosts for hop in host.ssh.bastions] == [("95.54.0.1", "ann")] * 3
    notes = "\n".join(imported.notes)
    assert "left out, in no group of control plane or worker hosts: db1\n" in notes
    assert "access_ip is not taken over, ip is: node2\n" in notes
    assert "passwords are not written; before the next command, set KB_SUDO_PASSWORD\n" in notes
    assert re.search(r"2 variables not taken over: etcd_member_name, node_labels$", notes, re.M)
    assert "hunter2" not in notes + render(imported.hosts, name="demo", kubernetes="1.34")


@pytest.mark.parametrize(
    ("arguments", "hops"),
    [
        ("-J ann@jump.example.com:2222", [("jump.example.com", "ann", 2222, None)]),
        ("-o ProxyJump=a,b@c", [("a", None, None, None), ("c", "b", None, None)]),
        ("-oProxyJump=none -o StrictHostKeyChecking=no", []),
        ("-o 'ProxyCommand=ssh -W %h:%p -q ann@10.0.0.9'", [("10.0.0.9", "ann", None, None)]),
        (
            '-o ProxyCommand="ssh -i /keys/jump -p 2222 -o StrictHostKeyChecking=no -W %h:%p -l ann 10.0.0.9"',
            [("10.0.0.9", "ann", 2222, "/keys/jump")],
        ),
    ],
)
def test_bastions_in_the_arguments_of_ssh(tmp_path: Path, arguments: str, hops: list[Any]) -> None:
    text = f"[masters]\nm ansible_host=10.0.0.1\n[masters:vars]\nansible_ssh_common_args={arguments}\n"
    imported = from_ansible(text)
    made = load(written(tmp_path, render(imported.hosts, name="demo", kubernetes="1.34")), env={})
    found = [(hop.address, hop.user, hop.port, str(hop.key) if hop.key else None) for hop in made.hosts[0].ssh.bastions]
    assert found == hops
    assert "arguments of ssh" in imported.notes[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[masters]\nm ansible_host=10 .0\n", "line 2 of the Ansible inventory cannot be read: '.0' is not KEY=VALUE"),
        ("[masters]\nm\n[masters:foo]\n", "line 3 of the Ansible inventory cannot be read: '.masters:foo.' is not"),
        ("[masters]\nm\n[masters\n", "line 3 of the Ansible inventory cannot be read: '.masters' is not"),
        (
            "[masters]\nm\n[masters:vars]\nansible_user\n",
            "line 4 of the Ansible inventory cannot be read: 'ansible_user'",
        ),
        ("[masters]\nA_1 ansible_host=10.0.0.1\na-1 ansible_host=10.0.0.2\n", "A_1 and a-1 both become a-1"),
        ("[masters]\nm ansible_host='10.0.0.1 '\n", "is not an IPv4 address or a DNS name"),
        ("[masters]\nm ansible_host=10.0.0.1 ip=fd00::1\n", "m: IPv6 addresses are not supported"),
        ("[masters]\nm ansible_host='{{ address }}'\n", "m: ansible_host is a template"),
        ("[masters]\nm ansible_ssh_common_args='-o ProxyCommand=\"nc %h %p\"'\n", "is not `ssh -W"),
        ("all: {vars: 3}\n", "all in the Ansible inventory is not a mapping"),
        ("masters: {hosts: {m: [1]}}\n", "m in the Ansible inventory is not a mapping"),
        ("masters: &a {children: {b: *a}}\n", "nested too deeply|too large|not YAML"),
        ("masters: {hosts: }\n\t- x\n", "not YAML"),
    ],
)
def test_ansible_inventories_that_cannot_be_taken_over(text: str, words: str) -> None:
    with pytest.raises(InventoryError, match=words):
        from_ansible(text)


def test_names_become_node_names(tmp_path: Path) -> None:
    imported = from_ansible("[masters]\nK8s_Node1 ansible_host=10.0.0.1\nok.example.com ansible_host=10.0.0.2\n")
    assert [host.name for host in imported.hosts] == ["k8s-node1", "ok.example.com"]
    assert "K8s_Node1 is now k8s-node1" in imported.notes[0]


def test_ranges_as_ansible_has_them() -> None:
    text = "[masters]\nn[a:c] ansible_host=10.0.0.1\n[workers]\nr[1:2]-[08:10:2]\n"
    with pytest.raises(InventoryError, match=r"duplicate host 10\.0\.0\.1"):
        from_ansible(text)
    names = [host.name for host in from_ansible(text.replace(" ansible_host=10.0.0.1", "")).hosts]
    assert names == ["na", "nb", "nc", "r1-08", "r1-10", "r2-08", "r2-10"]


def test_inner_groups_count_more_than_outer_ones() -> None:
    text = "[a:children]\nmasters\n[masters]\nm\n[masters:vars]\nansible_user=in\n[z:children]\na\n"
    assert from_ansible(text + "[z:vars]\nansible_user=out\nansible_port=22\n[a:vars]\nansible_port=23\n").hosts[
        0
    ] == NewHost("m", "m", True, "in", 23)


@pytest.mark.parametrize("option", ["--from-ansible", "--from-vagrant"])
def test_a_file_that_is_no_text_is_refused(tmp_path: Path, option: str) -> None:
    path = tmp_path / "hosts"
    path.write_bytes(b"[masters]\n\xff\xfe\n")
    done = subprocess.run(
        [sys.executable, "-m", "kbootstrap", "init", option, str(path)],
        capture_output=True,
        text=True,
        env={"XDG_STATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 2, done.stderr
    assert "has a bug" not in done.stderr


def test_names_of_hosts_become_addresses_of_nodes(tmp_path: Path) -> None:
    hosts = with_addresses(from_targets(["ops@web1", "ops@web2", "ops@10.0.0.3"], 1), {"web1": "10.0.0.1"}.get)  # type: ignore[arg-type]
    text = render(hosts, name="demo", kubernetes="1.34")
    assert "# TODO internal_address: the IP address of web2 among the nodes" in text
    assert text.count("internal_address:") == 2
    with pytest.raises(InventoryError, match="'web2' is a name; also set internal_address"):
        load(written(tmp_path, text), env={})
    made = load(
        written(tmp_path, text.replace("# TODO internal_address: the IP", "internal_address: 10.0.0.2 #")), env={}
    )
    assert [(host.address, host.node_ip) for host in made.hosts] == [
        ("web1", "10.0.0.1"),
        ("web2", "10.0.0.2"),
        ("10.0.0.3", "10.0.0.3"),
    ]


@pytest.mark.parametrize("name", ["localhost", "a" * 64 + ".invalid"])
def test_a_name_without_a_usable_address_has_none(name: str) -> None:
    assert look_up(name) == ""


def test_a_name_without_an_address_is_reported(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "kbootstrap", "init", "ops@localhost", "-f", "-"], capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "cp1: cannot resolve localhost; set internal_address in the inventory" in done.stderr
    assert "TODO internal_address" in done.stdout
