"""The packages of the simulated internet: their repositories, versions and content.

The versions are a few of each package from the real repositories around the end of 2026. The content of a package is
only what matters to kbootstrap: the commands, unit files and configuration files that it installs.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import NamedTuple

KUBERNETES_MINORS = range(20, 38)
PATCHES = 3
"""Patch versions 0, 1 and 2 of every minor are in its repository."""

DISTRIBUTIONS = ("centos7", "centos9", "debian12")


class Content(NamedTuple):
    """The content of a package: commands (paths of stand-ins), unit files and other files by path."""

    commands: tuple[str, ...] = ()
    units: Mapping[str, str] = {}
    files: Mapping[str, str] = {}
    enabled: bool = False
    """Whether its installation enables and starts its units. Debian does so for every service, EL for some."""


class Package(NamedTuple):
    """One version of a package in a repository. ``repo`` is ``os``, ``docker`` or ``kubernetes-1.NN``."""

    name: str
    version: str
    repo: str
    requires: tuple[str, ...] = ()


def unit(description: str, command: str, wanted_by: str = "multi-user.target", more: str = "") -> str:
    """A service's unit file."""
    install = f"\n[Install]\nWantedBy={wanted_by}\n" if wanted_by else ""
    return f"[Unit]\nDescription={description}\n\n[Service]\nExecStart={command}\n{more}{install}"


# --- the operating systems -------------------------------------------------------------------------------------------

_EL_INSTALLED = {
    "centos9": {
        "bash": "5.1.8-9.el9",
        "centos-stream-release": "9.0-34.el9",
        "coreutils": "8.32-39.el9",
        "curl": "7.76.1-35.el9",
        "dnf": "4.14.0-31.el9",
        "ethtool": "6.15-2.el9",
        "firewalld": "1.3.4-15.el9",
        "gnupg2": "2.3.3-4.el9",
        "hostname": "3.23-6.el9",
        "iproute": "6.14.0-2.el9",
        "iptables-nft": "1.8.10-11.el9",
        "kmod": "28-11.el9",
        "libselinux-utils": "3.6-3.el9",
        "openssh-server": "9.9p1-1.el9",
        "policycoreutils": "3.6-3.el9",
        "procps-ng": "3.3.17-14.el9",
        "rpm": "4.16.1.3-39.el9",
        "sudo": "1.9.17p2-1.el9",
        "systemd": "252-59.el9",
        "tar": "1.34-7.el9",
        "util-linux": "2.37.4-21.el9",
    },
    "centos7": {
        "bash": "4.2.46-35.el7_9",
        "centos-release": "7-9.2009.2.el7.centos",
        "coreutils": "8.22-24.el7_9.2",
        "curl": "7.29.0-59.el7_9.2",
        "ethtool": "4.8-10.el7",
        "firewalld": "0.6.3-13.el7_9",
        "gnupg2": "2.0.22-5.el7_5",
        "hostname": "3.13-3.el7_7.1",
        "iproute": "4.11.0-30.el7",
        "iptables": "1.4.21-35.el7",
        "kmod": "20-28.el7",
        "libselinux-utils": "2.5-15.el7",
        "openssh-server": "7.4p1-23.el7_9",
        "policycoreutils": "2.5-34.el7",
        "procps-ng": "3.3.10-28.el7",
        "rpm": "4.11.3-48.el7_9",
        "sudo": "1.8.23-10.el7_9.3",
        "systemd": "219-78.el7_9.9",
        "tar": "1.26-35.el7",
        "util-linux": "2.23.2-65.el7_9.1",
        "yum": "3.4.3-168.el7.centos",
    },
}
_EL_AVAILABLE = {
    "centos9": {
        "chrony": "4.6.1-2.el9",
        "cloud-init": "24.4-7.el9",
        "conntrack-tools": "1.4.7-4.el9",
        "container-selinux": "2.240.0-1.el9",
        "ebtables-legacy": "2.0.11-11.el9",
        "haproxy": "2.8.14-1.el9",
        "ipset": "7.11-11.el9",
        "iproute-tc": "6.14.0-2.el9",
        "iptables-services": "1.8.10-11.el9",
        "ipvsadm": "1.31-6.el9",
        "keepalived": "2.2.8-6.el9",
        "nftables": "1.0.9-3.el9",
        "python3-dnf-plugin-versionlock": "4.3.0-23.el9",
        "socat": "1.7.4.1-6.el9",
        "wget": "1.21.1-8.el9",
        "zram-generator": "0.3.2-7.el9",
    },
    "centos7": {
        "chrony": "3.4-1.el7",
        "cloud-init": "19.4-7.el7.centos.6",
        "conntrack-tools": "1.4.4-7.el7",
        "container-selinux": "2.119.2-1.911c772.el7_8",
        "ebtables": "2.0.10-16.el7",
        "haproxy": "1.5.18-9.el7_9.1",
        "ipset": "7.1-1.el7",
        "ipvsadm": "1.27-8.el7",
        "keepalived": "1.3.5-19.el7",
        "iptables-services": "1.4.21-35.el7",
        "libseccomp": "2.3.1-4.el7",
        "ntp": "4.2.6p5-29.el7.centos.2",
        "socat": "1.7.3.2-2.el7",
        "wget": "1.14-18.el7_6.1",
        "yum-plugin-versionlock": "1.1.31-54.el7_8",
    },
}
_DEBIAN_INSTALLED = {
    "apt": "2.6.1",
    "base-files": "12.4+deb12u12",
    "bash": "5.2.15-2+b9",
    "ca-certificates": "20230311+deb12u1",
    "coreutils": "9.1-1",
    "curl": "7.88.1-10+deb12u14",
    "dpkg": "1.21.22",
    "hostname": "3.23+nmu1",
    "iproute2": "6.1.0-3",
    "iptables": "1.8.9-2",
    "kmod": "30+20221128-1",
    "nftables": "1.0.6-2+deb12u2",
    "openssh-server": "1:9.2p1-2+deb12u7",
    "procps": "2:4.0.2-3",
    "sudo": "1.9.13p3-1+deb12u2",
    "systemd": "252.39-1~deb12u1",
    "systemd-timesyncd": "252.39-1~deb12u1",
    "tar": "1.34+dfsg-1.2+deb12u1",
    "util-linux": "2.38.1-5+deb12u3",
}
_DEBIAN_AVAILABLE = {
    "chrony": "4.3-2+deb12u1",
    "cloud-init": "22.4.2-1+deb12u3",
    "conntrack": "1:1.4.7-1+b2",
    "ebtables": "2.0.11-5",
    "ethtool": "1:6.1-1",
    "firewalld": "1.3.3-1~deb12u1",
    "gnupg": "2.2.40-1.1+deb12u1",
    "haproxy": "2.6.12-1+deb12u2",
    "ipset": "7.17-1",
    "ipvsadm": "1:1.31-1+b1",
    "iptables-persistent": "1.0.20",
    "keepalived": "1:2.2.7-1+b2",
    "socat": "1.7.4.4-2",
    "ufw": "0.36.2-1",
    "wget": "1.21.3-1+deb12u1",
}


