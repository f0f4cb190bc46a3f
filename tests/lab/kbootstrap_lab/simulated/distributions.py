"""The operating systems of simulated hosts, and their initial state.

``dirty`` is the usual state of real hosts: swap is on, SELinux enforces and firewalld is active on EL, the host name is
not the one of the inventory, and the time of some hosts is not synchronised. ``clean`` has none of that.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from kbootstrap_lab import distributions
from kbootstrap_lab.simulated import catalogue
from kbootstrap_lab.simulated.spec import Spec

_MACHINE = os.uname().machine


@dataclass(frozen=True)
class Distribution:
    """The parts of an operating system that kbootstrap uses.

    It has the packages and the ways of ``base``. ``release`` is what the package servers build for: an EL major, or a
    codename. ``sh`` is its /bin/sh; ``swap`` and ``root`` are the devices in its fstab; ``servers`` are the addresses
    of its own packages that answer. The modules of a kernel with ``modules_in_package`` are not all installed.
    """

    name: str
    base: str
    release: str
    releasever: str
    family: str
    pretty_name: str
    os_release: str
    kernel: str
    kernel_version: str
    systemd: str
    cgroup: int
    sh: str
    swap: str
    root: str
    hostname: str
    newest_kubernetes: str
    servers: tuple[str, ...]
    files: Mapping[str, str]
    zram: bool = False
    modules_in_package: bool = False
    machine: str = _MACHINE

    @property
    def arch(self) -> str:
        """The name of the machine's architecture in the packages of the OS family."""
        if self.family == "el":
            return self.machine
        return {"x86_64": "amd64", "aarch64": "arm64"}.get(self.machine, self.machine)


def _read(name: str) -> Distribution:
    data = distributions.read(name)
    os_release = data.pop("os_release")
    defaults = {
        "releasever": os_release["VERSION_ID"].partition(".")[0],
        "sh": "bash",
        "swap": "/dev/vda2",
        "root": "/dev/vda1",
        "hostname": "host-{dashed}",
        "kernel_version": "#1 SMP PREEMPT_DYNAMIC Fri Aug 1 12:00:00 UTC 2025",
    }
    return Distribution(
        name=name,
        family=distributions.family(data),
        pretty_name=os_release["PRETTY_NAME"],
        os_release=distributions.os_release(os_release),
        servers=tuple(data.pop("servers")),
        kernel=data.pop("kernel").format(machine=_MACHINE),
        **{**defaults, **data},
    )


DISTRIBUTIONS = {name: _read(name) for name in distributions.FILES}
"""Every distribution, one file each."""


def more_packages(spec: Spec) -> Mapping[str, str]:
    """Packages beyond those of every fresh host: every second host has chrony, some workers have zram."""
    distribution = DISTRIBUTIONS[spec.distribution]
    extra: dict[str, str] = {}
    versions = {package.name: package.version for package in catalogue.available(distribution.base, "os")}
    if spec.state == "clean" or (distribution.base == "centos9" and spec.index % 2 == 0):
        extra["chrony"] = versions["chrony"]
    if spec.state == "dirty" and distribution.zram and spec.index % 4 == 3:
        extra["zram-generator"] = versions["zram-generator"]
    return extra


def files(spec: Spec) -> dict[str, str]:
    """Files in /etc that depend on the distribution and on the initial state of the host."""
    distribution = DISTRIBUTIONS[spec.distribution]
    found = _el_files(spec) if distribution.family == "el" else _debian_files(spec)
    found.update(distribution.files)
    for key in re.findall(r"gpgkey=file://(\S+)", "".join(distribution.files.values())):
        found[key] = f"the key of {distribution.pretty_name}\n"
    found["/etc/fstab"] = _fstab(spec, distribution)
    dashed = spec.ip.replace(".", "-")
    found["/etc/hostname"] = (
        spec.name if spec.state == "clean" else distribution.hostname.format(dashed=dashed)
    ) + "\n"
    return found


def _fstab(spec: Spec, distribution: Distribution) -> str:
    text = f"#\n# /etc/fstab\n#\n{distribution.root} / xfs defaults 0 0\n"
    if spec.state == "dirty":
        text += f"{distribution.swap} none swap defaults 0 0\n"
    return text


def _el_files(spec: Spec) -> dict[str, str]:
    dirty = spec.state == "dirty"
    release = DISTRIBUTIONS[spec.distribution].pretty_name
    return {
        "/etc/redhat-release": release + "\n",
        "/etc/selinux/config": f"SELINUX={'enforcing' if dirty else 'permissive'}\nSELINUXTYPE=targeted\n",
        "/etc/firewalld/zones/public.xml": _FIREWALLD_ZONE,
    }


def _debian_files(spec: Spec) -> dict[str, str]:
    found = {"/etc/apt/apt.conf.d/20auto-upgrades": 'APT::Periodic::Unattended-Upgrade "1";\n'}
    if spec.state == "dirty" and spec.index % 2 == 1:
        found["/etc/systemd/system/swapfile.swap"] = "[Swap]\nWhat=/swapfile\n\n[Install]\nWantedBy=swap.target\n"
    return found


def directories(spec: Spec) -> tuple[str, ...]:
    """Directories that exist although they are empty."""
    base = DISTRIBUTIONS[spec.distribution].base
    if base == "debian12":
        return ("/etc/apt/keyrings", "/etc/apt/preferences.d", "/etc/apt/sources.list.d", "/etc/apt/trusted.gpg.d")
    return ("/etc/yum/vars", "/etc/dnf/vars") if base == "centos9" else ("/etc/yum/vars",)


