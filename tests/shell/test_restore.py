"""Restoring the original state and removing a cluster from a host, in dash and in bash, on a private host."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.private_host import CASES, HOSTS, SWAP, Host, with_hosts, with_swap
from support.shell import sh

from kbootstrap.steps import Step

UNDOES = {"hosts": "hosts", "swap": "swap", "sysctl": "kernel", "modules": "kernel", "selinux": "selinux"}
UNDOES["hostname"] = "hostname"


@pytest.fixture(params=["dash", "bash"])
def host(request: pytest.FixtureRequest, tmp_path: Path) -> Host:
    return Host(tmp_path, request.param)


def undo(step: Step) -> Step:
    name = UNDOES[step.id]
    return Step(name, "U", f"reset/{name}.sh", "W.", {"CLUSTER": "demo"})


def settled(host: Host) -> dict[str, tuple[str, str]]:
    """The state without kbootstrap's records, the file of the test's swapoff, and loaded modules, which stay."""
    gone = ("var/lib/kbootstrap/", "run/", "proc/modules")
    return {path: what for path, what in host.files().items() if not path.startswith(gone)}


@pytest.mark.parametrize(("step", "prepare"), CASES, ids=[step.id for step, _ in CASES])
def test_what_a_step_changed_is_as_before(host: Host, step: Step, prepare: Callable[[Host], None]) -> None:
    prepare(host)
    before = settled(host)
    assert host.run("plan", undo(step))[0] == "ok"
    host.run("apply", step)
    changed = host.files()
    assert host.run("plan", undo(step))[0] == "change"
    assert host.files() == changed, "a check writes nothing"
    state, said = host.run("apply", undo(step))
    assert state == "changed", said
    assert settled(host) == before
    assert host.run("apply", undo(step))[0] == "ok"


def test_a_second_preparation_does_not_take_its_own_work_for_the_original(host: Host) -> None:
    with_hosts(host)
    before = host.read("etc/hosts")
    host.run("apply", HOSTS)
    grown = Step("hosts", "H", "prepare/hosts.sh", "W.", {**HOSTS.params, "NODES": "192.168.1.10 cp1"})
    assert host.run("apply", grown)[0] == "changed"
    host.run("apply", undo(HOSTS))
    assert host.read("etc/hosts") == before


def test_names_that_led_elsewhere_come_back(host: Host) -> None:
    """`up` removes a node's name from a line with another address. The line is restored if it did not change since."""
    before = "127.0.0.1 localhost\n10.9.9.9 cp1 printer\n10.9.9.8 w1\n"
    for since, after in (
        ("", before),
        ("10.0.0.8 scanner\n", "127.0.0.1 localhost\n10.9.9.9 printer\n10.0.0.8 scanner\n"),
    ):
        host.write("etc/hosts", before)
        host.run("apply", HOSTS)
        assert "10.9.9.9 printer" in host.read("etc/hosts")
        host.write("etc/hosts", host.read("etc/hosts") + since)
        assert host.run("apply", undo(HOSTS))[0] == "changed"
        assert host.read("etc/hosts") == after


def test_an_interrupted_write_leaves_nothing(host: Host) -> None:
    with_swap(host)
    before = settled(host)
    host.run("apply", SWAP)
    host.write("etc/systemd/zram-generator.conf.kbAb12cd", "half")
    assert "zram-generator.conf.kbAb12cd" in host.run("plan", undo(SWAP))[1]
    host.run("apply", undo(SWAP))
    assert settled(host) == before


def test_swap_that_cannot_be_turned_on_again_says_what_to_do(host: Host) -> None:
    with_swap(host)
    host.run("apply", SWAP)
    host.write("usr/local/sbin/swapon", "#!/bin/sh\nexit 255\n", 0o755)
    state, said = host.run("apply", undo(SWAP))
    assert state == "failed"
    assert "swap on /dev/sda2 cannot be turned on again" in said
    assert "--keep-host-settings" in said


def test_files_that_were_not_there_go_with_the_folders_made_for_them(host: Host) -> None:
    before = settled(host)
    mirrors = Step("m", "M", "runtime/mirrors.sh", "W.", {"MIRRORS": "docker.io https://mirror", "INSECURE": ""})
    assert host.run("apply", mirrors)[0] == "changed"
    assert (host.root / "etc/containerd/certs.d/docker.io/hosts.toml").exists()
    back = Step("containerd", "C", "reset/containerd.sh", "W.")
    assert host.run("apply", back)[0] == "changed"
    assert settled(host) == before
    assert not (host.root / "etc/containerd").exists()