def installed(distribution: str) -> Mapping[str, str]:
    """The versions of the packages that a fresh host of this distribution has, by name."""
    return _DEBIAN_INSTALLED if distribution == "debian12" else _EL_INSTALLED[distribution]


def _os_available(distribution: str) -> Mapping[str, str]:
    more = _DEBIAN_AVAILABLE if distribution == "debian12" else _EL_AVAILABLE[distribution]
    return {**installed(distribution), **more}


# --- what is in the packages -----------------------------------------------------------------------------------------

_CHRONY_CONF = """\
# Use public servers from the pool.ntp.org project.
pool 2.centos.pool.ntp.org iburst
driftfile /var/lib/chrony/drift
makestep 1.0 3
rtcsync
keyfile /etc/chrony.keys
leapsectz right/UTC
logdir /var/log/chrony
"""
_CHRONY_CONF_DEBIAN = """\
confdir /etc/chrony/conf.d
pool 2.debian.pool.ntp.org iburst
sourcedir /run/chrony-dhcp
sourcedir /etc/chrony/sources.d
keyfile /etc/chrony/chrony.keys
driftfile /var/lib/chrony/chrony.drift
makestep 1 3
rtcsync
"""
_CONTAINERD_CONF = """\
#   Copyright 2018-2022 Docker Inc.

disabled_plugins = ["cri"]

#root = "/var/lib/containerd"
#state = "/run/containerd"
#subreaper = true
#oom_score = 0
"""
_ZRAM_CONF = "[zram0]\nzram-size = min(ram, 8192)\n"
_CLOUD_HOSTS = """\
## template:jinja
127.0.1.1 {{fqdn}} {{hostname}}
127.0.0.1 localhost
"""
_KUBELET_DROP_IN = """\
# Note: This dropin only works with kubeadm and kubelet v1.11+
[Service]
Environment="KUBELET_KUBECONFIG_ARGS=--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf \
--kubeconfig=/etc/kubernetes/kubelet.conf"
Environment="KUBELET_CONFIG_ARGS=--config=/var/lib/kubelet/config.yaml"
EnvironmentFile=-/var/lib/kubelet/kubeadm-flags.env
EnvironmentFile=-/etc/sysconfig/kubelet
ExecStart=
ExecStart=/usr/bin/kubelet $KUBELET_KUBECONFIG_ARGS $KUBELET_CONFIG_ARGS $KUBELET_KUBEADM_ARGS $KUBELET_EXTRA_ARGS
"""
_CNI = (
    "bandwidth",
    "bridge",
    "dhcp",
    "dummy",
    "firewall",
    "host-device",
    "host-local",
    "ipvlan",
    "loopback",
    "macvlan",
    "portmap",
    "ptp",
    "sbr",
    "static",
    "tuning",
    "vlan",
    "vrf",
)

