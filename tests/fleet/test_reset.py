"""`reset` on simulated hosts: what was there before `up` is there again after it, and nothing of the cluster is."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import yaml
from support.breakpoints import until
from support.driver import Events, Fleet
from support.labs import DISTRIBUTIONS, MakeLab, Snapshots

RUNTIME_STATE = ("/run", "/var/log", "/home/kb/.cache")
LAB = ("/var/lib/sim",)
"""The simulated host's own notes."""
CACHES = ("/var/lib/apt", "/var/lib/dpkg", "/var/lib/rpm")
"""What package managers keep, with the time of every installation; `packages` looks at what is installed."""
PACKAGES = (
    "/usr",
    "/opt/cni",
    "/var/lib/containerd",
    "/etc/containerd",
    "/etc/chrony",
    "/etc/chrony.conf",
    "/etc/sysconfig/chronyd",
)
"""Where docs/reset.md says that things stay: what packages own, and the images."""
CLOCKS = re.compile(r"chrony|systemd-timesyncd")
"""A chrony that came goes on keeping the time; it has replaced Debian's timesyncd."""


def kernel(fleet: Fleet, host: str) -> str:
    """What a running host is beyond its files: name, swap, SELinux, forwarding, the packet filter, interfaces."""
    return fleet.text(
        host,
        "uname -n; cat /proc/swaps /proc/sys/net/ipv4/ip_forward /sys/fs/selinux/enforce 2>/dev/null; "
        "iptables-save | grep '^[:-]'; cat /run/sim/links 2>/dev/null; cat /run/sim/firewall 2>/dev/null; true",
    )


def units(fleet: Fleet, host: str) -> set[tuple[str, str, str]]:
    """Every service and swap unit with its state at boot and now."""
    listed = fleet.text(host, "systemctl list-unit-files --no-legend --type=service,swap").splitlines()
    states = {line.split()[0]: line.split()[1] for line in listed}
    return {
        (unit, state, fleet.run(host, f"systemctl is-active {unit}").stdout.strip()) for unit, state in states.items()
    }


def packages(fleet: Fleet, host: str) -> set[str]:
    """Every installed package with its version."""
    return set(fleet.text(host, "if [ -d /var/lib/rpm ]; then rpm -qa; else dpkg-query -W; fi").splitlines())


def off(found: set[tuple[str, str, str]]) -> set[tuple[str, str, str]]:
    """Without units that are simply there."""
    return {(unit, *states) for unit, *states in found if states != ["disabled", "inactive"]}  # type: ignore[misc]


def undone(fleet: Fleet, *options: str) -> Events:
    """A reset whose plan was true."""
    planned = fleet.events("reset", "--dry-run", *options)
    done = fleet.events("reset", "--yes", *options)
    assert planned.those("unknown") == set()
    assert planned.those("change") == done.those("changed"), planned.those("change") ^ done.those("changed")
    return done


REJECT = "*filter\\n-A INPUT -p tcp -m tcp --dport 22 -j ACCEPT\\n-A INPUT -j REJECT\\nCOMMIT\\n"
OTHERS = {
    "centos7": "printf '[old]\\nname=old\\nbaseurl=https://vault.centos.org/7.9.2009/os/$basearch/\\ngpgcheck=0\\n' "
    ">/etc/yum.repos.d/old.repo && yum --disablerepo='*' --enablerepo=old install -y cloud-init ntp && "
    "rm /etc/yum.repos.d/old.repo && systemctl enable --now ntpd",
    "centos9": "dnf install -y cloud-init && echo /dev/vdb1 >/var/lib/sim/gpt-swap && systemctl daemon-reload && "
    "systemctl start dev-vdb1.swap",
    "debian12": f"apt-get update && apt-get install -y cloud-init iptables-persistent && mkdir -p /etc/iptables && "
    f"printf '{REJECT}' >/etc/iptables/rules.v4 && systemctl restart netfilter-persistent",
}
"""Another time service, a swap partition that is found by its type, a firewall that rejects what it does not know."""