def test_a_folder_somebody_else_uses_by_now_stays(host: Host) -> None:
    mirrors = Step("m", "M", "runtime/mirrors.sh", "W.", {"MIRRORS": "docker.io https://mirror", "INSECURE": ""})
    host.run("apply", mirrors)
    host.write("etc/containerd/mine.toml", "mine")
    host.run("apply", Step("containerd", "C", "reset/containerd.sh", "W."))
    assert sorted(path.name for path in (host.root / "etc/containerd").iterdir()) == ["mine.toml"]


def test_mode_and_owner_of_the_original_come_back(host: Host) -> None:
    with_swap(host)
    (host.root / "etc/fstab").chmod(0o640)
    host.run("apply", SWAP)
    (host.root / "etc/fstab").chmod(0o644)
    host.run("apply", undo(SWAP))
    assert (host.root / "etc/fstab").stat().st_mode & 0o777 == 0o640


# --- cleaning --------------------------------------------------------------------------------------------------------

KUBEADM = Step("kubeadm", "K", "reset/kubeadm.sh", "W.", {"CRI_SOCKET": "unix:///x"})


def test_folders_go_and_disks_of_their_own_are_emptied(host: Host) -> None:
    """A mounted volume of a pod is unmounted and not emptied. A disk for etcd stays mounted."""
    host.write("volume/precious", "data")
    for folder in ("var/lib/etcd/member", "var/lib/kubelet/pods/a b/volume", "etc/kubernetes/pki"):
        (host.root / folder).mkdir(parents=True)
    first = (
        f"mount -t tmpfs tmpfs /var/lib/etcd\nmkdir -p /var/lib/etcd/member /var/lib/etcd/lost+found\n"
        f"cat {host.root}/proc/mounts >/dev/null 2>&1 || true\nln -sf {host.root}/mounts /proc/mounts\n"
        f"mount --bind {host.root}/volume '/var/lib/kubelet/pods/a b/volume'\n"
        f"printf 'x /var/lib/kubelet/pods/a\\\\040b/volume none rw 0 0\\n' >{host.root}/mounts\n"
    )
    state, said = host.run("apply", KUBEADM, first)
    assert state == "changed", said
    assert "- everything in /var/lib/etcd\n" in said
    assert (host.root / "volume/precious").read_text() == "data"
    assert not (host.root / "etc/kubernetes").exists()
    assert not (host.root / "var/lib/kubelet").exists()
    assert (host.root / "var/lib/etcd").exists()


CTR = """#!/bin/sh
case $* in
    '-n k8s.io tasks ls')
        echo 'TASK PID STATUS'
        echo 'ended 0 STOPPED'
        cat /run/tasks
        ;;
    '-n k8s.io tasks kill --signal SIGKILL '*) {kill} ;;
    *) exit 64 ;;
esac
"""


def with_containers(host: Host, kill: str) -> None:
    """Two running containers. containerd's ``ctr`` runs ``kill`` to end one. Waiting takes no time."""
    host.write("run/tasks", "one 11 RUNNING\ntwo 12 RUNNING\n")
    host.write("usr/local/sbin/ctr", CTR.replace("{kill}", kill), 0o755)
    host.write("usr/local/sbin/systemctl", '#!/bin/sh\n[ "$*" = "is-active --quiet containerd" ]\n', 0o755)
    host.write("usr/local/sbin/sleep", "#!/bin/sh\n", 0o755)


def test_containers_that_outlive_kubeadm_reset_are_ended(host: Host) -> None:
    with_containers(host, 'sed -i "/^$7 /d" /run/tasks')
    state, said = host.run("apply", KUBEADM)
    assert state == "changed", said
    assert "- 2 running containers" in said
    assert host.read("run/tasks") == ""


def test_containers_that_do_not_end_are_a_failure(host: Host) -> None:
    with_containers(host, "true")
    state, said = host.run("apply", KUBEADM)
    assert state == "failed"
    assert "containers of pods do not end" in said


def test_an_unreadable_list_of_containers_is_no_success(host: Host) -> None:
    with_containers(host, "true")
    host.write("usr/local/sbin/ctr", "#!/bin/sh\nexit 1\n", 0o755)
    (host.root / "etc/kubernetes").mkdir()
    state, said = host.run("apply", KUBEADM)
    assert state == "failed"
    assert "containerd does not say which containers run" in said


