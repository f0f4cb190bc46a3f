"""Virtual machines: hosts with a kernel, disks, swap, SELinux and a clock of their own, under QEMU.

Each machine has two ways out and no other. SSH comes through a port of 127.0.0.1, which QEMU forwards. The machines
reach each other, the package server and the time server in a network namespace. So no packet of a machine leaves this
one. docs/lab.md says what is real and what is a stand-in.
"""

from __future__ import annotations

import contextlib
import secrets
import shlex
import socket
import subprocess
import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from kbootstrap.secret import Secret
from kbootstrap_lab.backend import Say, quiet, refuse
from kbootstrap_lab.containers import SERVER, artifacts
from kbootstrap_lab.containers.machine import start_docker
from kbootstrap_lab.errors import LabError, no_such_lab
from kbootstrap_lab.state import create_state_dir, remove_state_dir, state_dir
from kbootstrap_lab.vm import guest, images, network, qemu
from kbootstrap_lab.vm.labs import Lab, LabHost, keep, kept
from kbootstrap_lab.vm.requirements import missing, require

__all__ = ["DISTRIBUTION", "Lab", "LabHost", "down", "fault", "logs", "missing", "run", "ssh_command", "status", "up"]

DISTRIBUTION = "debian12"
CONTROL_PLANE_MIB, WORKER_MIB = 2560, 1280
BOOT_SECONDS = 600
"""Longest wait for a machine to boot: without KVM, and with both cores busy, a minute is common."""
_BOOTED = """
    systemctl is-system-running | grep -qE 'running|degraded' || exit 1
    ! systemctl --quiet is-active firewalld || nft list tables | grep -q firewalld
"""
"""firewalld loads its rules after systemd reports it as started."""


def up(
    name: str = "demo",
    control_planes: int = 1,
    workers: int = 3,
    distribution: str = DISTRIBUTION,
    *,
    inventory: Path | None = None,
    user: str = "kb",
    password: Secret | None = None,
    sudo_password: Secret | None = None,
    distributions: tuple[str, ...] = (),
    latency_ms: float = 0,
    image: str | None = None,
    say: Say = quiet,
) -> Lab:
    """Start a lab; returns when every machine accepts SSH. Raises LabError."""
    refuse("vm", latency_ms=latency_ms, image=image)
    chosen = distributions or (distribution,) * (control_planes + workers)
    if set(chosen) != {DISTRIBUTION}:
        raise LabError(f"virtual machines are {DISTRIBUTION} only", f"Use --distribution {DISTRIBUTION}.")
    require()
    start_docker(say)
    disk = images.machine_image(say)
    served = [artifacts.server_root(say), images.repository(disk, say)]
    accelerator = qemu.accelerator(disk / "vmlinuz", say)
    directory = create_state_dir(name, "vm")
    try:
        title = f"kb-{name}-{secrets.token_hex(3)}"
        (directory / "title").write_text(title, encoding="ascii")
        lab = Lab(name, _hosts(len(chosen), control_planes), user, title, accelerator, disk, directory)
        _start(lab, served, password, sudo_password, say)
        if inventory is not None:
            from kbootstrap_lab.containers.inventory import write
            from kbootstrap_lab.vm.inventory import text

            write(inventory, text(lab, password is not None, sudo_password is not None))
            say(f"wrote {inventory}")
        return lab
    except BaseException:
        down(name)
        raise


def _hosts(count: int, control_planes: int) -> tuple[LabHost, ...]:
    mark = secrets.token_bytes(2).hex(":")
    found = []
    with contextlib.ExitStack() as stack:
        for index in range(count):
            name = f"cp{index + 1}" if index < control_planes else f"w{index + 1 - control_planes}"
            macs = tuple(f"52:54:{mark}:{index:02x}:{card:02x}" for card in range(len(qemu.NICS)))
            port = stack.enter_context(socket.create_server(("127.0.0.1", 0))).getsockname()[1]
            address = str(network.SUBNET[network.FIRST_HOST + index])
            found.append(LabHost(name, "127.0.0.1", port, DISTRIBUTION, "running", address, str(uuid.uuid4()), macs))
    return tuple(found)