def live_in(distribution: str, fleet: Fleet) -> None:
    """What administrators and clouds add to a host: swap with a priority, sysctls, a CNI plugin, cloud-init."""
    for host in fleet.hosts:
        fleet.text(host, OTHERS[distribution])
        fleet.text(
            host,
            "sed -i 's/ swap defaults/ swap pri=5/' /etc/fstab && swapoff -a && swapon -a && "
            "for unit in /run/systemd/generator*/*.swap /etc/systemd/system/*.swap; do "
            '[ ! -e "$unit" ] || systemctl start "${unit##*/}"; done; '
            "echo 'net.ipv4.ip_forward = 0' >>/etc/sysctl.conf && "
            "echo 'manage_etc_hosts: true' >>/etc/cloud/cloud.cfg && "
            "mkdir -p /etc/cni/net.d && echo '{}' >/etc/cni/net.d/10-calico.conflist",
        )


def up_on(distribution: str, fleet: Fleet) -> Events:
    """`up` on hosts that somebody lived in."""
    live_in(distribution, fleet)
    return fleet.up()


def survives_a_reboot(fleet: Fleet, host: str) -> None:
    fleet.fault(host, "reboot")
    until(f"{host} is up", lambda: all(found.state == "up" for found in fleet.backend.status(fleet.name).hosts))
    synchronised = "chronyc -n tracking | grep '^Leap status' | grep -qv 'Not synchronised'"
    until("its clock is synchronised", lambda: fleet.run(host, synchronised).returncode == 0)
    planned = fleet.plan("--limit", host)
    assert (planned.those("change"), planned.those("unknown")) == (set(), set()), [
        line["diff"] for line in planned.lines if line.get("state") == "change"
    ]
    assert fleet.text(host, "sed 1d /proc/swaps; cat /proc/sys/net/ipv4/ip_forward; getent hosts CP1").split() == [
        "1",
        ip(fleet, "cp1"),
        "cp1",
    ]


@pytest.mark.parametrize("options", [(), ("--purge",)], ids=["packages-stay", "purge"])
@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_what_was_there_is_there_again(
    lab: MakeLab, snapshots: Snapshots, distribution: str, options: tuple[str, ...]
) -> None:
    fleet = snapshots.copy(lab, "lived-in", partial(live_in, distribution), 1, 1, distribution, state="dirty")
    but = (*RUNTIME_STATE, *LAB, *CACHES)
    files = fleet.snapshot(*but)
    others = {host: (kernel(fleet, host), units(fleet, host), packages(fleet, host)) for host in fleet.hosts}
    fleet = snapshots.copy(lab, "lived-in-up", partial(up_on, distribution), 1, 1, distribution, state="dirty")
    assert fleet.snapshot(*but) != files
    if not options:
        survives_a_reboot(fleet, "w1")

    undone(fleet, *options)
    different = fleet.snapshot(*but) ^ files
    if not options:
        different = {item for item in different if not (item[1] + "/").startswith(tuple(p + "/" for p in PACKAGES))}
        different = {item for item in different if not CLOCKS.search(item[1])}
    assert different == set()
    for host, (was, were, installed) in others.items():
        assert kernel(fleet, host) == was
        assert not options or packages(fleet, host) == installed
        left = off(units(fleet, host)) ^ off(were)
        assert {unit for unit, _, _ in left if options or not CLOCKS.search(unit)} == set()

    assert fleet.events("reset", "--yes", *options).result["changed"] == 0
    assert fleet.events("reset", "--dry-run", *options).result["change"] == 0
    assert fleet.up().result["status"] == "ok"
    assert "2 of 2 nodes Ready" in fleet.kbootstrap("status", str(fleet.inventory))


def test_the_last_control_plane_host_stays_with_its_workers(finished: MakeLab) -> None:
    fleet = finished(1, 1)
    before = fleet.snapshot(*RUNTIME_STATE)
    refused = fleet.events("reset", "--yes", "--limit", "cp1", code=1)
    assert "no control plane host would stay, but w1 would" in refused.result["hosts"]["cp1"]["failure"]["message"]
    assert refused.result["changed"] == 0
    for empty in ("", ",", "w1,"):
        assert "--limit has an empty name" in fleet.kbootstrap(
            "reset", str(fleet.inventory), "--yes", "--limit", empty, code=2
        )
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
    gone = fleet.events("reset", "--yes", "--limit", "role=worker")
    assert {host for host, phase, _ in gone.those("changed") if phase == "reset"} == {"w1"}
    gone = fleet.events("reset", "--yes", "--limit", "cp*")
    assert {host for host, phase, _ in gone.those("changed") if phase == "reset"} == {"cp1"}


