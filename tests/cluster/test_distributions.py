"""Hosts as people have them, with real kubeadm: other distributions, dead repositories, containerd 2, mirrors in China.

Part of the tier `faults`.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from support.driver import Fleet
from support.host_state import PACKAGE_STATE, RUNTIME_STATE, not_files, put_back
from support.kubectl import assert_healthy
from support.labs import MakeLab

from kbootstrap_lab.containers import SERVER
from kbootstrap_lab.containers.artifacts import CONTAINERD, KUBERNETES

ALIYUN = Path(__file__).parents[2] / "inventories" / "aliyun.yaml"
CRI = "unix:///run/containerd/containerd.sock"
NEWEST_CONTAINERD = list(CONTAINERD)[-1]
ASK = r"""
printf '\0\0\0\0\0' >/tmp/empty
curl --silent --max-time 5 --http2-prior-knowledge --unix-socket /run/containerd/containerd.sock --output - \
    --header 'content-type: application/grpc' --header 'te: trailers' --data-binary @/tmp/empty \
    http://localhost/{service}/{method} | base64 -w 0
"""
"""Call a function of containerd's gRPC server that needs no argument."""


def test_centos_8_as_it_is_found_with_el_10(lab: MakeLab) -> None:
    """Dead repositories are named, replaced and put back; a purge leaves nothing."""
    fleet = lab(1, 1, distributions=("centos8", "rocky10"))
    changes = (*RUNTIME_STATE, *PACKAGE_STATE, "/home/kb/.kube")
    before, others = fleet.snapshot(*changes), not_files(fleet)
    assert fleet.run("cp1", "dnf -q makecache").returncode != 0

    repaired = fleet.inventory.read_text()
    fleet.change_inventory(
        lambda text: text.replace(f"os_repository: http://{SERVER}/centos-vault", "os_repository: keep")
    )
    said = fleet.kbootstrap("check", str(fleet.inventory), code=1)
    assert "the servers of these repositories are gone: /etc/yum.repos.d/CentOS-Linux-BaseOS.repo" in said
    fleet.inventory.write_text(repaired)

    done = fleet.up()
    assert {host for host, _, step in done.those("changed") if step == "package-sources"} == {"cp1"}
    assert f"baseurl=http://{SERVER}/centos-vault/8.5.2111/BaseOS/" in fleet.text(
        "cp1", "cat /etc/yum.repos.d/*BaseOS.repo"
    )
    assert_healthy(fleet)
    assert fleet.up().result["changed"] == 0

    fleet.events("reset", "--yes", "--purge")
    # A volume of the lab is mounted there: it is emptied, and keeps containerd's mode.
    left = [each for each in sorted(fleet.snapshot(*changes) ^ before) if each[1] != "/var/lib/containerd"]
    assert left == []
    assert not_files(fleet) == others
    assert fleet.events("reset", "--yes", "--purge").result["changed"] == 0


def test_debian_13_with_el_8(lab: MakeLab) -> None:
    """A root of Debian 13: its systemd, and its apt, which checks signatures with another program."""
    fleet = lab(1, 1, distributions=("debian13", "rocky8"))
    plain, others = put_back(fleet), not_files(fleet)
    fleet.up()
    assert_healthy(fleet)
    assert "linux/rhel/8/" in fleet.text("w1", "cat /etc/yum.repos.d/docker.repo")
    assert "linux/debian trixie" in fleet.text("cp1", "cat /etc/apt/sources.list.d/docker.list")
    assert fleet.up().result["changed"] == 0
    fleet.events("reset", "--yes", "--purge")
    assert sorted(put_back(fleet) ^ plain) == []
    assert not_files(fleet) == others