_CONTENT: dict[str, Content] = {
    "chrony": Content(
        ("/usr/bin/chronyc", "/usr/sbin/chronyd"),
        {"chronyd.service": unit("NTP client/server", "/usr/sbin/chronyd $OPTIONS")},
        {"/etc/chrony.conf": _CHRONY_CONF, "/etc/sysconfig/chronyd": 'OPTIONS=""\n'},
    ),
    "cloud-init": Content(
        ("/usr/bin/cloud-init",),
        files={
            "/etc/cloud/cloud.cfg": "users:\n - default\ncloud_init_modules:\n - update_etc_hosts\n",
            **{f"/etc/cloud/templates/hosts.{name}.tmpl": _CLOUD_HOSTS for name in ("debian", "redhat")},
        },
    ),
    "conntrack-tools": Content(("/usr/sbin/conntrack",)),
    "container-selinux": Content(),
    "containerd.io": Content(
        ("/usr/bin/containerd", "/usr/bin/ctr", "/usr/bin/runc", "/usr/bin/containerd-shim-runc-v2"),
        {"containerd.service": unit("containerd container runtime", "/usr/bin/containerd")},
        {"/etc/containerd/config.toml": _CONTAINERD_CONF},
    ),
    "cri-tools": Content(("/usr/bin/crictl",)),
    "curl": Content(("/usr/bin/curl",)),
    "dnf": Content(("/usr/bin/dnf", "/usr/bin/yum"), files={"/etc/dnf/dnf.conf": "[main]\ngpgcheck=1\n"}),
    "dpkg": Content(("/usr/bin/dpkg", "/usr/bin/dpkg-query")),
    "apt": Content(("/usr/bin/apt-get", "/usr/bin/apt-cache", "/usr/bin/apt-mark")),
    "ebtables": Content(("/usr/sbin/ebtables",)),
    "ethtool": Content(("/usr/sbin/ethtool",)),
    "firewalld": Content(
        ("/usr/bin/firewall-cmd", "/usr/bin/firewall-offline-cmd"),
        {"firewalld.service": unit("firewalld - dynamic firewall daemon", "/usr/sbin/firewalld --nofork")},
        {"/etc/firewalld/firewalld.conf": "DefaultZone=public\n"},
    ),
    "gnupg2": Content(("/usr/bin/gpg", "/usr/bin/gpg2")),
    "haproxy": Content(
        ("/usr/sbin/haproxy",),
        {"haproxy.service": unit("HAProxy Load Balancer", "/usr/sbin/haproxy -Ws")},
        {"/etc/haproxy/haproxy.cfg": "global\n    daemon\n"},
    ),
    "iproute": Content(("/usr/sbin/ip", "/usr/sbin/ss")),
    "iproute-tc": Content(("/usr/sbin/tc",)),
    "ipset": Content(("/usr/sbin/ipset",)),
    "iptables": Content(
        tuple(f"/usr/sbin/{name}{what}" for name in ("iptables", "ip6tables") for what in ("", "-save", "-restore"))
    ),
    "ipvsadm": Content(("/usr/sbin/ipvsadm",)),
    "keepalived": Content(
        ("/usr/sbin/keepalived",),
        {"keepalived.service": unit("LVS and VRRP High Availability Monitor", "/usr/sbin/keepalived")},
        {"/etc/keepalived/keepalived.conf": "! Configuration File for keepalived\n"},
    ),
    "kernel-modules-extra": Content(files={"/usr/lib/modules/extra/br_netfilter.ko": "a module\n"}),
    "iptables-persistent": Content(
        ("/usr/sbin/netfilter-persistent",),
        {"netfilter-persistent.service": unit("netfilter persistent configuration", "netfilter-persistent start")},
    ),
    "iptables-services": Content(
        (), {"iptables.service": unit("IPv4 firewall with iptables", "/usr/libexec/iptables/iptables.init start")}
    ),
    "kmod": Content(("/usr/sbin/modprobe", "/usr/sbin/lsmod", "/usr/sbin/modinfo")),
    "kubeadm": Content(
        ("/usr/bin/kubeadm",),
        files={"/usr/lib/systemd/system/kubelet.service.d/10-kubeadm.conf": _KUBELET_DROP_IN},
    ),
    "kubectl": Content(("/usr/bin/kubectl",)),
    "kubelet": Content(
        ("/usr/bin/kubelet",),
        {"kubelet.service": unit("kubelet: The Kubernetes Node Agent", "/usr/bin/kubelet", more="Restart=always\n")},
    ),
    "kubernetes-cni": Content(files={f"/opt/cni/bin/{name}": f"{name}: a CNI plugin\n" for name in _CNI}),
    "libselinux-utils": Content(("/usr/sbin/getenforce", "/usr/sbin/setenforce", "/usr/sbin/selinuxenabled")),
    "nftables": Content(
        ("/usr/sbin/nft",), {"nftables.service": unit("nftables", "/usr/sbin/nft -f /etc/nftables.conf")}
    ),
    "ntp": Content((), {"ntpd.service": unit("Network Time Service", "/usr/sbin/ntpd -u ntp:ntp $OPTIONS")}),
    "openssh-server": Content((), {"sshd.service": unit("OpenSSH server daemon", "/usr/sbin/sshd -D")}),
    "policycoreutils": Content(("/usr/sbin/restorecon",)),
    "procps-ng": Content(("/usr/sbin/sysctl",)),
    "rpm": Content(("/usr/bin/rpm", "/usr/bin/rpmkeys")),
    "socat": Content(("/usr/bin/socat",)),
    "sudo": Content(("/usr/bin/sudo",)),
    "systemd": Content(
        (
            "/usr/bin/systemctl",
            "/usr/bin/hostnamectl",
            "/usr/bin/timedatectl",
            "/usr/bin/journalctl",
            "/usr/bin/systemd-detect-virt",
        ),
        files={"/usr/lib/systemd/system/swap.target": "[Unit]\nDescription=Swaps\n"},
    ),
    "systemd-timesyncd": Content(
        (), {"systemd-timesyncd.service": unit("Network Time Synchronization", "/lib/systemd/systemd-timesyncd")}
    ),
    "ufw": Content(
        ("/usr/sbin/ufw",),
        {"ufw.service": unit("Uncomplicated firewall", "/lib/ufw/ufw-init start")},
        {
            "/etc/ufw/ufw.conf": "# /etc/ufw/ufw.conf\n\nENABLED=no\nLOGLEVEL=low\n",
            "/etc/ufw/user.rules": "*filter\n### RULES ###\n\n### END RULES ###\nCOMMIT\n",
        },
    ),
    "util-linux": Content(("/usr/sbin/swapon", "/usr/sbin/swapoff", "/usr/sbin/blkid", "/usr/bin/lsblk")),
    "yum": Content(("/usr/bin/yum",), files={"/etc/yum.conf": "[main]\ngpgcheck=1\nplugins=1\n"}),
    "zram-generator": Content(
        files={
            "/usr/lib/systemd/system-generators/zram-generator": "zram-generator\n",
            "/usr/lib/systemd/zram-generator.conf": _ZRAM_CONF,
        }
    ),
}
_ALIASES = {
    "conntrack": "conntrack-tools",
    "ebtables-legacy": "ebtables",
    "gnupg": "gnupg2",
    "iproute2": "iproute",
    "iptables-nft": "iptables",
    "procps": "procps-ng",
}
_DEBIAN_CONTENT = {
    "chrony": Content(
        ("/usr/bin/chronyc", "/usr/sbin/chronyd"),
        {
            "chrony.service": unit("chrony, an NTP client/server", "/usr/sbin/chronyd -F 1", more="")
            + "Alias=chronyd.service\n"
        },
        {"/etc/chrony/chrony.conf": _CHRONY_CONF_DEBIAN},
        enabled=True,
    ),
    "gnupg": Content(("/usr/bin/gpg",)),
    "iproute2": Content(("/usr/sbin/ip", "/usr/bin/ss", "/usr/sbin/tc")),
    "openssh-server": Content(
        (), {"ssh.service": unit("OpenBSD Secure Shell server", "/usr/sbin/sshd -D") + "Alias=sshd.service\n"}
    ),
}