def test_a_host_that_was_never_touched_is_left_alone(lab: MakeLab) -> None:
    fleet = lab(1, 0, state="dirty")
    before = fleet.snapshot(*RUNTIME_STATE)
    assert fleet.events("reset", "--yes", "--purge").result["changed"] == 0
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()


def test_files_that_were_changed_since_keep_those_changes(lab: MakeLab) -> None:
    fleet = lab(1, 0, state="dirty")
    fleet.text("cp1", "echo 10.0.0.9 printer >>/etc/hosts")
    fleet.up()
    fleet.text("cp1", "echo 10.0.0.8 scanner >>/etc/hosts; echo '/dev/sdz /mnt xfs defaults 0 0' >>/etc/fstab")
    fleet.text("cp1", "echo '# mine' >>/home/kb/.kube/config")
    said = fleet.kbootstrap("reset", str(fleet.inventory), "--yes", "--output", "lines")
    assert "/home/kb/.kube/config was changed since" in said
    hosts = fleet.text("cp1", "cat /etc/hosts")
    assert "kbootstrap" not in hosts
    assert "10.0.0.9 printer\n10.0.0.8 scanner\n" in hosts
    assert "/dev/sdz /mnt" in fleet.text("cp1", "cat /etc/fstab")
    assert fleet.text("cp1", "tail -n 1 /home/kb/.kube/config") == "# mine\n"
    assert fleet.events("reset", "--yes").result["changed"] == 0


def test_ports_that_were_opened_are_closed(lab: MakeLab) -> None:
    fleet = lab(1, 0, state="dirty")
    fleet.change_inventory(lambda text: text.replace("cluster:\n", "cluster:\n  firewall: open-ports\n", 1))
    before = fleet.snapshot(*RUNTIME_STATE, *LAB, *CACHES, *PACKAGES), kernel(fleet, "cp1")
    fleet.up()
    assert "6443/tcp" in fleet.text("cp1", "firewall-cmd --list-ports")
    undone(fleet)
    assert fleet.snapshot(*RUNTIME_STATE, *LAB, *CACHES, *PACKAGES) ^ before[0] == set()
    assert kernel(fleet, "cp1") == before[1]

    fleet.up()
    fleet.text("cp1", "firewall-cmd --permanent --add-port=8080/tcp && firewall-cmd --reload")
    undone(fleet)
    assert fleet.text("cp1", "firewall-cmd --list-ports").split() == ["8080/tcp"]


def test_settings_can_be_kept_and_put_back_later(lab: MakeLab, finished: MakeLab) -> None:
    before = kernel(lab(1, 0), "cp1")
    fleet = finished(1, 0)
    kept = undone(fleet, "--keep-host-settings")
    assert ("cp1", "restore", "swap") not in kept.states
    assert kernel(fleet, "cp1") != before
    assert len(fleet.text("cp1", "cat /proc/swaps").splitlines()) == 1
    assert fleet.events("reset", "--yes", "--keep-host-settings").result["changed"] == 0
    undone(fleet)
    assert kernel(fleet, "cp1") == before
    assert fleet.run("cp1", "test -e /var/lib/kbootstrap").returncode == 1


def nodes(fleet: Fleet, host: str = "cp1") -> dict[str, str]:
    """Each node with its Ready status."""
    command = "kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes -o json"
    items = json.loads(fleet.text(host, command))["items"]
    conditions = {item["metadata"]["name"]: item["status"]["conditions"] for item in items}
    return {name: next(c["status"] for c in found if c["type"] == "Ready") for name, found in conditions.items()}


def ip(fleet: Fleet, host: str) -> str:
    """The address the nodes use among themselves."""
    return fleet.text(host, ". /var/lib/sim/host; echo $SIM_IP").strip()


def members(fleet: Fleet, host: str = "cp1") -> set[str]:
    """The addresses of etcd's members."""
    return set(re.findall(r"https://([\d.]+):2380", etcdctl(fleet, "member list", host)))


