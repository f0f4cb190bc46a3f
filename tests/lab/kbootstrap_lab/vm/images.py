"""Builds and caches the disk of the machines, and the repository of their operating system's packages.

The parts lie in the cache folder of the container lab, under the same rules (``containers/artifacts.py``).
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from kbootstrap_lab.backend import Say
from kbootstrap_lab.containers import artifacts
from kbootstrap_lab.containers.artifacts import folder, hashed, run
from kbootstrap_lab.errors import LabError

FILES = Path(__file__).parent / "files"
SUITE = artifacts.SUITE
DISK_MIB = 10240
"""The size of a machine's disk. It is sparse: the image takes 1.5 GiB."""
SWAP_MIB = 128
PACKAGES = (
    "systemd systemd-sysv systemd-timesyncd systemd-zram-generator dbus libpam-systemd udev kmod procps util-linux"
    " linux-image-cloud-amd64 initramfs-tools qemu-guest-agent openssh-server sudo ca-certificates curl gnupg"
    " firewalld nftables iptables ebtables ethtool iproute2 iputils-ping hostname less passwd login e2fsprogs"
    " selinux-policy-default selinux-utils policycoreutils bash-completion"
    # What chrony, conntrack, socat, containerd and runc need; they themselves come from the lab's repository.
    " adduser tzdata ucf libcap2 libedit2 libgnutls30 libnettle8 libseccomp2 libmnl0 libnetfilter-conntrack3 libssl3"
    " libwrap0"
).split()


def machine_image(say: Say) -> Path:
    """A folder with ``root.img`` and ``swap.img`` (raw disks), ``vmlinuz``, ``initrd``, and ``debs/``."""
    recipe = hashed(SUITE, str(DISK_MIB), str(SWAP_MIB), *PACKAGES, FILES / "image-setup")
    return folder("vm-image", recipe, _build, say)


def _build(target: Path) -> None:
    with tempfile.TemporaryDirectory(prefix="kbootstrap-lab-", dir=artifacts.cache()) as work:
        root = Path(work) / "root"
        early = 'mkdir -p "$1"/etc/initramfs-tools/conf.d'
        early += ' && printf "MODULES=list\\nCOMPRESS=gzip\\n" >"$1"/etc/initramfs-tools/conf.d/lab'
        run(
            "mmdebstrap", "--variant=minbase", "--skip=cleanup/apt", f"--include={','.join(PACKAGES)}",
            f"--essential-hook={early}",
            f"--customize-hook=copy-in {FILES / 'image-setup'} /root",
            '--customize-hook=chroot "$1" sh /root/image-setup',
            "--format=directory", SUITE, root,
        )  # fmt: skip
        shutil.move(root / "debs", target / "debs")
        for name in ("vmlinuz", "initrd"):
            shutil.copyfile(next((root / "boot").glob(f"{name}*")), target / name)
        _file_system(root, target / "root.img")
    _swap_disk(target / "swap.img")


def _file_system(root: Path, image: Path) -> None:
    """A file system without a partition table, so that neither a loop device nor a boot loader is needed."""
    now = "lazy_itable_init=0,lazy_journal_init=0"
    run("mke2fs", "-q", "-t", "ext4", "-L", "root", "-E", now, "-d", root, image, f"{DISK_MIB}M", env=_with_sbin())


def _swap_disk(image: Path) -> None:
    """A disk with one swap partition, from its second MiB to its end."""
    mib = 1 << 20
    area = image.with_suffix(".area")
    with area.open("wb") as empty:
        empty.truncate((SWAP_MIB - 1) * mib)
    area.chmod(0o600)
    run("mkswap", "-q", "-L", "swap", area, env=_with_sbin())
    with image.open("wb") as disk:
        disk.seek(446)
        first, sectors = mib // 512, (SWAP_MIB - 1) * mib // 512
        disk.write(bytes([0, 0, 2, 0, 0x82, 0xFE, 0xFF, 0xFF]) + first.to_bytes(4, "little"))
        disk.write(sectors.to_bytes(4, "little"))
        disk.seek(510)
        disk.write(b"\x55\xaa")
        disk.seek(mib)
        disk.write(area.read_bytes()[:65536])
        disk.truncate(SWAP_MIB * mib)
    area.unlink()


def _with_sbin() -> dict[str, str]:
    return {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"}


def repository(image: Path, say: Say) -> Path:
    """A folder that the package server serves beside the container lab's: the packages of the image, signed."""
    key, builder = artifacts.signing_key(say), artifacts.builder_image(say)
    return folder(
        "vm-repository", hashed(image.name, key.name, builder), lambda target: _sign(target, image, key, builder), say
    )


def _sign(target: Path, image: Path, key: Path, builder: str) -> None:
    place = target / "os" / "vm"
    shutil.copytree(image / "debs", place)
    if not any(place.iterdir()):
        raise LabError(f"{image} has no packages", "Remove this folder, and the lab builds it again.")
    script = (
        "set -e; export GNUPGHOME=$(mktemp -d); gpg --batch --quiet --import /key/private.asc; cd /out/os/vm; "
        "apt-ftparchive packages . | sed 's|^Filename: \\./|Filename: |' >Packages; "
        "apt-ftparchive -o APT::FTPArchive::Release::Architectures=amd64 release . >/tmp/Release; mv /tmp/Release .; "
        "gpg --batch --clearsign --output InRelease Release"
    )
    mounts = ["--volume", f"{target}:/out", "--volume", f"{key}:/key:ro"]
    run("docker", "run", "--rm", "--network", "none", *mounts, builder, "sh", "-c", script)


def overlay(base: Path, disk: Path) -> None:
    """A disk of a machine's own: what it writes, over a disk that all share."""
    run("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", base, disk)