def content(name: str, family: str, version: str = "") -> Content:
    """The content of a package. It is empty when nothing in the package matters to kbootstrap."""
    if name == "iproute" and ".el7" in version:
        return Content(("/usr/sbin/ip", "/usr/sbin/ss", "/usr/sbin/tc"))
    if family == "debian":
        special = _DEBIAN_CONTENT.get(name)
        if special:
            return special
        found = _CONTENT.get(_ALIASES.get(name, name), Content())
        return Content(found.commands, found.units, found.files, enabled=bool(found.units) and name != "nftables")
    return _CONTENT.get(_ALIASES.get(name, name), Content())


# --- repositories ----------------------------------------------------------------------------------------------------

_CONTAINERD = {
    "centos7": ("1.6.31-3.1.el7", "1.6.33-3.1.el7"),
    "centos9": ("1.6.33-3.1.el9", "1.7.29-1.el9", "2.1.5-1.el9", "2.2.0-2.el9"),
    "debian12": ("1.6.33-1", "1.7.29-1~debian.12~bookworm", "2.1.5-1~debian.12~bookworm", "2.2.0-2~debian.12~bookworm"),
}


def available(distribution: str, repo: str) -> Iterator[Package]:
    """Every package in a repository, for hosts of this distribution; oldest version first."""
    if repo == "empty":
        return
    if repo == "os":
        for name, version in _os_available(distribution).items():
            yield Package(name, version, repo)
    elif repo == "docker":
        requires = () if distribution == "debian12" else ("container-selinux",)
        for version in _CONTAINERD[distribution]:
            yield Package("containerd.io", version, repo, requires)
    else:
        yield from _kubernetes(int(repo.rpartition(".")[2]), "debian" if distribution == "debian12" else "el")


