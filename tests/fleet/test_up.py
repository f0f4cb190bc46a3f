"""`plan` and `up` on simulated hosts, as an operator runs them: the command, real SSH, a real shell."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import re
import secrets
import shutil
import signal
import stat
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support.breakpoints import until
from support.driver import Events, Fleet
from support.labs import DISTRIBUTIONS, MakeLab

from kbootstrap.remote.script import quote
from kbootstrap.secret import Secret
from kbootstrap.versions import NEWEST, OLDEST, Minor, show
from kbootstrap_lab import simulated
from kbootstrap_lab.backend import ca_sha256

BORN_IN_THE_RUN = {"resolve", "certificate-key", "delete-join-token", "nodes", "pods", "packet", "time-sync", "cri"}
"""Steps whose check needs something an earlier step of the same run makes, or that wait for it."""
RUNTIME_STATE = ("/run", "/var/log", "/home/kb/.cache")
"""What a look at a host may change: sshd's and sudo's own records."""


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
@pytest.mark.parametrize("state", ["clean", "dirty"])
def test_the_plan_is_true_and_changes_nothing(lab: MakeLab, distribution: str, state: str) -> None:
    """For a new and for a finished host: what plan calls a change is what up changes, step by step."""
    fleet = lab(1, 1, distribution, state=state)
    for round_number in (1, 2):
        before = fleet.snapshot(*RUNTIME_STATE)
        planned = fleet.plan("--exit-code", code=3 if round_number == 1 else 0)
        assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
        done = fleet.up()
        changes, changed, unknown = planned.those("change"), done.those("changed"), planned.those("unknown")
        foreseen = changed - unknown
        precision = len(changes & changed) / len(changes) if changes else 1.0
        recall = len(changes & foreseen) / len(foreseen) if foreseen else 1.0
        assert (precision, recall) == (1.0, 1.0), (changes - changed, foreseen - changes)
        assert {step for _, _, step in unknown} <= BORN_IN_THE_RUN
        assert planned.those("ok") <= done.those("ok")
        assert bool(changed) is (round_number == 1)
        for events, states in ((planned, {"ok", "change", "unknown"}), (done, {"ok", "changed"})):
            assert set(events.states.values()) <= states
            assert_shape(events)


def assert_shape(events: Events) -> None:
    """The JSON lines are an interface: a run, its steps, a result that counts them."""
    assert events.run["version"] == 1
    assert {line["type"] for line in events.lines[1:-1]} == {"step"}
    assert events.result["status"] == "ok"
    assert set(events.result["hosts"]) == set(events.run["hosts"])
    for state in ("ok", "change", "changed", "failed", "skipped", "unknown"):
        assert events.result[state] == events.counts[state]
        assert events.result[state] == sum(host[state] for host in events.result["hosts"].values())


def test_the_second_up_changes_nothing_and_is_as_fast_as_a_plan(finished: MakeLab) -> None:
    fleet = finished(1, 3)
    first = fleet.made_by
    assert first is not None
    before = fleet.snapshot(*RUNTIME_STATE)
    seconds: dict[str, list[float]] = {"up": [], "plan": []}

    def as_fast() -> bool:
        return min(seconds["up"]) < min(seconds["plan"]) * 1.1 + 0.1

    # Other tests run beside this one, so that a single time means little.
    while len(seconds["up"]) < 2 or (not as_fast() and len(seconds["up"]) < 8):
        second, planned = fleet.up(), fleet.plan()
        assert second.result["changed"] == planned.result["change"] == planned.result["unknown"] == 0
        seconds["up"].append(second.result["seconds"])
        seconds["plan"].append(planned.result["seconds"])
    assert first.result["changed"] > 15 * len(fleet.hosts) > 40
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
    assert as_fast(), seconds
    assert "4 of 4 nodes Ready, 0 pods not running" in fleet.kbootstrap("status", str(fleet.inventory))


def test_up_asks_before_it_changes_anything(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    said = fleet.kbootstrap("up", str(fleet.inventory), code=2)
    assert "--yes" in said
    assert "Plan for" not in said, "nothing connects when nobody can be asked"
    assert fleet.plan().result["change"] > 10


def test_a_dry_run_is_the_plan(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    fleet.up("--only", "prepare")
    assert fleet.kbootstrap("up", "--dry-run", str(fleet.inventory)) == fleet.kbootstrap("plan", str(fleet.inventory))


def test_three_control_planes_two_workers(lab: MakeLab) -> None:
    fleet = lab(3, 2)
    done = fleet.up()
    joins = [line["host"] for line in done.lines if line.get("step") == "join" and line["host"].startswith("cp")]
    assert joins == ["cp2", "cp3"]
    assert fleet.plan().result["change"] == 0
    wanted = {name: "control plane" if name.startswith("cp") else "worker" for name in fleet.hosts}
    assert roles(fleet) == wanted
    kubectl = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"
    restarts = "-n kube-flannel get pods -o 'jsonpath={.items[*].status.containerStatuses[*].restartCount}'"
    assert set(fleet.text("cp1", f"{kubectl} {restarts}").split()) == {"0"}, "flanneld starts at the first try"
    assert fleet.text("cp1", f"{kubectl} -n kube-system get secrets -o name; kubeadm token list") == ""

    # cp2 is installed anew: the cluster still has its node and its etcd member.
    fleet.text("cp2", INSTALLED_ANEW)
    done = fleet.up()
    assert {("cp1", "join-token", "forget-cp2"), ("cp2", "join", "join")} <= done.those("changed")
    assert {host for host, phase, _ in done.those("changed") if phase == "join"} == {"cp2"}
    assert roles(fleet) == wanted


INSTALLED_ANEW = """
systemctl stop kubelet
rm -rf /etc/kubernetes /var/lib/etcd /var/lib/kubelet /var/lib/cni /var/lib/kbootstrap /var/lib/sim/cluster
rm -rf /etc/cni/net.d/* /run/flannel
systemctl restart containerd
"""


def roles(fleet: Fleet) -> dict[str, str]:
    """The role of every node that is Ready."""
    said = fleet.kbootstrap("status", str(fleet.inventory))
    return dict(re.findall(r"^(\w+) +Ready +(control plane|worker)", said, re.M))


def test_distributions_of_every_kind_in_one_up(lab: MakeLab) -> None:
    """Kubernetes 1.31 is the newest that runs on all of them. tests/faults has every distribution with every minor."""
    names = ("debian13", "centos7", "centos8", "rocky10", "amazon2023", "openeuler2403", "kylin10", "ubuntu2004")
    fleet = lab(1, len(names) - 1, distributions=names, kubernetes="1.31")
    assert fleet.up().result["status"] == "ok"
    planned = fleet.kbootstrap("plan", str(fleet.inventory))
    assert f"{len(names) - 1} workers, nothing to change" in planned
    assert len(planned.splitlines()) < 40
    assert "/etc/yum.repos.d/CentOS-Base.repo" in fleet.text(
        "w1", "grep -l vault.centos.org/7.9.2009 /etc/yum.repos.d/*"
    )


def test_dead_repositories_that_are_to_stay_stop_a_host_before_any_change(lab: MakeLab) -> None:
    fleet = lab(1, 1, distributions=("centos9", "centos7"), kubernetes="1.31")
    fleet.change_inventory(lambda text: text.replace("cluster:\n", "cluster:\n  os_repository: keep\n"))
    before = fleet.snapshot("/run", "/var/log", "/var/lib/sim")
    said = fleet.kbootstrap("plan", str(fleet.inventory), code=1)
    assert "the servers of these repositories are gone: /etc/yum.repos.d/CentOS-Base.repo" in said
    assert "cluster.os_repository" in said
    assert fleet.snapshot("/run", "/var/log", "/var/lib/sim") == before


@pytest.mark.parametrize("minor", [OLDEST, NEWEST], ids=show)
def test_the_oldest_and_the_newest_kubernetes(lab: MakeLab, minor: Minor) -> None:
    """The simulated internet's own mirror has also what is older than pkgs.k8s.io."""
    fleet = lab(1, 1, kubernetes=show(minor))
    fleet.change_inventory(
        lambda text: text.replace("  package_key", "  package_repository: https://mirror.example\n  package_key", 1)
    )
    assert fleet.up().result["status"] == "ok"
    assert fleet.plan().result["change"] == 0
    assert f"v{show(minor)}.2" in fleet.kbootstrap("status", str(fleet.inventory))


@pytest.mark.parametrize("distributions", [("debian12", "centos9", "centos9"), ("centos9", "debian12", "centos9")])
def test_mixed_distributions(lab: MakeLab, distributions: tuple[str, ...]) -> None:
    """And with systemd-resolved on the first host only. Up to 1.30, kubeadm hands its resolv.conf to all."""
    fleet = lab(1, 2, distributions=distributions, kubernetes="1.30")
    fleet.text("cp1", "mkdir -p /run/systemd/resolve && echo nameserver 192.0.2.53 >/run/systemd/resolve/resolv.conf")
    assert fleet.up().result["status"] == "ok"
    assert fleet.plan().result["change"] == 0


def test_passwords_for_login_and_sudo(lab: MakeLab) -> None:
    login, sudo = "log1n-Sekret", "suD0-Sekret"
    fleet = lab(1, 1, password=Secret(login), sudo_password=Secret(sudo), methods=("keyboard-interactive",))
    fleet.up(KB_SSH_PASSWORD=login, KB_SUDO_PASSWORD=sudo)
    wrong = fleet.kbootstrap("plan", str(fleet.inventory), code=4, KB_SSH_PASSWORD="no", KB_SUDO_PASSWORD=sudo)
    assert "cp1" in wrong
    fleet.plan(code=4, KB_SSH_PASSWORD=login, KB_SUDO_PASSWORD="no")
    assert_nowhere(fleet, login, sudo)


def test_no_secret_of_a_run_is_left_anywhere(lab: MakeLab) -> None:
    """Passwords with a shell's own signs, and what is born in the run: in no output, journal, process or file."""
    login, sudo, passphrase = (f"{name} $'{secrets.token_hex(8)}'\\" for name in ("login", "sudo", "phrase"))
    fleet = lab(2, 1, password=Secret(login), sudo_password=Secret(sudo), methods=("keyboard-interactive",))
    environment: dict[str, Any] = {"KB_SSH_PASSWORD": login, "KB_SUDO_PASSWORD": sudo, "KB_PASSPHRASE": passphrase}
    fleet.change_inventory(lambda text: text.replace("\nssh:\n", "\nssh:\n  passphrase: ${env:KB_PASSPHRASE}\n"))
    inventory = str(fleet.inventory)
    said = [fleet.kbootstrap("plan", "-v", inventory, **environment)]
    fleet.fault("w1", "fail-command", command="sysctl", message=f"sysctl: cannot log in with {sudo}")
    with Watch(fleet) as watch:
        said.append(fleet.kbootstrap("up", "--yes", "-v", "-o", "lines", inventory, code=1, **environment))
        fleet.fault("w1", "heal")
        said.append(fleet.kbootstrap("up", "--yes", "-o", "json", inventory, **environment))
    said.append(fleet.kbootstrap("status", inventory, **environment))
    assert "cannot log in with ***" in said[1]
    assert fleet.text("cp1", "kubeadm token list") == "", "neither kubeadm init's token nor ours is left"

    config = fleet.text("cp1", "cat /etc/kubernetes/admin.conf")
    key = re.findall("client-key-data: (.*)", config)[0].strip()
    known = [login, sudo, passphrase, key, base64.b64decode(key).decode().strip(), *watch.born]
    assert len(watch.born) >= 2, "no join token and no certificate key was seen in the run's own root-only files"
    for secret in known:
        assert len(secret) > 15
        for form in (secret, base64.b64encode(secret.encode()).decode(), quote(secret)[1:-1]):
            assert form not in "".join(said)
            assert form not in "\n".join(watch.processes)
    assert any("/run/kbootstrap/r-" in process for process in watch.processes)
    assert_nowhere(fleet, *known)
    journals = "".join(path.read_text() for path in journal_files(fleet))
    assert re.search(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b", journals) is None
    assert "kubeadm join" in journals


class Watch:
    """Looks at a lab while something runs: what every process was given as arguments and environment, and which tokens
    and keys lie in the root-only directory of the run on the first master.
    """

    BORN = "cat /run/kbootstrap/r-*/join /run/kbootstrap/r-*/certificate-key 2>/dev/null"

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._done = threading.Event()
        # Secrets are born and gone in the time that a look at all processes takes.
        looks = (self._look_at_processes, self._look_for_secrets)
        self._threads = [threading.Thread(target=self._repeat, args=(look,)) for look in looks]
        self.processes: set[str] = set()
        self.born: set[str] = set()

    def _repeat(self, look: Callable[[], None]) -> None:
        while not self._done.wait(0.02):
            look()

    def _look_at_processes(self) -> None:
        """The processes of hosts are in this machine's /proc, in namespaces of their own. A look takes milliseconds."""
        operators = os.readlink("/proc/self/ns/pid")
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if os.readlink(process / "ns/pid") == operators:
                    continue
                said = (process / "cmdline").read_bytes() + b"\0" + (process / "environ").read_bytes()
                self.processes.add(said.decode("utf-8", "surrogateescape").replace("\0", " "))

    def _look_for_secrets(self) -> None:
        born = self._fleet.run("cp1", self.BORN).stdout
        self.born |= set(re.findall(r"\b[a-z0-9]{6}\.[a-z0-9]{16}\b|^[0-9a-f]{64}$", born, re.M))

    def __enter__(self) -> Watch:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._done.set()
        for thread in self._threads:
            thread.join()