def etcdctl(fleet: Fleet, words: str, host: str = "cp1") -> str:
    pki = "/etc/kubernetes/pki/etcd"
    access = f"--endpoints=https://127.0.0.1:2379 --cacert={pki}/ca.crt --cert={pki}/server.crt --key={pki}/server.key"
    return fleet.text(
        host,
        f"kubectl --kubeconfig /etc/kubernetes/admin.conf -n kube-system exec etcd-{host} -- etcdctl {access} {words}",
    )


def kept_kubeconfigs(fleet: Fleet) -> list[Path]:
    return sorted((fleet.inventory.parent / "state").glob("kbootstrap/kubeconfigs/*.yaml"))


def test_one_worker_leaves_a_cluster_that_stays(finished: MakeLab) -> None:
    fleet = finished(1, 2)
    done = undone(fleet, "--limit", "w1")
    assert {(host, phase) for host, phase, _ in done.those("changed")} == {
        ("cp1", "drain"),
        ("w1", "reset"),
        ("cp1", "forget"),
        ("w1", "restore"),
    }
    order = [line["step"] for line in done.lines if line.get("step") in ("drain-w1", "kubeadm", "forget-w1")]
    assert order == ["drain-w1", "kubeadm", "forget-w1"]
    assert nodes(fleet) == {"cp1": "True", "w2": "True"}
    assert fleet.events("reset", "--yes", "--limit", "w1").result["changed"] == 0
    assert "known once containerd runs" in fleet.kbootstrap("plan", str(fleet.inventory)), "its programs stayed"
    assert len(kept_kubeconfigs(fleet)) == 1
    fleet.up()
    assert nodes(fleet) == {"cp1": "True", "w1": "True", "w2": "True"}


def test_control_plane_hosts_leave_and_take_their_etcd_members_along(lab: MakeLab) -> None:
    """Also the first one, as long as the endpoint leads to another."""
    fleet = lab(3, 1)
    address = {host: ip(fleet, host) for host in fleet.hosts}
    for host in fleet.hosts:
        fleet.text(host, f"echo {address['cp1']} api.lab >>/etc/hosts")
    fleet.change_inventory(
        lambda text: text.replace("cluster:\n", "cluster:\n  control_plane_endpoint: api.lab:6443\n", 1)
    )
    fleet.up()
    assert members(fleet) == {address["cp1"], address["cp2"], address["cp3"]}
    undone(fleet, "--limit", "cp3")
    assert nodes(fleet) == {"cp1": "True", "cp2": "True", "w1": "True"}
    assert members(fleet) == {address["cp1"], address["cp2"]}
    fleet.up()
    assert members(fleet) == {address["cp1"], address["cp2"], address["cp3"]}

    for host in fleet.hosts:
        fleet.text(host, f"sed -i 's/.* api.lab/{address['cp2']} api.lab/' /etc/hosts")
    done = undone(fleet, "--limit", "cp1")
    assert {host for host, phase, _ in done.states if phase in ("drain", "forget")} == {"cp2"}
    assert nodes(fleet, "cp2") == {"cp2": "True", "cp3": "True", "w1": "True"}
    assert members(fleet, "cp2") == {address["cp2"], address["cp3"]}


def test_nobody_is_told_where_the_whole_cluster_goes(finished: MakeLab) -> None:
    """Also with an API server that does not answer any more. Workers go first, the first control plane host last."""
    fleet = finished(2, 1)
    fleet.text("cp2", "systemctl stop kubelet")
    (kept,) = kept_kubeconfigs(fleet)
    other = kept.with_name("of-another-cluster.yaml")
    other.write_text("clusters: []\n")
    done = undone(fleet)
    assert {phase for _, phase, _ in done.states} & {"drain", "forget"} == set()
    left = [line["host"] for line in done.lines if line.get("step") == "kubeadm" and line.get("phase") == "reset"]
    assert left == ["w1", "cp2", "cp1"]
    assert kept_kubeconfigs(fleet) == [other], "of this cluster, it is gone with it"