SAVED = """\
# Generated by iptables-save
*filter
:INPUT ACCEPT [0:0]
:DOCKER-USER - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-SERVICES - [0:0]
-A INPUT -p tcp -m tcp --dport 22 -m comment --comment "for KUBE-people" -j ACCEPT
-A INPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A FORWARD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A KUBE-FORWARD -j ACCEPT
-A KUBE-SERVICES -j KUBE-FORWARD
-A DOCKER-USER -j RETURN
COMMIT
*mangle
:PREROUTING ACCEPT [0:0]
-A PREROUTING -j MARK --set-xmark 0x1/0xffffffff
COMMIT
*nat
:CNI-1a2b - [0:0]
-A POSTROUTING -s 10.244.0.5/32 -g CNI-1a2b
COMMIT
"""
UNDONE = """\
*filter
-D INPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-D FORWARD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-F KUBE-FORWARD
-F KUBE-SERVICES
-X KUBE-FORWARD
-X KUBE-SERVICES
COMMIT
*nat
-D POSTROUTING -s 10.244.0.5/32 -g CNI-1a2b
-F CNI-1a2b
-X CNI-1a2b
COMMIT
"""


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_only_rules_of_the_cluster_are_taken_out(shell: str) -> None:
    said = sh(shell, f"rules_undone <<'SAVED'\n{SAVED}SAVED\n")
    assert "\n".join(said[:-1]) + "\n" == UNDONE
    others = "".join(line for line in SAVED.splitlines(keepends=True) if line.startswith(("*mangle", ":PRE", "COMMIT")))
    assert sh(shell, f"rules_undone <<'SAVED'\n{others}SAVED\n") == ["status 0"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
@pytest.mark.parametrize(
    ("log", "phase"),
    [
        (
            "[init] Using Kubernetes version: v1.34.0\n[wait-control-plane] Waiting for the kubelet\n",
            "wait-control-plane",
        ),
        (
            "[kubelet-check] Initial timeout\nerror execution phase wait-control-plane: could not\n",
            "wait-control-plane",
        ),
        (
            "error: error execution phase control-plane-prepare/download-certs: error down\n",
            "control-plane-prepare/download-certs",
        ),
        ("\t[WARNING Swap]: swap is on\n", ""),
        ("", ""),
    ],
)
def test_kubeadms_output_says_where_it_stopped(shell: str, log: str, phase: str, tmp_path: Path) -> None:
    path = tmp_path / "init.log"
    path.write_text(log)
    (line, _) = sh(shell, f"broken_off init {path}\n")
    expected = f"init failed at {phase}" if phase else "an earlier kubeadm init did not finish"
    assert line == f"! reset this host: {expected}"


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_kubeadms_output_is_kept_and_its_status_too(shell: str, tmp_path: Path) -> None:
    fake = 'kubeadm() { echo "[preflight] $*"; echo oops >&2; return 7; }\n'
    said = sh(shell, f"{fake}kubeadm_kept {tmp_path}/log init --config x || echo ended $?\n")
    assert sorted(said) == sorted(
        ["@m command kubeadm init --config x", "[preflight] init --config x", "oops", "ended 7", "status 0"]
    )
    assert "[preflight]" in (tmp_path / "log").read_text()
    assert (tmp_path / "log").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["log"]


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_only_the_first_saved_state_is_kept(shell: str, tmp_path: Path) -> None:
    script = "save_state sysctl a.b '1 2'\nsave_state sysctl a.b 3\nsave_state unit 'x\\x2d.swap' off\n"
    script += "saved_state sysctl a.b\nsaved_state unit 'x\\x2d.swap'\nsaved_state sysctl a || echo none\n"
    assert sh(shell, script, folder=tmp_path) == ["1 2", "off", "none", "status 0"]
    assert len((tmp_path / "state/original").read_text().splitlines()) == 2


@pytest.mark.parametrize("shell", ["dash", "bash"])
def test_a_copy_that_broke_off_is_not_an_original(shell: str, tmp_path: Path) -> None:
    """The host lost power while the original was copied. The file itself did not change."""
    target = tmp_path / "conf"
    target.write_text("whole\n")
    half = tmp_path / f"state/before{target}.new"
    half.parent.mkdir(parents=True)
    half.write_text("wh")
    assert sh(shell, f"put_file {target} 644 ours\nput_back {target}\nchanged_files '*'\n", folder=tmp_path) == [
        str(target),
        "status 0",
    ]
    assert target.read_text() == "whole\n"
