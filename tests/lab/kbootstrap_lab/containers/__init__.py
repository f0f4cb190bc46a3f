"""The container lab: hosts with systemd, sshd and real kubeadm as containers, and a package server of their own.

Everything runs on an internal Docker network, so no packet of a host leaves this machine. docs/lab.md says what is
real and what is a stand-in. testcontainers creates the containers.
"""

from __future__ import annotations

import contextlib
import ipaddress
import json
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kbootstrap.secret import Secret
from kbootstrap_lab.backend import Say, quiet, refuse
from kbootstrap_lab.containers import artifacts, distributions
from kbootstrap_lab.containers.machine import TMPFS, VOLUMES, host_options, missing, start_docker
from kbootstrap_lab.errors import LabError, no_such_host, no_such_lab
from kbootstrap_lab.state import create_state_dir, remove_state_dir, state_dir

__all__ = ["Lab", "LabHost", "down", "fault", "logs", "missing", "run", "ssh_command", "status", "up"]

LABEL = "kbootstrap.lab"
SERVER = "packages.lab"
START_SECONDS = 90
"""Longest wait for a host to boot, and for its sshd, in seconds."""
_FETCH = "curl --fail --silent --show-error --max-time 20"
_EL_KEY = "/etc/pki/rpm-gpg/RPM-GPG-KEY-lab"
_LAB_BASE = (
    f"printf '[lab-base]\\nname=the lab OS\\nbaseurl=http://{SERVER}/os/el\\ngpgcheck=1\\ngpgkey=file://{_EL_KEY}\\n' "
    ">/etc/yum.repos.d/lab-base.repo"
)


@dataclass(frozen=True)
class LabHost:
    """One host container."""

    name: str
    address: str
    port: int
    distribution: str
    state: str


@dataclass(frozen=True)
class Lab:
    """A lab as it was made; ``server`` is the package server's address."""

    name: str
    hosts: tuple[LabHost, ...]
    server: str
    user: str
    directory: Path