def test_containerd_2(lab: MakeLab) -> None:
    """Everything up to the runtime, for a Kubernetes that can use it: the kubelet of this lab cannot."""
    fleet = lab(1, 1, distributions=("centos9", "debian12"))
    served = fleet.text("w1", f"curl -fsS http://{SERVER}/linux/debian/dists/bookworm/stable/binary-amd64/Packages")
    if f"Version: {NEWEST_CONTAINERD}-" not in served:
        pytest.skip(f"Debian has no containerd {NEWEST_CONTAINERD} any more")
    fleet.change_inventory(
        lambda text: text.replace("  runtime:\n", f"  runtime:\n    version: {NEWEST_CONTAINERD}\n", 1)
    )
    assert "Kubernetes 1.20 needs containerd 1.x" in fleet.kbootstrap("plan", str(fleet.inventory), code=2)

    fleet.change_inventory(lambda text: text.replace(f'"{KUBERNETES}"', '"1.34"', 1))
    for phase in ("prepare", "runtime"):
        assert fleet.up("--only", phase).result["failed"] == 0
        assert fleet.up("--only", phase).result["changed"] == 0
    for host in fleet.hosts:
        assert fleet.text(host, "containerd --version").split()[2].startswith(NEWEST_CONTAINERD)
        assert fleet.text(host, "sed -n 1p /etc/containerd/config.toml") == "version = 3\n"
        running = fleet.text(host, "containerd config dump")
        assert "sandbox = 'registry.k8s.io/pause:3.10.1'" in running
        assert "SystemdCgroup = true" in running
        assert "config_path = '/etc/containerd/certs.d'" in running
        assert fleet.text(host, "cat /etc/containerd/certs.d/registry.k8s.io/hosts.toml").count(SERVER) == 1
        assert fleet.text(host, "ctr plugins ls | awk '$1 ~ /cri/ && $4 != \"ok\"'") == ""
        assert asked(fleet, host, "runtime.v1.RuntimeService", "Version") != ""
        # The cgroup driver in a message: an empty field 1 of an empty field, which is systemd.
        assert asked(fleet, host, "runtime.v1.RuntimeService", "RuntimeConfig") == "AAAAAAIKAA=="
    kubelet_needs_the_old_interface(fleet, "cp1")


def asked(fleet: Fleet, host: str, service: str, method: str) -> str:
    """containerd's answer, in base64."""
    return fleet.text(host, ASK.format(service=service, method=method))


def kubelet_needs_the_old_interface(fleet: Fleet, host: str) -> None:
    package = f"http://{SERVER}/core:/stable:/v1.20/rpm/kubelet-{KUBERNETES}-150500.1.1.x86_64.rpm"
    fleet.text(host, f"rpm --install --nodeps --nosignature {package}")
    options = (
        f"--container-runtime=remote --container-runtime-endpoint={CRI} --fail-swap-on=false --cgroup-driver=systemd"
    )
    assert "unknown service runtime.v1alpha2.RuntimeService" in fleet.text(
        host, f"timeout 60 kubelet {options} 2>&1 || true"
    )


def test_the_inventory_for_china(lab: MakeLab) -> None:
    """inventories/aliyun.yaml, with the lab's server in the mirrors' place and the lab's Kubernetes."""
    fleet = lab(1, 1, distributions=("centos7", "centos8"), user="root")
    text = ALIYUN.read_text()
    assert "mirror: aliyun" in text
    of_lab = fleet.inventory.read_text()
    key = next(line.split()[1] for line in of_lab.splitlines() if "package_key" in line)
    cluster = f"""
  package_repository: http://{SERVER}/kubernetes-new/core/stable/v{{minor}}
  package_key: {key}
  os_repository: http://{SERVER}/centos-vault
  ntp: [{fleet.lab.server}]
  runtime:
    package_repository: http://{SERVER}/docker-ce
    package_key: {key}
    mirrors: {{registry.aliyuncs.com: ['http://{SERVER}'], ghcr.m.daocloud.io: ['http://{SERVER}']}}
"""
    kubeadm = of_lab[of_lab.index("  kubeadm:\n") : of_lab.index("\nhosts:")]
    hosts = "".join(
        f"  - {{name: {name}, address: {host.address}, role: {role}}}\n"
        for (name, role), host in zip((("master1", "master"), ("worker1", "worker")), fleet.lab.hosts, strict=True)
    )
    head = text[: text.index("\nssh:")].replace('kubernetes: "1.28"', f'kubernetes: "{KUBERNETES}"')
    fleet.inventory.write_text(head.rstrip() + cluster + kubeadm + "\nhosts:\n" + hosts)

    done = fleet.up()
    assert {step for _, _, step in done.those("changed")} >= {"package-sources", "mirrors"}
    assert "2 of 2 nodes Ready, 0 pods not running" in fleet.kbootstrap("status", str(fleet.inventory))
    images = fleet.text("cp1", "ctr -n k8s.io images ls -q")
    assert "registry.aliyuncs.com/google_containers/kube-apiserver" in images
    assert "ghcr.m.daocloud.io/flannel-io/flannel" in images
    assert fleet.up().result["changed"] == 0