def test_a_limited_reset_needs_an_api_server_that_can_be_told(finished: MakeLab) -> None:
    fleet = finished(1, 1)
    fleet.text("cp1", "systemctl stop kubelet")
    before = fleet.files("w1", *RUNTIME_STATE)
    said = fleet.kbootstrap("reset", str(fleet.inventory), "--yes", "--limit", "w1", "--output", "lines", code=1)
    assert "the API server does not answer" in said
    assert "reset the whole cluster" in said
    assert fleet.files("w1", *RUNTIME_STATE) == before


def test_one_host_that_fails_stops_nobody_else(finished: MakeLab) -> None:
    fleet = finished(1, 2)
    fleet.fault("w1", "fail-command", command="kubeadm", message="kubeadm: out of order")
    done = fleet.events("reset", "--yes", code=1)
    assert {host for host, _, _ in done.those("failed")} == {"w1"}
    for host in ("cp1", "w2"):
        assert fleet.run(host, "test -e /var/lib/kbootstrap").returncode == 1
    assert len(kept_kubeconfigs(fleet)) == 1
    fleet.fault("w1", "heal")
    again = fleet.events("reset", "--yes")
    assert {host for host, _, _ in again.those("changed")} == {"w1"}
    assert kept_kubeconfigs(fleet) == []
    assert fleet.events("reset", "--yes").result["changed"] == 0


def test_a_control_plane_host_that_is_gone_stops_nobody_else(finished: MakeLab) -> None:
    fleet = finished(2, 1)
    fleet.fault("cp2", "kill")
    done = fleet.events("reset", "--yes", code=4)
    assert done.result["hosts"]["cp2"]["failure"]["step"] == "ssh"
    for host in ("cp1", "w1"):
        assert fleet.run(host, "test -e /etc/kubernetes || test -e /var/lib/kbootstrap").returncode == 1


@pytest.mark.parametrize("step", ["reset.network", "restore.containerd", "restore.kernel", "restore.state"])
def test_an_interrupted_reset_is_run_again(lab: MakeLab, finished: MakeLab, step: str) -> None:
    but = (*RUNTIME_STATE, *LAB, *CACHES, *PACKAGES)
    fresh = lab(1, 0)
    before = fresh.snapshot(*but), kernel(fresh, "cp1")
    fleet = finished(1, 0)
    process = fleet.start("reset", "--yes", "--output", "lines", str(fleet.inventory))
    assert process.stdout is not None
    for line in process.stdout:
        if step in line:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    fleet.fault("cp1", "reboot")
    until("cp1 is up", lambda: fleet.backend.status(fleet.name).hosts[0].state == "up")
    fleet.events("reset", "--yes")
    assert fleet.snapshot(*but) ^ before[0] == set()
    assert kernel(fleet, "cp1") == before[1]
    assert fleet.events("reset", "--yes").result["changed"] == 0


def typed(fleet: Fleet, text: str, *options: str) -> tuple[int, str]:
    """`reset` on a terminal, answered with this text: the exit code and all that was shown."""
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "kbootstrap", "reset", str(fleet.inventory), "--output", "lines", *options],
        stdin=its,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env={**os.environ, "XDG_STATE_HOME": str(fleet.inventory.parent / "state")},
    )
    os.close(its)
    os.write(ours, f"{text}\n".encode())
    said, _ = process.communicate(timeout=300)
    os.close(ours)
    return process.returncode, said


def test_the_clusters_name_has_to_be_typed(finished: MakeLab) -> None:
    fleet = finished(1, 1)
    before = fleet.snapshot(*RUNTIME_STATE)
    said = fleet.kbootstrap("reset", str(fleet.inventory), code=2)
    assert "--yes" in said
    for wrong in ("yes", "", fleet.cluster.upper()):
        code, said = typed(fleet, wrong)
        assert code == 1, said
        assert f"({fleet.cluster})" in said
        assert "nothing was changed" in said
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
    code, said = typed(fleet, fleet.cluster)
    assert code == 0, said
    assert "Plan for the reset of" in said
    assert fleet.events("reset", "--yes").result["changed"] == 0