def up(
    name: str = "demo",
    control_planes: int = 1,
    workers: int = 3,
    distribution: str = "centos9",
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
    """Start a lab; returns when every host accepts SSH. ``distributions`` gives each host its own, in order.

    With ``image`` the hosts use this image (pulled when it is missing) instead of one built here. Raises LabError.
    """
    refuse("containers", latency_ms=latency_ms)
    chosen = (
        ("image",) * (control_planes + workers)
        if image
        else distributions or (distribution,) * (control_planes + workers)
    )
    images, served = artifacts.prepare(chosen, say, image)
    say(f"containerd.io in the lab's repositories: {', '.join(artifacts.containerd_versions(served))}")
    directory = create_state_dir(name, "containers")
    try:
        return _start(
            name, directory, control_planes, chosen, images, served, user, password, sudo_password, inventory, say
        )
    except BaseException:
        down(name)
        raise


def _start(
    name: str,
    directory: Path,
    control_planes: int,
    distributions: tuple[str, ...],
    images: dict[str, str],
    served: Path,
    user: str,
    password: Secret | None,
    sudo_password: Secret | None,
    inventory: Path | None,
    say: Say,
) -> Lab:
    key = _make_key(directory)
    subnet = _make_network(name)
    addresses = subnet.hosts()
    next(addresses)  # the bridge's address
    server = str(next(addresses))
    _run_server(name, server, served, artifacts.plain_image(say))
    say(f"starting {len(distributions)} hosts")
    hosts = []
    for index, distribution in enumerate(distributions):
        host = f"cp{index + 1}" if index < control_planes else f"w{index + 1 - control_planes}"
        hosts.append(LabHost(host, str(next(addresses)), 22, distribution, "running"))
        _run_host(name, hosts[-1], images[distribution], server)
    lab = Lab(name, tuple(hosts), server, user, directory)
    for each in hosts:
        _set_up(lab, each, key, password, sudo_password)
    _keep(lab, _known_hosts(lab))
    if inventory is not None:
        from kbootstrap_lab.containers.inventory import text, write

        write(inventory, text(lab, password is not None, sudo_password is not None))
        say(f"wrote {inventory}")
    return lab


def down(name: str) -> None:
    """Remove every container, volume, network and file of a lab. Raises LabError when there is no such lab."""
    directory = state_dir(name)
    if not directory.is_dir():
        raise no_such_lab(name)
    start_docker(lambda _text: None)
    client = _docker()
    for container in client.containers.list(all=True, filters={"label": f"{LABEL}={name}"}):
        container.remove(force=True, v=True)
    for network in client.networks.list(filters={"label": f"{LABEL}={name}"}):
        network.remove()
    remove_state_dir(name)


def status(name: str) -> Lab:
    """The lab and the state of its hosts. Raises LabError when there is no such lab."""
    lab = _kept(name)
    states = {}
    for container in _docker().containers.list(all=True, filters={"label": f"{LABEL}={name}"}):
        states[container.labels.get(f"{LABEL}.host", "")] = container.status
    hosts = tuple(LabHost(h.name, h.address, h.port, h.distribution, states.get(h.name, "gone")) for h in lab.hosts)
    return Lab(lab.name, hosts, lab.server, lab.user, lab.directory)


def ssh_command(name: str, host: str) -> list[str]:
    """The ssh command line to a host."""
    lab = _kept(name)
    address = _address(lab, host)
    options = ["-i", str(lab.directory / "id_ed25519"), "-o", f"UserKnownHostsFile={lab.directory / 'known_hosts'}"]
    return ["ssh", *options, f"{lab.user}@{address}"]


def logs(name: str, host: str) -> str:
    """The logs that explain why a host failed: units, network, journal, kubelet, containers."""
    script = """
        systemctl --failed --no-pager; systemctl list-jobs --no-pager; systemctl is-system-running
        ip -brief address; ss -ltn; journalctl --no-pager -n 20
        journalctl -u kubelet -u containerd --no-pager -n 300 | grep -v -e perf_event -e 'loading plugin' | tail -n 80
        [ ! -s /etc/kubernetes/admin.conf ] || kubectl --kubeconfig /etc/kubernetes/admin.conf get nodes,pods -A -o wide
        ctr -n k8s.io tasks ls
        df -h / | tail -n 1
    """
    return run(name, host, script).stdout


def run(name: str, host: str, command: str, stdin: str = "", timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run a shell command as root on a host, without SSH. Tests check a host with it, without kbootstrap.

    Raises LabError when the command does not end within ``timeout`` seconds.
    """
    try:
        return subprocess.run(
            ["docker", "exec", "--interactive", _container(name, host), "sh", "-c", command],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise LabError(f"{host}: a command did not end within {timeout} s:\n{command.strip()}") from None


def fault(name: str, host: str, kind: str) -> str:
    """Inject a fault into a host, or ``heal`` it. Returns the host with its new state.

    ``files/fault`` does the part inside the host. Raises LabError, also when the kernel has no netem for ``slow``.
    """
    container = _found(name, host)
    if kind == "cut":
        _network_of(name).disconnect(container)
    elif kind == "stop":
        container.pause()
    elif kind == "kill":
        container.kill()
    elif kind == "reboot":
        container.restart(timeout=20)
        _wait_for_boot(name, host)
        _wait_for_ssh(_kept(name), host)
    elif kind == "heal":
        _heal(name, host)
    else:
        _inside(name, host, kind)
    container.reload()
    return str(container.status)


# --- private ---------------------------------------------------------------------------------------------------------


def _docker() -> Any:
    import docker

    return docker.from_env()


def _container(lab: str, host: str) -> str:
    return f"kbootstrap-{lab}-{host}"


def _network_of(name: str) -> Any:
    return _docker().networks.get(f"kbootstrap-{name}")


def _inside(name: str, host: str, kind: str) -> None:
    script = (artifacts.FILES / "fault").read_text(encoding="utf-8")
    done = run(name, host, f"sh -s {shlex.quote(kind)}", stdin=script)
    if done.returncode != 0:
        raise LabError(f"{host}: {kind} failed: {done.stderr.strip()}")


def _address(lab: Lab, host: str) -> str:
    """A host's address. Raises LabError when the lab has no such host."""
    addresses = {each.name: each.address for each in lab.hosts}
    if host not in addresses:
        raise no_such_host(lab.name, host, addresses)
    return addresses[host]


def _found(name: str, host: str) -> Any:
    """The container of a host. Raises LabError when the lab has no such host."""
    _address(_kept(name), host)
    return _docker().containers.get(_container(name, host))


def _heal(name: str, host: str) -> None:
    container = _found(name, host)
    if container.status == "paused":
        container.unpause()
    elif container.status != "running":
        container.start()
        _wait_for_boot(name, host)
    address = _address(_kept(name), host)
    network = _network_of(name)
    if container.id not in network.attrs.get("Containers", {}) and not _attached(container, name):
        network.connect(container, ipv4_address=address)
    _inside(name, host, "heal")
    _wait_for_ssh(_kept(name), host)


def _attached(container: Any, name: str) -> bool:
    container.reload()
    return f"kbootstrap-{name}" in container.attrs["NetworkSettings"]["Networks"]


def _make_key(directory: Path) -> str:
    path = directory / "id_ed25519"
    artifacts.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "kbootstrap lab", "-f", path)
    return path.with_suffix(".pub").read_text(encoding="ascii").strip()


def _make_network(name: str) -> ipaddress.IPv4Network:
    """An internal network on the first free subnet of 10.200.0.0/16 upwards.

    Docker knows only its own networks. A bridge of an earlier dockerd can still have a route and would get the packets.
    """
    import docker

    client = _docker()
    taken = routed_networks(Path("/proc/net/route").read_text(encoding="ascii"))
    for second in range(200, 250):
        for third in range(0, 256, 16):
            subnet = ipaddress.IPv4Network(f"10.{second}.{third}.0/24")
            if any(subnet.overlaps(network) for network in taken):
                continue
            pool = docker.types.IPAMPool(subnet=str(subnet))
            with contextlib.suppress(docker.errors.APIError):
                client.networks.create(
                    f"kbootstrap-{name}",
                    internal=True,
                    ipam=docker.types.IPAMConfig(pool_configs=[pool]),
                    labels={LABEL: name},
                    check_duplicate=True,
                )
                return subnet
    raise LabError(
        "no free subnet for the lab's network",
        "`docker network ls` lists the networks, `kbootstrap lab down` removes those of a lab.",
    )


def routed_networks(table: str) -> list[ipaddress.IPv4Network]:
    """The networks in a /proc/net/route, without default routes. Its numbers are hex, in the machine's byte order."""
    found = []
    for line in table.splitlines()[1:]:
        _, address, _, _, _, _, _, mask, *_ = line.split()
        base, bits = (int(text, 16).to_bytes(4, sys.byteorder) for text in (address, mask))
        if any(bits):
            found.append(ipaddress.IPv4Network((base, str(ipaddress.IPv4Address(bits)))))
    return found


def _new_container(lab: str, host: str, image: str, address: str, **options: Any) -> Any:
    """Create a container with testcontainers, with a fixed address on the lab's network."""
    import docker
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.container import DockerContainer

    # testcontainers' reaper needs an image from a registry, and it would remove labs that must keep running.
    testcontainers_config.ryuk_disabled = True
    network = f"kbootstrap-{lab}"
    endpoint = docker.types.EndpointConfig(_docker().api._version, ipv4_address=address)
    container = DockerContainer(image).with_name(_container(lab, host))
    container.with_kwargs(
        network=network,
        networking_config={network: endpoint},
        labels={LABEL: lab, f"{LABEL}.host": host},
        **options,
    )
    return container


def _run_server(lab: str, address: str, served: Path, image: str) -> None:
    """Start the package and time server: Python's web server, and a chronyd that serves this machine's clock."""
    script = (
        "printf 'local stratum 5\\nallow all\\n' >/etc/chrony-lab.conf; mkdir -p /run/chrony;"
        " chronyd -x -f /etc/chrony-lab.conf; exec python3 -m http.server --directory /srv 80"
    )
    container = _new_container(lab, "packages", image, address, entrypoint=["sh", "-c", script], cap_add=["SYS_TIME"])
    container.with_volume_mapping(str(served), "/srv", "ro").start()


def _run_host(lab: str, host: LabHost, image: str, server: str) -> None:
    import docker

    mounts = [docker.types.Mount(path, None, type="volume") for path in VOLUMES]
    container = _new_container(
        lab,
        host.name,
        image,
        host.address,
        hostname=f"new-{host.name}",
        extra_hosts={SERVER: server},
        mounts=mounts,
        **host_options(),
    )
    container.tmpfs = TMPFS
    container.start()


def _set_up(lab: Lab, host: LabHost, key: str, password: Secret | None, sudo_password: Secret | None) -> None:
    """Set up the login, sudo and the repository of the host's operating system."""
    _wait_for_boot(lab.name, host.name)
    user = shlex.quote(lab.user)
    nopasswd = "" if sudo_password else "NOPASSWD:"
    script = f"""
        set -e
        id -u {user} >/dev/null 2>&1 || useradd --create-home --shell /bin/bash {user}
        install -d -m 700 -o {user} -g {user} ~{lab.user}/.ssh
        printf '%s\\n' {shlex.quote(key)} >~{lab.user}/.ssh/authorized_keys
        chown {user} ~{lab.user}/.ssh/authorized_keys
        echo '{lab.user} ALL=(ALL) {nopasswd}ALL' >/etc/sudoers.d/lab
        read -r secret || true
        [ -z "$secret" ] || printf '%s:%s\\n' {user} "$secret" | chpasswd
        {os_repository(host.distribution)}
    """
    secret = sudo_password or password
    done = run(lab.name, host.name, script, stdin=f"{secret.reveal() if secret else ''}\n")
    if done.returncode != 0:
        raise LabError(f"{host.name} could not be set up: {done.stderr.strip()}")
    _wait_for_ssh(lab, host.name)


def os_repository(distribution: str) -> str:
    """Shell commands that configure the lab's OS repository on a host. A user's image has repositories of its own.

    CentOS 7 and 8 keep the dead repositories that they are found with: kbootstrap replaces them (`os_repository`).
    """
    if distribution == "image":
        return ":"
    found = distributions.known(distribution)
    if found.dead_sources:
        return "; ".join(f"{_FETCH} http://{SERVER}/os/key -o {key}" for key in found.signing_keys)
    if found.family == "el":
        return f"{_FETCH} http://{SERVER}/os/key -o {_EL_KEY}; {_LAB_BASE}"
    return (
        f"{_FETCH} http://{SERVER}/os/key -o /etc/apt/lab.asc; "
        f"echo 'deb [signed-by=/etc/apt/lab.asc] http://{SERVER}/os/debian ./' >/etc/apt/sources.list.d/lab.list; "
        "dpkg --purge --force-depends chrony conntrack socat >/dev/null 2>&1"
    )


def _wait_for_boot(name: str, host: str) -> None:
    """Wait until the host has booted and firewalld has loaded its rules. Loading silently breaks open connections.

    systemd reports firewalld as started when it has its D-Bus name. firewalld loads its rules and answers after that.
    """
    booted = """
        systemctl is-system-running | grep -qE 'running|degraded' || exit 1
        ! systemctl --quiet is-active firewalld || firewall-cmd --quiet --state
    """
    _wait_for(lambda: run(name, host, booted).returncode == 0, name, host)


def _wait_for_ssh(lab: Lab, name: str) -> None:
    address = _address(lab, name)

    def answers() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((address, 22), timeout=2) as connection:
            return connection.recv(4) == b"SSH-"
        return False

    _wait_for(answers, lab.name, name)


def _wait_for(condition: Callable[[], bool], name: str, host: str) -> None:
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            machine = f"On this machine:\n{artifacts.run('ip', 'route')}"
            raise LabError(f"{host} did not boot within {START_SECONDS} s", logs(name, host) + machine)
        time.sleep(0.2)


def _known_hosts(lab: Lab) -> Iterator[str]:
    for host in lab.hosts:
        words = run(lab.name, host.name, "cat /etc/ssh/ssh_host_ed25519_key.pub").stdout.split()
        yield f"{host.address} {words[0]} {words[1]}"


def _keep(lab: Lab, known_hosts: Iterator[str]) -> None:
    (lab.directory / "known_hosts").write_text("\n".join(known_hosts) + "\n", encoding="ascii")
    text = json.dumps({"server": lab.server, "user": lab.user, "hosts": [asdict(host) for host in lab.hosts]})
    (lab.directory / "lab.json").write_text(text, encoding="utf-8")


def _kept(name: str) -> Lab:
    directory = state_dir(name)
    try:
        kept = json.loads((directory / "lab.json").read_text(encoding="utf-8"))
    except OSError:
        raise no_such_lab(name) from None
    hosts = tuple(LabHost(**host) for host in kept["hosts"])
    return Lab(name, hosts, kept["server"], kept["user"], directory)


def fingerprint() -> str:
    """The fingerprint of the key that signs the lab's packages."""
    return (artifacts.signing_key(lambda _text: None) / "fingerprint").read_text(encoding="ascii").strip()