def _start(lab: Lab, served: list[Path], password: Secret | None, sudo_password: Secret | None, say: Say) -> None:
    keep(lab)
    network.create(lab.title)
    server = network.serve(lab.title, served, lab.directory / "server.log")
    (lab.directory / "server.pid").write_text(str(server), encoding="ascii")
    public = _make_key(lab.directory / "id_ed25519")
    say(f"starting {len(lab.hosts)} machines ({lab.accelerator}; without KVM this takes a minute)")
    for host in lab.hosts:
        for kind in ("root", "swap"):
            images.overlay(lab.image / f"{kind}.img", lab.directory / f"{host.name}-{kind}.qcow2")
        _launch(lab, host)
    known = []
    for host in lab.hosts:
        known.append(f"[{host.address}]:{host.port} {_make_key(lab.directory / f'{host.name}-host-key')}")
    (lab.directory / "known_hosts").write_text("\n".join(known) + "\n", encoding="ascii")
    for host in lab.hosts:
        _set_up(lab, host, public, password, sudo_password)
    for host in lab.hosts:
        _wait_for_boot(lab, host)


def _make_key(path: Path) -> str:
    artifacts.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kbootstrap lab", "-f", path)
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def _launch(lab: Lab, host: LabHost) -> None:
    memory = CONTROL_PLANE_MIB if host.name.startswith("cp") else WORKER_MIB
    with network.taps(lab.title, [f"{host.name}-{card}" for card in qemu.NICS[1:]]) as taps:
        words = qemu.command(
            f"{lab.title}-{host.name}",
            host.name,
            accelerated=lab.accelerator,
            image=lab.image,
            memory_mib=memory,
            port=host.port,
            uuid=host.uuid,
            macs=host.macs,
            taps=taps,
        )
        qemu.start(words, lab.directory, host.name, taps)


def _set_up(lab: Lab, host: LabHost, public: str, password: Secret | None, sudo_password: Secret | None) -> None:
    """Give a new machine its names, its address and its login, as soon as its agent answers."""
    variables = {
        "LOGIN": lab.user,
        "PUBLIC_KEY": public,
        "SUDO": "" if sudo_password else "NOPASSWD:",
        "HOST": host.name,
        "ADDRESS": f"{host.internal_address}/{network.SUBNET.prefixlen}",
        "GATEWAY": network.GATEWAY,
        "SERVER": SERVER,
        "HOST_KEY": (lab.directory / f"{host.name}-host-key").read_text(encoding="ascii").rstrip("\n"),
        "APT_KEY": (artifacts.signing_key(quiet) / "public.asc").read_text(encoding="ascii").rstrip("\n"),
    }
    _wait_for(lambda: run(lab.name, host.name, "true").returncode == 0, lab, host)
    script = "".join(f"{name}={shlex.quote(value)}\n" for name, value in variables.items())
    script += (images.FILES / "machine-setup").read_text(encoding="utf-8")
    secret = sudo_password or password
    done = run(lab.name, host.name, script, stdin=f"{secret.reveal() if secret else ''}\n", timeout=BOOT_SECONDS)
    if done.returncode != 0:
        raise LabError(f"{host.name} could not be set up: {done.stderr.strip()}")


def down(name: str) -> None:
    """End the machines and remove every file of a lab. Raises LabError when there is no such lab."""
    directory = state_dir(name)
    if not directory.is_dir():
        raise no_such_lab(name)
    title = directory / "title"
    if title.exists():
        mark = title.read_text(encoding="ascii")
        for record in directory.glob("*.pid"):
            qemu.end(record, mark)
        network.remove(mark)
    remove_state_dir(name)


def status(name: str) -> Lab:
    """The lab and the state of its machines. Raises LabError when there is no such lab."""
    lab = kept(name)
    return replace(lab, hosts=tuple(replace(host, state=_state(lab, host)) for host in lab.hosts))


def _state(lab: Lab, host: LabHost) -> str:
    with contextlib.suppress(OSError):
        return str(_monitor(lab, host, "query-status")["status"])
    return "gone"


def _monitor(lab: Lab, host: LabHost, command: str, **arguments: object) -> dict[str, object]:
    answer: dict[str, object] = qemu.ask(lab.directory / f"{host.name}.qmp", command, **arguments)
    return answer


def ssh_command(name: str, host: str) -> list[str]:
    """The ssh command line to a machine."""
    lab = kept(name)
    there = lab.host(host)
    options = ["-i", str(lab.directory / "id_ed25519"), "-o", f"UserKnownHostsFile={lab.directory / 'known_hosts'}"]
    return ["ssh", "-p", str(there.port), *options, f"{lab.user}@{there.address}"]


