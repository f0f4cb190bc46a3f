"""The files that kbootstrap writes on the operator's machine: journals, kubeconfigs, new inventories."""

from __future__ import annotations

import json
import stat
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.journals import read

from kbootstrap.errors import InventoryError, KbootstrapError
from kbootstrap.events import Notice
from kbootstrap.inventory import generate, load
from kbootstrap.inventory.from_ansible import from_ansible
from kbootstrap.inventory.from_vagrant import from_vagrant
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.redact import Redactor
from kbootstrap.run.journal import KEPT, Journal
from kbootstrap.run.redaction import clean_event
from kbootstrap.secret import Secret


def test_a_journal_is_private_and_masked(tmp_path: Path) -> None:
    told = Notice(1.0, "warning", 'the password is hunter22 and "hunter22"', "cp1")
    with Journal("run-1", tmp_path / "runs") as journal:
        journal.handle(clean_event(Redactor([Secret("hunter22")]), told))
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700
    assert "hunter22" not in journal.path.read_text()
    (event,) = read(journal.path)
    assert (event["event"], event["host"]) == ("Notice", "cp1")


def test_a_journal_that_was_cut_off_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"event": "Notice"}\n{"event": "Noti')
    assert [event["event"] for event in read(path)] == ["Notice"]


def test_old_journals_go(tmp_path: Path) -> None:
    for number in range(KEPT + 5):
        with Journal(f"run-{number:03d}", tmp_path) as journal:
            journal.handle(Notice(1.0, "info", "x"))
    kept = sorted(path.name for path in tmp_path.iterdir())
    assert len(kept) == KEPT
    assert kept[-1] == f"run-{KEPT + 4:03d}"


def admin_conf(ca: str = "Q0E=", server: str = "https://10.0.0.1:6443") -> str:
    cluster = {"name": "kubernetes", "cluster": {"certificate-authority-data": ca, "server": server}}
    user = {"name": "kubernetes-admin", "user": {"client-key-data": "S0VZ"}}
    return yaml.safe_dump({"apiVersion": "v1", "kind": "Config", "clusters": [cluster], "users": [user]})


def test_a_kubeconfig_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "new" / "config"
    kubeconfig.save(admin_conf(), path, "demo", merge=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    written = yaml.safe_load(path.read_text())
    assert written["current-context"] == "demo"
    assert written["users"][0]["user"] == {"client-key-data": "S0VZ"}


def test_merging_keeps_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.save(admin_conf(ca="T1RIRVI="), path, "other", merge=False)
    kubeconfig.save(admin_conf(), path, "demo", merge=True)
    kubeconfig.save(admin_conf(server="https://10.0.0.2:6443"), path, "demo", merge=True)
    written = yaml.safe_load(path.read_text())
    assert [entry["name"] for entry in written["clusters"]] == ["other", "demo"]
    assert written["current-context"] == "other"
    assert written["clusters"][1]["cluster"]["server"] == "https://10.0.0.2:6443"


def test_another_clusters_entry_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "config"
    kubeconfig.save(admin_conf(ca="T1RIRVI="), path, "demo", merge=False)
    before = path.read_text()
    for merge in (True, False):
        with pytest.raises(KbootstrapError, match="another cluster"):
            kubeconfig.save(admin_conf(), path, "demo", merge=merge)
    assert path.read_text() == before


def test_a_file_that_is_no_kubeconfig_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "notes"
    path.write_text("shopping: [milk]\n")
    with pytest.raises(KbootstrapError, match="is not a kubeconfig"):
        kubeconfig.save(admin_conf(), path, "demo", merge=True)
    assert path.read_text() == "shopping: [milk]\n"


VAGRANT = """\
Host cp1
  HostName 127.0.0.1
  User vagrant
  Port 2222
  StrictHostKeyChecking no
  IdentityFile "/v/cp1/private key"

Host w1
  HostName 127.0.0.1
  User vagrant
  Port 2200
  StrictHostKeyChecking no
  IdentityFile /v/w1/key
"""
ANSIBLE = """\
[kube_control_plane]
master ansible_host=10.0.0.1

[kube_node]
node[1:2].example.com ansible_user=ops

[all:vars]
ansible_user=root
ansible_port=2222
ansible_ssh_private_key_file=/keys/id

[kube_node:vars]
node_ip=x
"""


def loaded(folder: Path, hosts: list[generate.NewHost]) -> Any:
    path = folder / "new.yaml"
    path.write_text(generate.render(hosts, name="demo", kubernetes="1.34"))
    return load(path, env={})


def test_an_inventory_from_arguments(tmp_path: Path) -> None:
    made = loaded(tmp_path, generate.from_targets(["root@10.0.0.1", "ops@10.0.0.2:2222", "10.0.0.3"], 1))
    assert [(h.name, h.role, h.ssh.user, h.ssh.port) for h in made.hosts] == [
        ("cp1", "control-plane", "root", None),
        ("w1", "worker", "ops", 2222),
        ("w2", "worker", None, None),
    ]


def test_an_inventory_from_vagrant(tmp_path: Path) -> None:
    made = loaded(tmp_path, from_vagrant(VAGRANT))
    assert [(h.ssh.port, h.node_ip, str(h.ssh.key)) for h in made.hosts] == [
        (2222, "192.168.56.10", "/v/cp1/private key"),
        (2200, "192.168.56.11", "/v/w1/key"),
    ]
    assert made.hosts[0].ssh.host_key_policy == "accept-new"


def test_an_inventory_from_ansible(tmp_path: Path) -> None:
    text = ANSIBLE.replace("node[1:2].example.com", "node1 ansible_host=10.0.0.2").replace("ops", "ops ansible_port=22")
    made = loaded(tmp_path, from_ansible(text).hosts)
    assert [(h.name, h.address, h.role, h.ssh.user, h.ssh.port) for h in made.hosts] == [
        ("master", "10.0.0.1", "control-plane", "root", 2222),
        ("node1", "10.0.0.2", "worker", "ops", None),
    ]
    assert str(made.hosts[0].ssh.key) == "/keys/id"


def test_ranges_of_an_ansible_inventory() -> None:
    hosts = from_ansible(ANSIBLE).hosts
    assert [host.name for host in hosts] == ["master", "node1.example.com", "node2.example.com"]


@pytest.mark.parametrize("targets", [[], ["not a host"], ["a@b:99999"], ["root@10.0.0.1", "root@10.0.0.1"]])
def test_arguments_that_are_refused(targets: list[str]) -> None:
    with pytest.raises(InventoryError):
        generate.from_targets(targets, 1)


@pytest.mark.parametrize("text", ["", "[web]\na\n", "[kube_node\n", "[masters]\na ansible_port=x\n"])
def test_ansible_inventories_that_are_refused(text: str) -> None:
    with pytest.raises(InventoryError):
        from_ansible(text)


def test_journal_lines_are_json(tmp_path: Path) -> None:
    with Journal("run", tmp_path) as journal:
        journal.handle(Notice(1.0, "warning", "tab\tand \x1b[31m red", ""))
    assert json.loads(journal.path.read_text())["level"] == "warning"