def assert_nowhere(fleet: Fleet, *secrets: str) -> None:
    """No journal holds a secret, and no file on a host that others may read."""
    for path in journal_files(fleet):
        text = path.read_text()
        assert not [secret for secret in secrets if secret in text], path
    for host in fleet.hosts:
        for secret in secrets:
            places = "/etc /var /tmp /run /home /root /opt /usr/local"
            found = fleet.run(
                host, f"grep -rlF -f - {places} 2>/dev/null | xargs -r stat -c '%a %n'", stdin=secret + "\n"
            )
            loose = [line for line in found.stdout.splitlines() if not line.split()[0].endswith("00")]
            assert loose == [], host


def journal_files(fleet: Fleet) -> list[Path]:
    files = [path for path in (fleet.inventory.parent / "state" / "kbootstrap" / "runs").rglob("*") if path.is_file()]
    assert files
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    return files


def test_a_failure_says_everything(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    fleet.fault("w1", "fail-command", command="sysctl", message="sysctl: permission denied on key")
    said = fleet.kbootstrap("up", "--yes", str(fleet.inventory), code=1)
    for part in (
        "w1: prepare.sysctl failed",
        "command  sysctl",
        "exit status",
        "output",
        "The full log of this run: ",
        "Fix w1",
    ):
        assert part in said
    fleet.fault("w1", "heal")
    assert fleet.up().result["status"] == "ok"


def test_steps_about_a_host_that_failed_are_skipped(lab: MakeLab) -> None:
    """They run on the control plane, which is well: every step of the plan ends as something."""
    fleet = lab(1, 2)
    fleet.change_inventory(lambda text: re.sub(r"(name: w\d\n)", r"\1    labels: {disk: fast}\n", text))
    planned = fleet.plan()
    fleet.fault("w1", "fail-command", command="sysctl", message="sysctl: no")
    done = fleet.up(code=1)
    assert done.states["cp1", "labels", "labels-w1"] == "skipped"
    assert done.states["cp1", "labels", "labels-w2"] == "changed"
    assert set(done.states) == set(planned.states)


def test_an_unreachable_host_stops_nobody_else(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    fleet.fault("w2", "kill")
    done = fleet.up(code=4)
    assert done.result["hosts"]["w2"]["failure"]["step"] == "ssh"
    assert done.states["w1", "join", "join"] == "changed"
    fleet.fault("w2", "heal")
    again = fleet.up()
    assert {host for host, _, _ in again.those("changed")} <= {"w2", "cp1"}
    assert "3 of 3 nodes Ready" in fleet.kbootstrap("status", str(fleet.inventory))


def test_limit_touches_only_the_named_hosts(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    early = fleet.up("--limit", "w1", code=1)
    assert "no cluster to join" in early.result["hosts"]["w1"]["failure"]["message"]
    assert early.result["changed"] == 0
    fleet.up("--limit", "cp1,w1")
    assert fleet.plan("--limit", "w2").states["w2", "join", "join"] == "change"
    done = fleet.up("--limit", "w2")
    assert {host for host, phase, _ in done.those("changed") if phase not in ("join-token", "delete-join-token")} == {
        "w2"
    }


def test_only_and_from(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    assert {phase for _, phase, _ in fleet.up("--only", "prepare").those("changed")} == {"prepare"}
    said = fleet.kbootstrap("up", "--yes", "--only", "nonsense", str(fleet.inventory), code=2)
    assert "there is no phase 'nonsense'" in said
    fleet.up()
    phases = {phase for _, phase, _ in fleet.up("--from", "network").states}
    assert "prepare" not in phases
    assert {"network", "verify"} <= phases


def test_what_up_leaves_as_it_is_is_a_line_of_the_plan(finished: MakeLab) -> None:
    fleet = finished(1, 1)
    whole = fleet.inventory.read_text()
    fleet.change_inventory(lambda text: text[: text.index("  - name: w1")])
    said = fleet.kbootstrap("plan", str(fleet.inventory))
    assert "node w1 is in the cluster, but not in the inventory: it stays" in said
    fleet.inventory.write_text(whole.replace("cluster:\n", "cluster:\n  pod_cidr: 10.200.0.0/16\n", 1))
    said = fleet.kbootstrap("plan", str(fleet.inventory), code=1)
    assert "the cluster's pod_cidr is 10.244.0.0/16, but the inventory has 10.200.0.0/16" in said
    fleet.inventory.write_text(whole.replace("role: worker", "role: control-plane", 1))
    fleet.change_inventory(lambda text: text.replace("cluster:\n", "cluster:\n  control_plane_endpoint: cp1:6443\n", 1))
    said = fleet.kbootstrap("plan", str(fleet.inventory), code=1)
    assert "is a worker of this cluster, but a control plane host in the inventory" in said


def test_labels_and_taints_follow_the_inventory(finished: MakeLab) -> None:
    fleet = finished(1, 1)
    fleet.change_inventory(
        lambda text: re.sub(r"(name: w1\n)", r"\1    labels: {disk: fast}\n    taints: ['gpu=yes:NoSchedule']\n", text)
    )
    assert fleet.plan().those("change") == {("cp1", "labels", "labels-w1")}
    fleet.up()
    node = json.loads(fleet.text("cp1", "kubectl --kubeconfig /etc/kubernetes/admin.conf get node w1 -o json"))
    assert node["metadata"]["labels"]["disk"] == "fast"
    assert {"key": "gpu", "value": "yes", "effect": "NoSchedule"} in node["spec"]["taints"]


def test_ordinary_pods_run_on_a_single_node_unless_they_are_not_to(finished: MakeLab) -> None:
    fleet = finished(1, 0)
    assert fleet.made_by is not None
    assert fleet.made_by.states["cp1", "labels", "labels-cp1"] == "changed"
    taints = "kubectl --kubeconfig /etc/kubernetes/admin.conf get node cp1 -o 'jsonpath={.spec.taints[*].key}'"
    assert fleet.text("cp1", taints) == ""
    assert fleet.plan().result["change"] == 0
    fleet.change_inventory(
        lambda text: text.replace("    role: control-plane\n", "    role: control-plane\n    schedulable: false\n")
    )
    assert fleet.plan().those("change") == {("cp1", "labels", "labels-cp1")}
    fleet.up()
    assert fleet.text("cp1", taints) == "node-role.kubernetes.io/control-plane"
    assert fleet.up().result["changed"] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_interrupt_stops_after_the_running_steps(lab: MakeLab, number: signal.Signals) -> None:
    fleet = lab(1, 1, latency_ms=20)
    process = fleet.start("up", "--yes", "--output", "lines", str(fleet.inventory))
    assert process.stdout is not None
    for line in process.stdout:
        if "prepare.swap" in line:
            break
    process.send_signal(number)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "stopping after the running steps" in out
    assert err == ""
    assert "Run the same `kbootstrap up` again" in out
    assert fleet.up().result["status"] == "ok"
    assert fleet.plan().result["change"] == 0


def test_the_second_interrupt_leaves_at_once(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    fleet.text(
        "cp1",
        "printf '#!/bin/sh\\n[ $1 = -n ] && exit\\n: >/run/begun\\nexec sleep 600\\n' >/usr/local/sbin/modprobe; "
        "chmod 755 /usr/local/sbin/modprobe",
    )
    process = fleet.start("up", "--yes", "-v", "--output", "lines", str(fleet.inventory))
    assert process.stdout is not None
    for line in process.stdout:
        # Said by its check: it is known to run. What is applied is no longer a look, which would end with us.
        if "prepare.modules |" in line:
            break
    until("the step is applied", lambda: fleet.run("cp1", "[ -e /run/begun ]").returncode == 0)
    process.send_signal(signal.SIGINT)
    for line in process.stdout:
        if "stopping" in line:
            break
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "these steps are still running: prepare.modules on cp1. The next run waits for them." in out
    assert "reconnecting" not in out
    assert err.strip() == "interrupted"
    assert time.monotonic() - began < 15


@pytest.mark.parametrize("control_planes", [1, 2])
def test_the_scripts_run_by_hand_to_ready_as_their_readme_says(
    lab: MakeLab, tmp_path: Path, control_planes: int
) -> None:
    """The inventory has a minor only, so the files were written before anyone knew the version."""
    fleet = lab(control_planes, 1)
    folder = tmp_path / "scripts"
    fleet.kbootstrap("plan", str(fleet.inventory), "--script", str(folder))
    readme = (folder / "README").read_text(encoding="utf-8")
    assert "    sh 11-join.sh apply\n" in readme
    joined = next(line.strip() for line in readme.splitlines() if "kubeadm token create" in line)
    uploads = [line.strip() for line in readme.splitlines() if "--upload-certs" in line]
    assert len(uploads) == control_planes - 1
    for number in sorted({path.name[:2] for path in folder.glob("*/*.sh")}):
        for host in fleet.hosts:
            for path in (folder / host).glob(f"{number}-*.sh"):
                text = path.read_text(encoding="utf-8")
                if number == "11":
                    words = fleet.text("cp1", joined).split()
                    names = ("--token", "--discovery-token-ca-cert-hash")
                    token, ca_hash = (words[words.index(name) + 1] for name in names)
                    assert "the variable KB_TOKEN is not exported" in fleet.run(host, "sh -s apply", stdin=text).stdout
                    text = f"export KB_TOKEN={token} KB_CA_HASH={ca_hash}\n{text}"
                    if host == "cp2":
                        assert "KB_CERTIFICATE_KEY is not exported" in fleet.run(host, "sh -s apply", stdin=text).stdout
                        key = fleet.text("cp1", uploads[0]).splitlines()[-1]
                        text = f"export KB_CERTIFICATE_KEY={key}\n{text}"
                said = fleet.text(host, "SUDO_USER=kb sh -s apply", stdin=text)
                assert "failed" not in said
                assert "@kbootstrap value" not in said, "what a run hands over is not shown"
    assert fleet.kbootstrap("status", str(fleet.inventory)).count(" Ready ") == control_planes + 1
    assert fleet.plan().those("change") == set()


def test_written_scripts_follow_no_link_and_replace_old_ones(shared: Fleet, tmp_path: Path) -> None:
    folder, elsewhere = tmp_path / "scripts", tmp_path / "elsewhere"
    write = ("plan", str(shared.inventory), "--script", str(folder))
    shared.kbootstrap(*write)
    (folder / "cp1" / "99-old.sh").touch()
    shared.kbootstrap(*write)
    assert not (folder / "cp1" / "99-old.sh").exists()
    shutil.move(folder / "w1", elsewhere)
    (folder / "w1").symlink_to(elsewhere)
    before = sorted(elsewhere.iterdir())
    assert f"{folder}/w1 is a link" in shared.kbootstrap(*write, code=2)
    assert sorted(elsewhere.iterdir()) == before


def test_the_kubeconfig_is_fetched_and_merged(lab: MakeLab, finished: MakeLab, tmp_path: Path) -> None:
    plain = lab(1, 0)
    assert "If there is no cluster yet, run `kbootstrap up`." in plain.kbootstrap(
        "kubeconfig", str(plain.inventory), code=1
    )
    fleet = finished(1, 0)
    target = tmp_path / "config"
    (fetched,) = (fleet.inventory.parent / "state").glob("kbootstrap/kubeconfigs/*.yaml")
    assert stat.S_IMODE(fetched.stat().st_mode) == 0o600
    authority = yaml.safe_load(fetched.read_text())["clusters"][0]["cluster"]["certificate-authority-data"]
    assert ca_sha256(simulated, fleet.name) == hashlib.sha256(base64.b64decode(authority)).hexdigest()
    assert (
        "kubectl cannot use this kubeconfig"
        in fleet.start("kubeconfig", str(fleet.inventory)).communicate(timeout=60)[1]
    )
    fleet.kbootstrap("kubeconfig", str(fleet.inventory), "--merge", "--file", str(target))
    assert target.read_text() == fetched.read_text()
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert f"current-context: {fleet.cluster}" in target.read_text()


@pytest.mark.parametrize(("mirror", "distribution"), [("aliyun", "centos7"), ("tsinghua", "centos8")])
def test_centos_as_it_is_found_with_everything_from_a_mirror(lab: MakeLab, mirror: str, distribution: str) -> None:
    """The way of README.zh-CN.md. The upstream servers answer nobody here."""
    fleet = lab(1, 0, distribution=distribution, kubernetes="1.28")
    fleet.change_inventory(lambda text: text.replace("cluster:\n", f"cluster:\n  mirror: {mirror}\n", 1))
    upstream = "pkgs.k8s.io download.docker.com vault.centos.org registry.k8s.io ghcr.io"
    fleet.text("cp1", f"mkdir -p /.lab/internet; cd /.lab/internet; touch {upstream}")
    fleet.up()


def test_latency_costs_round_trips_not_steps(lab: MakeLab) -> None:
    """A plan at 100 ms takes about its round trips longer than at 0 ms: it does not pay per step."""
    near, far = lab(1, 0), lab(1, 0, latency_ms=100)
    fast: list[float] = []
    slow: list[float] = []
    # Other tests run beside this one, so that a single time means little.
    while not slow or (min(slow) - min(fast) >= 100e-3 * 30 and len(slow) < 6):
        fast.append(near.plan().result["seconds"])
        planned = far.plan()
        slow.append(planned.result["seconds"])
        assert len(planned.states) > 20
    assert min(slow) - min(fast) < 100e-3 * 30