def test_a_member_of_another_cluster_is_refused(lab: MakeLab) -> None:
    fleet = lab(2, 1)
    whole = yaml.safe_load(fleet.inventory.read_text())
    # Two clusters: cp2 with w1, and cp1 alone.
    for names in (("cp2", "w1"), ("cp1",)):
        hosts = [host for host in whole["hosts"] if host["name"] in names]
        fleet.inventory.write_text(yaml.safe_dump({**whole, "hosts": hosts}))
        fleet.up()
    fleet.inventory.write_text(yaml.safe_dump(whole))
    before = fleet.files("w1", *RUNTIME_STATE)
    done = fleet.events("reset", "--yes", code=1)
    failure = done.result["hosts"]["w1"]["failure"]
    assert "is a member of another cluster" in failure["message"]
    assert "--force-host w1" in failure["hint"]
    assert fleet.files("w1", *RUNTIME_STATE) == before
    assert fleet.run("cp1", "test -e /etc/kubernetes").returncode == 1
    assert "w2" in fleet.kbootstrap("reset", str(fleet.inventory), "--yes", "--force-host", "w2", code=2)
    forced = fleet.events("reset", "--yes", "--force-host", "w1", "--force-host", "cp2")
    assert {host for host, _, _ in forced.those("changed")} == {"cp2", "w1"}


# --- half-finished work in `up` --------------------------------------------------------------------------------------


def diff(events: Events, host: str, step: str) -> list[str]:
    return next(line["diff"] for line in events.lines if line.get("host") == host and line.get("step") == step)


def test_an_init_that_failed_is_cleaned_and_done_again(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    right = fleet.inventory.read_text()
    fleet.change_inventory(
        lambda text: text.replace("cluster:\n", "cluster:\n  control_plane_endpoint: 192.168.1.99:6443\n", 1)
    )
    fleet.up(code=1)
    fleet.text("cp1", "mkdir -p /etc/cni/net.d; : >/etc/cni/net.d/10-flannel.conflist")
    fleet.text("cp1", "iptables -t nat -N KUBE-SERVICES; iptables -t nat -A PREROUTING -j KUBE-SERVICES")
    fleet.text("cp1", "iptables -t nat -A PREROUTING -j MINE")
    fleet.inventory.write_text(right)
    planned = fleet.plan()
    assert diff(planned, "cp1", "init")[0] == "! reset this host: init failed at wait-control-plane"
    assert fleet.up().result["status"] == "ok"
    assert nodes(fleet) == {"cp1": "True"}
    rules = fleet.text("cp1", "iptables-save")
    assert "KUBE-SERVICES" not in rules
    assert "-A PREROUTING -j MINE" in rules
    assert fleet.up().result["changed"] == 0


def test_a_control_plane_join_that_broke_off_leaves_no_stale_member(lab: MakeLab) -> None:
    """kubernetes/kubernetes#81071: etcd knows a member that never came up, and kubeadm refuses to join another."""
    fleet = lab(3, 0)
    fleet.up("--limit", "cp1,cp2")
    etcdctl(fleet, f"member add cp3 --peer-urls=https://{ip(fleet, 'cp3')}:2380")
    fleet.text(
        "cp3",
        "mkdir -p /var/lib/kbootstrap /etc/kubernetes/pki; : >/var/lib/kbootstrap/join.begun; "
        ": >/etc/kubernetes/bootstrap-kubelet.conf; echo '[etcd] Announced a new member' >/var/lib/kbootstrap/join.log",
    )
    planned = fleet.plan()
    assert diff(planned, "cp3", "join")[0] == "! reset this host: join failed at etcd"
    assert [line for line in diff(planned, "cp1", "forget-cp3") if line.startswith("- etcd member ")]
    done = fleet.up()
    assert {("cp1", "join-token", "forget-cp3"), ("cp3", "join", "join")} <= done.those("changed")
    assert nodes(fleet) == {"cp1": "True", "cp2": "True", "cp3": "True"}
    assert len(members(fleet)) == 3
    assert fleet.up().result["changed"] == 0


def test_a_member_whose_marker_was_lost_is_never_cleaned(finished: MakeLab) -> None:
    """The host lost power between kubeadm's last word and ours."""
    fleet = finished(2, 1)
    for host, marker in (("cp1", "init"), ("cp2", "join"), ("w1", "join")):
        fleet.text(host, f"rm /var/lib/kbootstrap/{marker}.done")
    assert fleet.plan().result["change"] == 0
    assert fleet.up().result["changed"] == 0