def links(spec: Spec) -> dict[str, str]:
    """Symbolic links: the units that are enabled."""
    debian = DISTRIBUTIONS[spec.distribution].family == "debian"
    units = ["ssh.service", "systemd-timesyncd.service"] if debian else ["sshd.service"]
    if not debian and spec.state == "dirty":
        units.append("firewalld.service")
    found = {}
    if "chrony" in more_packages(spec) and (spec.state == "clean" or spec.index % 4 == 0):
        units.append("chrony.service" if debian else "chronyd.service")
    for unit in units:
        found[f"/etc/systemd/system/multi-user.target.wants/{unit}"] = f"/usr/lib/systemd/system/{unit}"
    if "/etc/systemd/system/swapfile.swap" in files(spec):
        found["/etc/systemd/system/swap.target.wants/swapfile.swap"] = "/etc/systemd/system/swapfile.swap"
    return found


def proc(spec: Spec, distribution: Distribution) -> dict[str, str]:
    """/proc as files: two processors, 4 GiB of memory, one network interface."""
    processor = (
        "processor\t: {0}\nmodel name\t: simulated\ncpu MHz\t\t: 2400.000\nphysical id\t: {0}\ncpu cores\t: 1\n\n"
    )
    return {
        "/proc/1/comm": "systemd\n",
        "/proc/1/cmdline": "/usr/lib/systemd/systemd\0--switched-root\0--system\0",
        "/proc/cpuinfo": processor.format(0) + processor.format(1),
        "/proc/meminfo": (
            "MemTotal:        4015976 kB\nMemFree:         3125016 kB\nMemAvailable:    3525016 kB\n"
            "Buffers:            2104 kB\nCached:           512000 kB\nSwapTotal:             0 kB\n"
            "SwapFree:              0 kB\n"
        ),
        "/proc/version": f"Linux version {distribution.kernel} {distribution.kernel_version}\n",
        "/proc/cmdline": f"BOOT_IMAGE=(hd0,msdos1)/vmlinuz-{distribution.kernel} root=/dev/vda1 ro\n",
        "/proc/filesystems": "nodev\tsysfs\nnodev\ttmpfs\nnodev\tproc\nnodev\tcgroup2\nnodev\toverlay\n\txfs\n\text4\n",
        "/proc/net/dev": (
            "Inter-|   Receive                                                |  Transmit\n"
            " face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop\n"
            "    lo:       0       0    0    0    0     0          0         0        0       0    0    0\n"
            "  eth0:   90210     310    0    0    0     0          0         0    42012     200    0    0\n"
        ),
        "/proc/net/route": (
            "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"
            "eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0\n"
            "eth0\t0000A8C0\t00000000\t0001\t0\t0\t100\t0000FFFF\t0\t0\t0\n"
        ),
        "/proc/net/fib_trie": f"Local:\n     |-- {spec.ip}\n        /32 host LOCAL\n",
        "/proc/net/if_inet6": "00000000000000000000000000000001 01 80 10 80       lo\n",
        "/proc/net/arp": "IP address       HW type     Flags       HW address            Mask     Device\n",
        "/proc/net/tcp": _TCP_HEADER,
        "/proc/net/tcp6": _TCP_HEADER,
        "/proc/net/udp": _TCP_HEADER,
        "/proc/net/udp6": _TCP_HEADER,
    }


def fresh_kernel() -> dict[str, str]:
    """The kernel's state right after power-on: no swap, few modules, and the default of every sysctl."""
    found = {
        "/proc/swaps": "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n",
        "/proc/modules": "virtio_net 61440 0 - Live 0x0000000000000000\nxfs 1568768 1 - Live 0x0000000000000000\n",
    }
    for key, value in _SYSCTLS.items():
        found["/proc/sys/" + key.replace(".", "/")] = value + "\n"
    return found


_SYSCTLS = {
    "fs.file-max": "9223372036854775807",
    "fs.inotify.max_user_instances": "128",
    "fs.inotify.max_user_watches": "28972",
    "kernel.keys.root_maxbytes": "25000000",
    "kernel.keys.root_maxkeys": "1000000",
    "kernel.panic": "0",
    "kernel.panic_on_oops": "1",
    "kernel.pid_max": "4194304",
    "kernel.threads-max": "31000",
    "net.core.somaxconn": "4096",
    "net.ipv4.conf.all.forwarding": "0",
    "net.ipv4.conf.all.rp_filter": "1",
    "net.ipv4.conf.default.rp_filter": "1",
    "net.ipv4.ip_forward": "0",
    "net.ipv4.ip_local_port_range": "32768\t60999",
    "net.ipv4.ip_nonlocal_bind": "0",
    "net.ipv6.conf.all.disable_ipv6": "0",
    "net.ipv6.conf.all.forwarding": "0",
    "user.max_user_namespaces": "15000",
    "vm.max_map_count": "65530",
    "vm.overcommit_memory": "0",
    "vm.panic_on_oom": "0",
    "vm.swappiness": "60",
}
_TCP_HEADER = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"
_FIREWALLD_ZONE = """\
<?xml version="1.0" encoding="utf-8"?>
<zone>
  <short>Public</short>
  <service name="ssh"/>
  <service name="dhcpv6-client"/>
  <forward/>
</zone>
"""
