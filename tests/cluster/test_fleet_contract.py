"""The same commands on a real host (systemd, dnf, apt) and a simulated one. A difference is a bug of the simulation."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from support.driver import Fleet
from support.labs import maker

from kbootstrap_lab import containers, simulated

# The container hosts cannot serve as a reference for swap and SELinux (they share the machine's kernel) and for OS
# packages in rpm's database (an EL host of this lab is a Debian root with an empty database).

DISTRIBUTIONS = ("centos9", "debian12")
EVERYWHERE = """
true
systemctl is-active --quiet nosuch.service
systemctl is-enabled --quiet nosuch.service
systemctl is-active nosuch.service
systemctl enable nosuch.service
systemctl restart nosuch.service
systemctl is-active kubelet
systemctl is-enabled containerd
systemctl mask --now nosuch.swap; readlink /etc/systemd/system/nosuch.swap; systemctl unmask nosuch.swap
systemctl daemon-reload
systemd-detect-virt >/dev/null; test $? -le 1
modprobe nosuchmodule
modprobe overlay
sysctl -n nosuch.key; test $? -ne 0
sysctl -n net.ipv4.ip_forward >/dev/null
sysctl -qw net.ipv4.ip_forward=1 && sysctl -n net.ipv4.ip_forward
hostnamectl set-hostname cp1 && uname -n && cat /etc/hostname
getent passwd root | cut -d: -f1-3
getent hosts nosuch.invalid
command -v kubeadm kubelet kubectl containerd crictl; test $? -ne 0
kubectl version
flock -n /run/x.lock true
flock -n /run/x.lock flock -n /run/x.lock true
setsid true
mktemp -u /etc/xXXXXXX | wc -c
stat -c %a /etc/passwd
df -Pk /var/lib | awk 'NR == 2 { exit $4 < 1000 }'
curl -fsS http://127.0.0.1:1/ -o /dev/null
ip -o -4 addr show scope global | wc -l
timeout 1 sleep 5
awk '$1 == "MemTotal:" { exit $2 < 100000 }' /proc/meminfo
head -n 1 /proc/swaps | cut -c 1-8
journalctl -u nosuch.service -n 10 --no-pager
base64 -w0 </etc/machine-id | wc -c
""".strip().splitlines()
EL = """
rpm -q nosuchpackage
rpm -q --qf '%{VERSION}\\n' nosuchpackage
dnf -y -q install nosuchpackage
dnf -q repolist nosuch
sed -n 's/^SELINUX=//p' /etc/selinux/config
systemctl is-active firewalld
firewall-cmd --state
firewall-cmd --permanent --query-port=6443/tcp
command -v apt-get; test $? -ne 0
grep -c swap /etc/fstab
""".strip().splitlines()
DEBIAN = """
dpkg-query -W -f '${Status}' nosuchpackage
dpkg-query -W -f '${db:Status-Status}\\n' coreutils
apt-get install -y -qq nosuchpackage
apt-cache policy nosuchpackage
apt-mark showhold
apt-mark hold nosuchpackage
command -v dnf yum; test $? -ne 0
systemctl is-enabled chrony
grep -c swap /etc/fstab
""".strip().splitlines()


@pytest.fixture(scope="module")
def labs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Fleet, Fleet]]:
    folder = tmp_path_factory.mktemp("contract")
    with maker(containers, folder) as real, maker(simulated, folder) as played:
        yield real(1, 1, distributions=DISTRIBUTIONS), played(1, 1, distributions=DISTRIBUTIONS)


@pytest.mark.parametrize("host", ["cp1", "w1"], ids=DISTRIBUTIONS)
def test_a_simulated_host_answers_as_a_real_one(labs: tuple[Fleet, Fleet], host: str) -> None:
    real, played = labs
    differences = []
    for command in EVERYWHERE + (EL if host == "cp1" else DEBIAN):
        answers = [fleet.run(host, command, timeout=60) for fleet in (real, played)]
        ends = [(answer.returncode, answer.stdout.strip()) for answer in answers]
        if ends[0] != ends[1]:
            differences.append(
                f"{command}\n    real      {ends[0]}\n    simulated {ends[1]}  {answers[1].stderr.strip()}"
            )
    assert not differences, "\n".join(differences)
