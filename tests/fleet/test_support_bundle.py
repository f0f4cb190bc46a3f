"""`support-bundle` of simulated hosts: what it holds, and that nothing planted on them or in the inventory is in it."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from pathlib import Path

from support.driver import Fleet
from support.labs import MakeLab
from support.planted import LINES, PLANTED, TOKEN

INVENTORY_SECRET = "planted-in-the-inventory-74"
RUNTIME_STATE = ("/run", "/var/log", "/home/kb/.cache")
"""What a look at a host may change: sshd's and sudo's own records."""


def files_of(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        return {
            member.name.removeprefix("kbootstrap-support/"): found.read().decode()
            for member in opened
            if (found := opened.extractfile(member))
        }


def plant(fleet: Fleet) -> None:
    """Put secrets into the logs of the control plane host, into a journal of ours, and into the inventory."""
    lines = [*LINES[:-1], f"sudo: the password is {INVENTORY_SECRET}", LINES[-1]]
    log = "".join(f"1795797124 cp1 kubelet: {line}\n" for line in lines)
    fleet.run("cp1", "cat >>/run/sim/journal/all", log)
    fleet.run("cp1", "cat >>/var/lib/kbootstrap/init.log", "\n".join(lines) + "\n")
    fleet.run("w1", "cat >>/etc/os-release", f'PRETTY_NAME="Some OS {TOKEN} {INVENTORY_SECRET}"\n')
    (journal,) = (fleet.inventory.parent / "state/kbootstrap/runs").glob("*/events.jsonl")
    with journal.open("a") as file:
        file.writelines(json.dumps({"event": "Notice", "text": line}) + "\n" for line in lines)
        file.write(f'{{"event": "Notice", "text": "torn {INVENTORY_SECRET} {TOKEN}')
    fleet.change_inventory(lambda text: text.replace("ssh:\n", f"ssh:\n  sudo_password: {INVENTORY_SECRET}\n", 1))


def test_the_bundle_has_logs_and_facts_and_no_planted_secret(finished: MakeLab, tmp_path: Path) -> None:
    fleet = finished(1, 1)
    plant(fleet)
    before = fleet.snapshot(*RUNTIME_STATE)
    path = tmp_path / "x.tar.gz"
    fleet.kbootstrap("support-bundle", str(fleet.inventory), "--file", str(path))
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
    files = files_of(path.read_bytes())
    encoded = base64.b64encode(INVENTORY_SECRET.encode()).decode()
    everything = "\n".join(files.values())
    assert [secret for secret in (INVENTORY_SECRET, encoded, *PLANTED) if secret in everything] == []
    assert "harmless: the last line of all" in files["hosts/cp1/kubelet.txt"]
    assert "harmless: the last line of all" in files["hosts/cp1/kubeadm.txt"]
    assert "Some OS ***" in json.loads(files["hosts/w1/facts.json"])["os_name"]
    assert "w1" in files["hosts/cp1/nodes.txt"]
    assert "kube-apiserver" in files["hosts/cp1/pods.txt"]
    assert "ActiveState=active" in files["hosts/w1/services.txt"]
    assert "hosts/w1/pods.txt" not in files
    assert "kube-proxy" in files["hosts/w1/containers.txt"]
    assert [name for name in files if name.endswith("problem.txt")] == []
    assert len([name for name in files if name.startswith("runs/")]) == 1


def test_a_host_that_does_not_answer_and_a_run_at_work_do_not_matter(shared: Fleet, tmp_path: Path) -> None:
    text = shared.inventory.read_text()
    broken = tmp_path / "broken.yaml"
    broken.write_text(text + "    ssh: {port: 1}\n")
    # Another run holds the lock of the host.
    shared.run("cp1", "mkdir -p /run/kbootstrap")
    shared.run("cp1", "nohup flock /run/kbootstrap/session sleep 60 >/dev/null 2>&1 &")
    path = tmp_path / "x.tar.gz"
    shared.kbootstrap("support-bundle", str(broken), "--file", str(path))
    files = files_of(path.read_bytes())
    assert "w1" in files["hosts/w1/problem.txt"]
    assert "hosts/w1/facts.json" not in files
    assert "hosts/cp1/problem.txt" not in files
    assert "uname" in files["hosts/cp1/system.txt"]
    assert "  cp1: complete\n  w1: " in files["README.txt"]