def _kubernetes(minor: int, family: str) -> Iterator[Package]:
    """The repository of one minor. kubelet lost dependencies in 2024 and 2025, kubeadm in 1.30 and 1.32."""
    repo, revision = f"kubernetes-1.{minor}", "1.1" if family == "debian" else "150500.1.1"
    tools = ["conntrack", "iproute2", "ethtool"] if family == "debian" else ["conntrack-tools", "iproute", "ethtool"]
    kubelet = ["kubernetes-cni", "iptables"]
    kubelet += tools if minor < 34 else []
    kubelet += ["socat", "ebtables"] if minor < 31 else []
    kubeadm = ["cri-tools"] if minor < 32 else []
    kubeadm += ["kubelet", "kubectl"] if minor < 30 else []
    for patch in range(PATCHES):
        version = f"1.{minor}.{patch}-{revision}"
        yield Package("kubelet", version, repo, tuple(kubelet))
        yield Package("kubeadm", version, repo, tuple(kubeadm))
        yield Package("kubectl", version, repo)
    yield Package("cri-tools", f"1.{minor}.0-{revision}", repo)
    yield Package("kubernetes-cni", f"1.{1 + minor // 5}.1-{revision}", repo)


def satisfied_by(requirement: str) -> tuple[str, ...]:
    """The packages that meet a requirement; one of them is enough (EL 9 splits iptables and ebtables)."""
    return {
        "iptables": ("iptables", "iptables-nft"),
        "ebtables": ("ebtables", "ebtables-legacy", "iptables-nft", "iptables"),
    }.get(requirement, (requirement,))


def version_key(version: str) -> tuple[tuple[int, int, str], ...]:
    """A sort key that orders this catalogue's versions as rpm and dpkg do: numbers by value, and above letters."""
    epoch, _, rest = version.rpartition(":")
    parts = re.findall(r"\d+|[a-z]+|~", rest.lower())
    key = [(int(epoch or 0), 0, "")]
    for part in parts:
        key.append((2, int(part), "") if part.isdigit() else (0 if part == "~" else 1, 0, part))
    return tuple(key)
