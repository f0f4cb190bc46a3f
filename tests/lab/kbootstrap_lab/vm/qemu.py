"""QEMU: which accelerator works here, the command line of a machine, and its monitor."""

from __future__ import annotations

import contextlib
import json
import os
import selectors
import signal
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from kbootstrap_lab.backend import Say
from kbootstrap_lab.containers.artifacts import cache, hashed
from kbootstrap_lab.errors import LabError
from kbootstrap_lab.vm.guest import connect

QEMU = "qemu-system-x86_64"
PROBE_SECONDS = 15
"""Longest wait for a kernel's first line, in seconds: one second with a KVM that works."""
START_SECONDS = 30
"""Longest wait for QEMU's monitor, in seconds."""
NICS = ("nat", "lan1", "lan2")
ACCELERATORS = {
    "kvm": ("-accel", "kvm", "-cpu", "host"),
    # A large translation cache: the kernel, systemd and Kubernetes do not fit into the default one.
    "tcg": ("-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "max"),
}
KERNEL_OPTIONS = (
    # cgroup v1, because Kubernetes 1.20 knows only that one well.
    "root=/dev/vda rw console=ttyS0 net.ifnames=0 systemd.unified_cgroup_hierarchy=0"
    # Under Debian's policy, enforcing, neither systemd boots nor do its services answer on D-Bus.
    " security=selinux selinux=1 enforcing=0"
    # Mitigations protect nobody here, and TCG is slow enough.
    " mitigations=off no_timer_check quiet"
)


def accelerator(kernel: Path, say: Say) -> str:
    """``kvm`` where a stock kernel boots with it, else ``tcg``. /dev/kvm may be there and boot no such kernel."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    known = cache() / f"vm-accelerator-{hashed(Path('/proc/version').read_text(), _cpu(), kernel.parent.name)}"
    if not known.exists():
        say("trying KVM")
        known.write_text("kvm" if _boots(kernel) else "tcg", encoding="ascii")
    chosen = known.read_text(encoding="ascii")
    return chosen if chosen in ACCELERATORS else "tcg"


def _cpu() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    return next((line for line in lines if line.startswith("model name")), "")


def _boots(kernel: Path) -> bool:
    command = [QEMU, *ACCELERATORS["kvm"], "-M", "q35", "-m", "256", "-nodefaults", "-display", "none", "-no-reboot"]
    command += ["-serial", "stdio", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1"]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as tried:
        try:
            return _prints(tried, b"Linux version", PROBE_SECONDS)
        finally:
            tried.kill()


def _prints(process: subprocess.Popen[bytes], wanted: bytes, seconds: float) -> bool:
    assert process.stdout is not None
    said, deadline = b"", time.monotonic() + seconds
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0, deadline - time.monotonic())):
            more = os.read(process.stdout.fileno(), 65536)
            said += more
            if wanted in said or not more:
                break
    return wanted in said


def command(
    title: str,
    host: str,
    *,
    accelerated: str,
    image: Path,
    memory_mib: int,
    port: int,
    uuid: str,
    macs: Sequence[str],
    taps: Sequence[int],
) -> list[str]:
    """The command line of a machine; its files are in the folder that it runs in, named after the host."""
    words = [QEMU, "-name", title, "-uuid", uuid, "-M", "q35", *ACCELERATORS[accelerated], "-smp", "2"]
    words += ["-m", str(memory_mib), "-nodefaults", "-no-user-config", "-display", "none", "-serial"]
    words += [f"file:{host}.console", "-qmp", f"unix:{host}.qmp,server=on,wait=off", "-device", "virtio-rng-pci"]
    words += ["-kernel", str(image / "vmlinuz"), "-initrd", str(image / "initrd"), "-append", KERNEL_OPTIONS]
    for disk in ("root", "swap"):
        # A machine lives as long as this one: nothing has to reach the disk.
        words += ["-drive", f"file={host}-{disk}.qcow2,if=virtio,cache=unsafe,discard=unmap"]
    words += ["-chardev", f"socket,id=agent,path={host}.agent,server=on,wait=off", "-device", "virtio-serial"]
    words += ["-device", "virtserialport,chardev=agent,name=org.qemu.guest_agent.0"]
    forward = f"hostfwd=tcp:127.0.0.1:{port}-10.0.2.15:22"
    nets = [f"user,id=nat,restrict=on,ipv6=off,{forward}"]
    nets += [f"tap,id={name},fd={tap}" for name, tap in zip(NICS[1:], taps, strict=True)]
    for name, net, mac in zip(NICS, nets, macs, strict=True):
        words += ["-netdev", net, "-device", f"virtio-net-pci,netdev={name},mac={mac}"]
    return words


def start(words: Sequence[str], folder: Path, host: str, taps: Sequence[int]) -> None:
    """Start a machine and record its pid. Raises LabError with QEMU's own words."""
    monitor, log = folder / f"{host}.qmp", folder / f"{host}.log"
    monitor.unlink(missing_ok=True)
    with log.open("wb") as output:
        machine = subprocess.Popen(
            words,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            pass_fds=taps,
            start_new_session=True,
        )
    (folder / f"{host}.pid").write_text(str(machine.pid), encoding="ascii")
    deadline = time.monotonic() + START_SECONDS
    while machine.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            ask(monitor, "query-status")
            # The machine outlives this process on purpose. Without this line Popen warns that it still runs.
            machine.returncode = 0
            return
        time.sleep(0.1)
    machine.kill()
    machine.wait()
    raise LabError(f"{host}: QEMU did not start: {log.read_text(errors='replace').strip()}")


def ask(monitor: Path, command: str, **arguments: Any) -> Any:
    """The answer of a machine's monitor. Raises OSError when it does not run."""
    with connect(monitor) as connection, connection.makefile("rwb") as stream:
        connection.settimeout(START_SECONDS)
        stream.readline()
        for each, given in (("qmp_capabilities", {}), (command, arguments)):
            stream.write(json.dumps({"execute": each, "arguments": given}).encode() + b"\n")
            stream.flush()
            reply: dict[str, Any] = {}
            while "return" not in reply and "error" not in reply:
                line = stream.readline()
                if not line:
                    raise ConnectionResetError(f"{monitor.name} was closed")
                reply = json.loads(line)
    if "error" in reply:
        raise LabError(f"QEMU says: {reply['error'].get('desc')}")
    return reply["return"]


def end(record: Path, mark: str) -> None:
    """End the process whose pid a file records, unless the pid now belongs to a process without this mark."""
    with contextlib.suppress(OSError, ValueError):
        pid = int(record.read_text(encoding="ascii"))
        for number in (signal.SIGTERM, signal.SIGKILL):
            deadline = time.monotonic() + 5
            while mark.encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                if time.monotonic() > deadline:
                    break
                os.kill(pid, number)
                time.sleep(0.1)
