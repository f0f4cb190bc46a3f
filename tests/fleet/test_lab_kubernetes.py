"""The simulated fleet's packages and clusters: what the stand-ins of dnf, apt, kubeadm and kubectl do and refuse."""

from __future__ import annotations

import time
from functools import partial

import pytest
from support.driver import Fleet
from support.labs import MakeLab, Snapshots

KUBECTL = "KUBECONFIG=/etc/kubernetes/admin.conf kubectl"


def ready(node: str) -> str:
    """The command that prints a node's Ready condition."""
    return f"{KUBECTL} get node {node} -o 'jsonpath={{.status.conditions[?(@.type==\"Ready\")].status}}'"


FLANNEL = """
apiVersion: v1
kind: Namespace
metadata: {name: kube-flannel}
---
apiVersion: v1
kind: ConfigMap
metadata: {name: kube-flannel-cfg, namespace: kube-flannel}
data:
  cni-conf.json: '{"name": "cbr0"}'
  net-conf.json: '{"Network": "NETWORK", "Backend": {"Type": "vxlan"}}'
---
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: kube-flannel-ds, namespace: kube-flannel}
spec:
  selector: {matchLabels: {app: flannel}}
  template:
    metadata: {labels: {app: flannel}}
    spec:
      containers:
        - name: kube-flannel
          image: ghcr.io/flannel-io/flannel:v0.28.9
          env: [{name: KUBERNETES_SERVICE_HOST, value: 192.168.1.10}]
          lifecycle:
            postStart:
              exec:
                command:
                  - sh
                  - -c
                  - until [ -s /run/flannel/subnet.env ]; do sleep 1; done;
                    cp /etc/kube-flannel/cni-conf.json /etc/cni/net.d/10-flannel.conflist
"""

EL_REPOSITORIES = """
curl -fsSL -o /etc/pki/rpm-gpg/RPM-GPG-KEY-kubernetes {base}/v{minor}/rpm/repodata/repomd.xml.key
curl -fsSL -o /etc/pki/rpm-gpg/RPM-GPG-KEY-docker https://download.docker.com/linux/centos/gpg
cat >/etc/yum.repos.d/lab.repo <<REPO
[kubernetes]
name=kubernetes
baseurl={base}/v{minor}/rpm/
repo_gpgcheck=1
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-kubernetes
exclude=kubelet kubeadm kubectl cri-tools kubernetes-cni
[docker]
name=docker
baseurl=https://download.docker.com/linux/centos/9/x86_64/stable/
gpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-docker
REPO
"""

PREPARE = (
    "swapoff -a; sed -i '/ swap /d' /etc/fstab; modprobe br_netfilter; echo br_netfilter >/etc/modules-load.d/k.conf; "
    "sysctl -qw net.ipv4.ip_forward=1; systemctl disable --now firewalld; "
    "setenforce 0; hostnamectl set-hostname {name}"
)
INSTALL = """
dnf -q -y --disableexcludes=kubernetes install containerd.io kubelet-{minor}.1 kubeadm-{minor}.1 kubectl-{minor}.1 \
    cri-tools kubernetes-cni conntrack-tools socat iproute-tc ebtables-legacy
containerd config default >/etc/containerd/config.toml
systemctl enable --now containerd kubelet
"""


def make_ready(
    fleet: Fleet,
    host: str,
    minor: str = "1.34",
    base: str = "https://pkgs.k8s.io/core:/stable:",
    prepare: str = PREPARE,
) -> None:
    """Everything up to kubeadm, as a person would type it."""
    fleet.text(host, prepare.format(name=host))
    fleet.text(host, EL_REPOSITORIES.format(base=base, minor=minor) + INSTALL.format(minor=minor), timeout=120)


@pytest.fixture
def by_hand(lab: MakeLab, snapshots: Snapshots) -> MakeLab:
    """Hosts that are ready for kubeadm, once for all tests that ask for such hosts."""

    def reach(fleet: Fleet) -> None:
        for host in fleet.hosts:
            make_ready(fleet, host)

    return partial(snapshots.copy, lab, "by-hand", reach)