def logs(name: str, host: str) -> str:
    """The logs that explain why a host failed: units, network, journal, kubelet, containers; else the console."""
    script = """
        systemctl --failed --no-pager; systemctl list-jobs --no-pager; systemctl is-system-running
        ip -brief address; ip route; ss -ltn; cat /proc/swaps; journalctl --no-pager -n 40
        journalctl -u kubelet -u containerd --no-pager -n 300 | tail -n 80
        [ ! -s /etc/kubernetes/admin.conf ] || kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes,pods -A -o wide
        [ ! -x /usr/bin/ctr ] || ctr -n k8s.io tasks ls
        df -h / | tail -n 1
    """
    with contextlib.suppress(LabError):
        return run(name, host, script).stdout
    return "".join(_console(kept(name).directory / f"{host}.console")[-60:])


def _console(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8", errors="replace").splitlines(keepends=True)
    except OSError:
        return []


def run(name: str, host: str, command: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root on a machine, through its guest agent. Raises LabError when it does not answer."""
    lab = kept(name)
    try:
        return guest.run(lab.directory / f"{lab.host(host).name}.agent", command, stdin, timeout)
    except guest.Silent as silent:
        raise LabError(f"{host}: the guest agent does not answer. {silent}".strip()) from None


def fault(name: str, host: str, kind: str) -> str:
    """Inject a fault into a machine, or ``heal`` it. Returns the machine's new state.

    ``files/fault`` does the part inside the machine. Raises LabError.
    """
    lab = kept(name)
    there = lab.host(host)
    if kind == "cut":
        _links(lab, there, up=False)
    elif kind == "stop":
        _monitor(lab, there, "stop")
    elif kind == "kill":
        qemu.end(lab.directory / f"{host}.pid", lab.title)
    elif kind == "reboot":
        _reboot(lab, there)
    elif kind == "heal":
        _heal(lab, there)
    else:
        _inside(lab, there, kind)
    return _state(lab, there)


def _links(lab: Lab, host: LabHost, *, up: bool) -> None:
    for card in qemu.NICS:
        _monitor(lab, host, "set_link", name=card, up=up)


def _reboot(lab: Lab, host: LabHost) -> None:
    which = "cat /proc/sys/kernel/random/boot_id"
    before = run(lab.name, host.name, which).stdout
    with contextlib.suppress(LabError):
        run(lab.name, host.name, "systemctl reboot")
    _wait_for(lambda: run(lab.name, host.name, which).stdout not in ("", before), lab, host)
    _wait_for_boot(lab, host)


def _heal(lab: Lab, host: LabHost) -> None:
    state = _state(lab, host)
    if state == "gone":
        _launch(lab, host)
    elif state == "paused":
        _monitor(lab, host, "cont")
    _links(lab, host, up=True)
    _wait_for_boot(lab, host)
    _inside(lab, host, "heal")


def _inside(lab: Lab, host: LabHost, kind: str) -> None:
    script = (images.FILES / "fault").read_text(encoding="utf-8")
    done = run(lab.name, host.name, f"sh -s {shlex.quote(kind)}", stdin=script)
    if done.returncode != 0:
        raise LabError(f"{host.name}: {kind} failed: {done.stderr.strip()}")


def _wait_for_boot(lab: Lab, host: LabHost) -> None:
    _wait_for(lambda: run(lab.name, host.name, _BOOTED).returncode == 0, lab, host)
    _wait_for_ssh(lab, host)


def _wait_for_ssh(lab: Lab, host: LabHost) -> None:
    def answers() -> bool:
        # QEMU accepts the connection in any case; only the server inside says something.
        with contextlib.suppress(OSError), socket.create_connection((host.address, host.port), timeout=5) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    _wait_for(answers, lab, host)


def _wait_for(condition: Callable[[], bool], lab: Lab, host: LabHost) -> None:
    deadline = time.monotonic() + BOOT_SECONDS
    while True:
        with contextlib.suppress(LabError):
            if condition():
                return
        if time.monotonic() > deadline:
            raise LabError(f"{host.name} did not boot within {BOOT_SECONDS} s", logs(lab.name, host.name))
        time.sleep(0.3)