def until(fleet: Fleet, host: str, command: str, wanted: str, seconds: float = 10) -> None:
    """Run a command until it prints this."""
    deadline = time.monotonic() + seconds
    while (got := fleet.run(host, command).stdout) != wanted:
        assert time.monotonic() < deadline, f"{command}: {got!r}, wanted {wanted!r}"
        time.sleep(0.05)


# --- packages --------------------------------------------------------------------------------------------------------


def test_rpm_repositories_decide_what_can_be_installed(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    assert "Unable to find a match: kubelet" in fleet.run("cp1", "dnf -y install kubelet").stderr
    script = EL_REPOSITORIES.format(base="https://pkgs.k8s.io/core:/stable:", minor="1.34")
    fleet.text("cp1", script + "rm /etc/pki/rpm-gpg/RPM-GPG-KEY-kubernetes")
    assert "Bad GPG signature" in fleet.run("cp1", "dnf -y install socat").stderr
    fleet.text("cp1", "cp /etc/pki/rpm-gpg/RPM-GPG-KEY-docker /etc/pki/rpm-gpg/RPM-GPG-KEY-kubernetes")
    assert "Bad GPG signature" in fleet.run("cp1", "dnf -y install socat").stderr, "the wrong key"
    fleet.text("cp1", script)
    refused = fleet.run("cp1", "dnf -y install kubelet")
    assert "filtered out by exclude filtering" in refused.stdout
    assert fleet.run("cp1", "kubelet --version").returncode == 127
    fleet.text("cp1", "dnf -y --disableexcludes=kubernetes install kubelet-1.34.0")
    assert (
        fleet.text("cp1", "kubelet --version; rpm -q kubelet")
        == "Kubernetes v1.34.0\nkubelet-1.34.0-150500.1.1.x86_64\n"
    )
    fleet.text("cp1", "dnf -y upgrade")
    assert fleet.text("cp1", "kubelet --version") == "Kubernetes v1.34.0\n", "the exclude line keeps upgrades away"
    listed = fleet.text("cp1", "dnf -q --disableexcludes=kubernetes --showduplicates list kubeadm")
    assert [line.split()[1] for line in listed.splitlines()[1:]] == [f"1.34.{n}-150500.1.1" for n in range(3)]
    fleet.text("cp1", "dnf -y remove kubelet")
    assert fleet.run("cp1", "kubelet --version").returncode == 127
    assert fleet.run("cp1", "systemctl start kubelet").returncode == 5


def test_mirrors_and_addresses_that_are_not_there(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    result = fleet.run("cp1", "curl -fsSL https://pkgs.nowhere.example/key")
    assert (result.returncode, result.stderr) == (6, "curl: (6) Could not resolve host: pkgs.nowhere.example\n")
    assert (
        fleet.run("cp1", "curl -fsSL https://pkgs.k8s.io/core:/stable:/v1.23/rpm/repodata/repomd.xml.key").returncode
        == 22
    )
    assert fleet.run("cp1", "curl -fsSL https://mirror.example/core:/stable:/v1.20/deb/Release.key").returncode == 0
    fleet.text("cp1", "mkdir -p /.lab/internet; touch /.lab/internet/pkgs.k8s.io")
    assert fleet.run("cp1", "curl -fsSL https://pkgs.k8s.io/core:/stable:/v1.34/deb/Release.key").returncode == 28


def test_apt_knows_what_update_fetched(lab: MakeLab) -> None:
    fleet = lab(1, 0, "debian12")
    assert "Unable to locate package socat" in fleet.run("cp1", "apt-get install -y socat").stderr
    fleet.text("cp1", "apt-get update && apt-get install -y socat gnupg && socat -V")
    fleet.text(
        "cp1",
        "echo 'deb [signed-by=/etc/apt/keyrings/k.asc] https://pkgs.k8s.io/core:/stable:/v1.33/deb/ /' "
        ">/etc/apt/sources.list.d/k.list",
    )
    unsigned = fleet.run("cp1", "apt-get update")
    assert unsigned.returncode == 100
    assert "NO_PUBKEY" in unsigned.stderr
    fleet.text("cp1", "curl -fsSL -o /etc/apt/keyrings/k.asc https://pkgs.k8s.io/core:/stable:/v1.33/deb/Release.key")
    assert "Unable to locate" in fleet.run("cp1", "apt-get install -y kubectl").stderr, "not before update"
    fleet.text("cp1", "apt-get update && apt-get install -y 'kubectl=1.33.1-*' && apt-mark hold kubectl")
    assert "Held packages were changed" in fleet.run("cp1", "apt-get install -y kubectl").stderr
    fleet.text("cp1", "apt-get upgrade -y")
    assert fleet.text("cp1", "dpkg-query -W -f '${Status} ${Version}' kubectl") == "hold ok installed 1.33.1-1.1"
    fleet.text("cp1", "apt-get install -y --allow-change-held-packages kubectl")
    assert fleet.text("cp1", "kubectl version --client") == "Client Version: v1.33.2\n"


def test_the_lock_of_dpkg_is_honoured(lab: MakeLab) -> None:
    fleet = lab(1, 0, "debian12")
    lock = (
        '/.machine/python3 -c \'import fcntl, time; f = open("/var/lib/dpkg/lock-frontend", "w"); '
        'fcntl.lockf(f, fcntl.LOCK_EX); open("/tmp/held", "w"); time.sleep(1.5)\' >/dev/null 2>&1 & '
        "while [ ! -e /tmp/held ]; do sleep 0.02; done"
    )
    fleet.text("cp1", f"apt-get update; {lock}")
    assert "Could not get lock" in fleet.run("cp1", "apt-get install -y socat").stderr
    fleet.text("cp1", "apt-get -o DPkg::Lock::Timeout=20 install -y socat")


# --- kubeadm ---------------------------------------------------------------------------------------------------------


def test_a_cluster_from_init_to_ready(by_hand: MakeLab) -> None:
    fleet = by_hand(1, 1)
    fleet.text("cp1", "kubeadm init --pod-network-cidr 10.244.0.0/16 --control-plane-endpoint 192.168.1.10")
    again = fleet.run("cp1", "kubeadm init")
    assert again.returncode == 1
    assert "kube-apiserver.yaml already exists" in again.stderr

    join = fleet.text("cp1", "kubeadm token create --ttl 10m --print-join-command")
    token, ca_hash = join.split()[4], join.split()[6]
    for wrong, why in {
        join.replace(token, "abcdef.0123456789abcdef"): "could not find a JWS signature",
        join.replace(token, token[:7] + "0" * 16): "failed to verify JWS signature",
        join.replace(ca_hash, "sha256:" + "0" * 64): "are pinned",
        join.replace("192.168.1.10", "192.168.1.99"): "no route to host",
    }.items():
        refused = fleet.run("w1", wrong)
        assert refused.returncode == 1
        assert why in refused.stderr
    assert "w1" not in fleet.text("cp1", f"{KUBECTL} get nodes -o name")

    fleet.text("w1", join)
    assert "kubelet.conf already exists" in fleet.run("w1", join).stderr
    assert fleet.text("cp1", ready("w1")) == "False", "no pod network yet"
    fleet.text("cp1", f"{KUBECTL} apply -f -", FLANNEL.replace("NETWORK", "10.244.0.0/16"))
    for host in fleet.hosts:
        until(fleet, "cp1", ready(host), "True")
        until(fleet, host, "cat /run/flannel/subnet.env | head -n 1", "FLANNEL_NETWORK=10.244.0.0/16\n")
    running = f"{KUBECTL} get pods -A -o 'jsonpath={{.items[*].status.phase}}'"
    until(fleet, "cp1", running, " ".join(["Running"] * 10))

    fleet.text("w1", "systemctl stop kubelet")
    assert fleet.text("cp1", ready("w1")) == "Unknown"
    fleet.text("w1", "systemctl start kubelet")
    until(fleet, "cp1", ready("w1"), "True")

    fleet.text("w1", "kubeadm reset -f")
    assert fleet.run("w1", "ls /etc/kubernetes/kubelet.conf").returncode != 0
    fleet.text("cp1", f"{KUBECTL} delete node w1")
    fleet.text("w1", join)
    until(fleet, "cp1", ready("w1"), "True")


def test_a_token_expires(by_hand: MakeLab) -> None:
    fleet = by_hand(1, 1)
    fleet.text("cp1", "kubeadm init")
    join = fleet.text("cp1", "kubeadm token create --ttl 1s --print-join-command")
    time.sleep(2)
    assert "could not find a JWS signature" in fleet.run("w1", join).stderr
    assert join.split()[4] not in fleet.text("cp1", "kubeadm token list")


def test_the_network_must_fit(by_hand: MakeLab) -> None:
    """Flannel with another network than kubeadm's: its pods crash and say why, and no node gets Ready."""
    fleet = by_hand(1, 0)
    fleet.text("cp1", "kubeadm init --pod-network-cidr 10.200.0.0/16")
    fleet.text("cp1", f"{KUBECTL} apply -f -", FLANNEL.replace("NETWORK", "10.244.0.0/16"))
    waiting = "{.items[*].status.containerStatuses[*].state.waiting.reason}"
    reason = f"{KUBECTL} -n kube-flannel get pods -o 'jsonpath={waiting}'"
    until(fleet, "cp1", reason, "CrashLoopBackOff")
    assert fleet.text("cp1", ready("cp1")) == "False"
    fleet.text("cp1", f"{KUBECTL} apply -f -", FLANNEL.replace("NETWORK", "10.200.0.0/16"))
    until(fleet, "cp1", ready("cp1"), "True")


@pytest.mark.parametrize(
    ("before", "error"),
    [
        ("sysctl -qw net.ipv4.ip_forward=0", "FileContent--proc-sys-net-ipv4-ip_forward"),
        ("systemctl stop containerd", "ERROR CRI"),
        ("echo 'disabled_plugins = [\"cri\"]' >/etc/containerd/config.toml; systemctl restart containerd", "ERROR CRI"),
        ("mkdir -p /var/lib/etcd/member", "DirAvailable--var-lib-etcd"),
        ("touch /.lab/net/192.168.1.10/listen/6443", "Port-6443"),
        ("swapon /dev/dm-1", "The kubelet is not healthy"),
        ("touch /.lab/internet/registry.k8s.io; mkdir -p /.lab/internet", "ERROR ImagePull"),
    ],
)
def test_kubeadm_init_refuses(by_hand: MakeLab, before: str, error: str) -> None:
    fleet = by_hand(1, 0)
    fleet.run("cp1", f"mkdir -p /.lab/internet; {before}")
    result = fleet.run("cp1", "kubeadm init")
    assert result.returncode == 1
    assert error in result.stderr


@pytest.mark.parametrize(
    ("minor", "api", "arguments", "works"),
    [
        ("1.20", "v1beta2", "{v: '4'}", True),
        ("1.20", "v1beta3", "{v: '4'}", False),
        ("1.30", "v1beta3", "{v: '4'}", True),
        ("1.30", "v1beta4", "[{name: v, value: '4'}]", False),
        ("1.34", "v1beta4", "[{name: v, value: '4'}]", True),
        ("1.34", "v1beta4", "{v: '4'}", False),
        ("1.34", "v1beta3", "[{name: v, value: '4'}]", False),
        ("1.34", "v1beta2", "{v: '4'}", False),
    ],
)
def test_the_configuration_api_belongs_to_a_version(
    lab: MakeLab, minor: str, api: str, arguments: str, works: bool
) -> None:
    fleet = lab(1, 0, state="clean")
    make_ready(fleet, "cp1", minor, "https://mirror.example/core:/stable:")
    config = (
        f"apiVersion: kubeadm.k8s.io/{api}\nkind: ClusterConfiguration\nkubernetesVersion: v{minor}.1\n"
        f"apiServer:\n  extraArgs: {arguments}\n"
    )
    result = fleet.run("cp1", "cat >/root/c.yaml && kubeadm init --config /root/c.yaml", config)
    assert (result.returncode == 0) == works, result.stderr
    if works:
        assert "--v=4" in fleet.text("cp1", "cat /etc/kubernetes/manifests/kube-apiserver.yaml")
        assert (
            fleet.text("cp1", f"{KUBECTL} get nodes -o 'jsonpath={{.items[0].status.nodeInfo.kubeletVersion}}'")
            == f"v{minor}.1"
        )


def test_control_planes_join_with_a_key_and_need_a_majority(by_hand: MakeLab) -> None:
    fleet = by_hand(2, 0)
    fleet.text("cp1", "kubeadm init --control-plane-endpoint 192.168.1.10:6443")
    join = fleet.text("cp1", "kubeadm token create --print-join-command").strip()
    assert "kubeadm-certs" in fleet.run("cp2", f"{join} --control-plane --certificate-key {'0' * 64}").stderr
    key = fleet.text("cp1", "kubeadm init phase upload-certs --upload-certs").splitlines()[-1]
    assert "authentication failed" in fleet.run("cp2", f"{join} --control-plane --certificate-key {'0' * 64}").stderr
    fleet.text("cp2", f"{join} --control-plane --certificate-key {key}")
    assert fleet.text("cp2", f"{KUBECTL} get nodes -o name") == "node/cp1\nnode/cp2\n"
    fleet.fault("cp2", "kill")
    assert "request timed out" in fleet.run("cp1", f"{KUBECTL} get nodes").stderr
    fleet.fault("cp2", "heal")
    until(fleet, "cp1", f"{KUBECTL} get nodes -o name", "node/cp1\nnode/cp2\n")


def test_a_cluster_comes_back_after_a_reboot(by_hand: MakeLab) -> None:
    fleet = by_hand(1, 0)
    fleet.text("cp1", "kubeadm init --pod-network-cidr 10.244.0.0/16")
    fleet.text("cp1", f"{KUBECTL} apply -f -", FLANNEL.replace("NETWORK", "10.244.0.0/16"))
    until(fleet, "cp1", ready("cp1"), "True")
    fleet.fault("cp1", "kill")
    fleet.fault("cp1", "heal")
    until(fleet, "cp1", ready("cp1"), "True")
    until(fleet, "cp1", "ls /run/flannel", "subnet.env\n")


def test_a_clock_that_is_behind_sees_certificates_of_the_future(by_hand: MakeLab) -> None:
    fleet = by_hand(1, 1)
    fleet.text("cp1", "kubeadm init")
    join = fleet.text("cp1", "kubeadm token create --print-join-command")
    fleet.fault("w1", "clock-skew", seconds=-3600)
    assert "certificate has expired or is not yet valid" in fleet.run("w1", join).stderr
    fleet.fault("w1", "heal")
    fleet.text("w1", join)


def test_a_firewall_that_stays_must_be_opened(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    closed = PREPARE.replace("systemctl disable --now firewalld; ", "")
    make_ready(fleet, "cp1", prepare=closed)
    make_ready(fleet, "w1")
    fleet.text("cp1", "kubeadm init")
    join = fleet.text("cp1", "kubeadm token create --print-join-command")
    assert "no route to host" in fleet.run("w1", join).stderr
    fleet.text("cp1", "firewall-cmd --permanent --add-port=6443/tcp && firewall-cmd --reload")
    fleet.text("w1", join)


def test_kubectl_labels_taints_and_refusals(by_hand: MakeLab) -> None:
    fleet = by_hand(1, 0)
    assert "localhost:8080 was refused" in fleet.run("cp1", "kubectl get nodes").stderr
    fleet.text("cp1", "kubeadm init")
    fleet.text("cp1", f"{KUBECTL} label node cp1 disk=ssd && {KUBECTL} taint node cp1 a=b:NoSchedule")
    assert fleet.run("cp1", f"{KUBECTL} label node cp1 disk=hdd").returncode == 1
    assert fleet.text("cp1", f"{KUBECTL} get nodes -l disk=ssd -o name") == "node/cp1\n"
    taints = fleet.text(
        "cp1", f"{KUBECTL} get node cp1 -o 'jsonpath={{range .spec.taints[*]}}{{.key}}={{.value}}:{{.effect}};{{end}}'"
    )
    assert "a=b:NoSchedule;" in taints
    assert "node-role.kubernetes.io/control-plane=:NoSchedule;" in taints
    for refused in ("exec -it x -- sh", "get nodes -o custom-columns=A:.x", "get frobs", "apply -k ."):
        assert fleet.run("cp1", f"{KUBECTL} {refused}").returncode in (1, 64), refused
    bad = FLANNEL.replace("apps/v1", "extensions/v1beta1")
    assert "no matches for kind" in fleet.run("cp1", f"{KUBECTL} apply -f -", bad).stderr
