"""The simulated fleet itself: what a host is, how it is reached, what can happen to it, and that nothing is left."""

from __future__ import annotations

import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import paramiko
import pytest
from support.driver import Fleet
from support.labs import DISTRIBUTIONS, MakeLab

from kbootstrap.secret import Secret
from kbootstrap_lab import LabError, names, simulated, state_dir


def login(fleet: Fleet, host: str, **how: object) -> paramiko.SSHClient:
    """A client that accepts only the host keys the lab wrote down."""
    found = next(h for h in fleet.lab.hosts if h.name == host)
    client = paramiko.SSHClient()
    client.load_host_keys(str(fleet.lab.directory / "known_hosts"))
    client.set_missing_host_key_policy(paramiko.RejectPolicy())
    how = how or {"key_filename": str(fleet.lab.directory / "id_ed25519")}
    user = (fleet.lab.directory / "user").read_text().strip()
    client.connect(
        found.address,
        found.port,
        user,
        look_for_keys=False,
        allow_agent=False,
        timeout=10,
        banner_timeout=10,
        **how,  # type: ignore[arg-type]
    )
    return client


def execute(client: paramiko.SSHClient, command: str, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
    """Exit status, stdout and stderr of a command."""
    into, out, err = client.exec_command(command, timeout=20)
    into.write(stdin)
    into.flush()
    into.channel.shutdown_write()
    return out.channel.recv_exit_status(), out.read(), err.read()


def eventually(holds: Callable[[], bool], seconds: float = 10) -> None:
    """Fail unless it holds before the time is over."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.02)


# --- SSH -------------------------------------------------------------------------------------------------------------


def test_commands_over_ssh(shared: Fleet) -> None:
    with login(shared, "cp1") as client:
        status, out, err = execute(
            client, 'cat; echo problem >&2; printf "%s" "$HOME"; exit 7', bytes(range(256)) * 400
        )
        assert (status, err) == (7, b"problem\n")
        assert out == bytes(range(256)) * 400 + b"/home/kb"
        assert execute(client, ": " + "x" * 60000)[0] == 0
        assert execute(client, "id -u; id -un; hostname")[1].split() == [b"1000", b"kb", b"ip-192-168-1-10.localdomain"]
        assert execute(client, "kill -TERM $$")[0] == -1, "a signal is no exit status"
        with pytest.raises(paramiko.SSHException):
            client.open_sftp()


def test_exit_status_comes_before_background_children_end(shared: Fleet) -> None:
    with login(shared, "cp1") as client:
        _into, out, _err = client.exec_command("sleep 30 & exit 5")
        started = time.monotonic()
        assert out.channel.recv_exit_status() == 5
        assert time.monotonic() - started < 5


def test_password_and_keyboard_interactive(lab: MakeLab) -> None:
    fleet = lab(1, 0, password=Secret("Pa55 wörd"))
    with login(fleet, "cp1", password="Pa55 wörd") as client:
        assert execute(client, "echo in")[1] == b"in\n"
    with pytest.raises(paramiko.AuthenticationException):
        login(fleet, "cp1", password="wrong")
    host = fleet.lab.hosts[0]
    with socket.create_connection((host.address, host.port)) as wire, paramiko.Transport(wire) as transport:
        transport.start_client(timeout=10)
        transport.auth_interactive("kb", lambda _title, _text, prompts: ["Pa55 wörd" for _ in prompts])
        assert transport.is_authenticated()


def test_only_the_methods_asked_for(lab: MakeLab) -> None:
    fleet = lab(1, 0, password=Secret("secret"), methods=("keyboard-interactive",))
    with pytest.raises(paramiko.BadAuthenticationType) as refused:
        login(fleet, "cp1")
    assert refused.value.allowed_types == ["keyboard-interactive"]
    assert "  key:" not in fleet.inventory.read_text()


def test_sudo_without_password(shared: Fleet) -> None:
    with login(shared, "cp1") as client:
        status, out, _err = execute(client, "sudo -S -p '' -- sh -c 'id -u; cat'", b"not a password\n")
        assert (status, out) == (0, b"0\nnot a password\n"), "a sudo that asks nothing leaves stdin alone"


def test_sudo_with_password(lab: MakeLab) -> None:
    fleet = lab(1, 0, sudo_password=Secret("s3cret"))
    with login(fleet, "cp1") as client:
        status, out, err = execute(client, "sudo -S -p '' -- sh -c 'id -u; cat'", b"s3cret\nrest\nof it")
        assert (status, out, err) == (0, b"0\nrest\nof it", b"")
        status, out, err = execute(client, "sudo -S -p 'pw: ' -- id", b"a\nb\nc\nd\n")
        assert (status, out) == (1, b"")
        assert err.count(b"pw: ") == 3
        assert b"3 incorrect password attempts" in err
        assert execute(client, "sudo -n true")[0] == 1
        assert b"a terminal is required" in execute(client, "sudo true")[2]
    assert "s3cret" not in fleet.inventory.read_text()
    assert "${env:KB_SUDO_PASSWORD}" in fleet.inventory.read_text()


def test_a_terminal_on_request(shared: Fleet) -> None:
    with login(shared, "cp1") as client:
        _into, out, _err = client.exec_command("stty size; test -t 0", get_pty=True, timeout=10)
        assert out.read() == b"24 80\r\n"
        assert out.channel.recv_exit_status() == 0


def test_a_host_is_a_bastion_for_the_others(shared: Fleet) -> None:
    with login(shared, "cp1") as bastion:
        transport = bastion.get_transport()
        assert transport is not None
        channel = transport.open_channel("direct-tcpip", ("192.168.1.11", 22), ("127.0.0.1", 1))
        with paramiko.Transport(channel) as inner:
            inner.start_client(timeout=10)
            inner.auth_publickey(
                "kb", paramiko.Ed25519Key.from_private_key_file(str(shared.lab.directory / "id_ed25519"))
            )
            session = inner.open_session()
            session.exec_command("hostname")
            assert session.makefile().read() == b"ip-192-168-1-11.localdomain\n"
        with pytest.raises(paramiko.ChannelException):
            transport.open_channel("direct-tcpip", ("127.0.0.1", 22), ("127.0.0.1", 1))


def test_latency_is_added_once_per_round_trip(lab: MakeLab) -> None:
    fleet = lab(1, 0, latency_ms=100)
    with login(fleet, "cp1") as client:
        into, out, _err = client.exec_command("cat")
        trips = []
        for _ in range(5):
            started = time.monotonic()
            into.write(b"a\n")
            assert out.readline() == "a\n"
            trips.append(time.monotonic() - started)
        assert 0.1 <= min(trips) < 0.2


# --- the host --------------------------------------------------------------------------------------------------------


def test_the_real_machine_is_out_of_reach(lab: MakeLab, tmp_path: Path) -> None:
    """A host's root may do to its own files what it likes; it can neither see nor change those of the real machine."""
    witness = tmp_path / "witness"
    witness.write_text("untouched")
    real = {path: Path(path).read_bytes() for path in ("/etc/passwd", "/etc/hosts") if os.access(path, os.R_OK)}
    entries = sorted(os.listdir("/usr/bin"))
    hostname = socket.gethostname()
    fleet = lab(1, 0)
    fleet.text("cp1", "echo ruined >/etc/passwd; echo ruined >/etc/hosts; hostname elsewhere; rm -rf /home /var/log")
    for command in (
        "touch /.machine/x",
        "touch /.machine/usr/x",
        "mount -o remount,rw,bind /.machine/usr",
        "umount /.machine/usr",
        f"test -e {witness}",
        f"test -e /.machine{witness}",
        "echo 1 >/.machine/proc/sysrq-trigger",
        "echo x >/.machine/proc/sys/kernel/hostname",
        "test -e /.machine/dev/sda -o -e /.machine/dev/vda",
        f"kill -0 {os.getpid()} && test {os.getpid()} -gt 3000",
    ):
        assert fleet.run("cp1", command).returncode != 0, command
    fleet.text("cp1", "touch /usr/bin/made-by-a-host")
    assert witness.read_text() == "untouched"
    assert {path: Path(path).read_bytes() for path in real} == real
    assert sorted(os.listdir("/usr/bin")) == entries
    assert socket.gethostname() == hostname


def test_a_host_reaches_its_peers_and_nothing_else(shared: Fleet) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        shared.text("cp1", "bash -c ': </dev/tcp/192.168.1.11/22'")
        for target in (f"127.0.0.1/{port}", "127.70.0.1/2222", "203.0.113.1/80", "192.168.1.11/6443"):
            assert shared.run("cp1", f"timeout 5 bash -c ': </dev/tcp/{target}'").returncode != 0, target


def test_unknown_commands_and_arguments_fail(shared: Fleet) -> None:
    for command in ("kubeadm version", "python3 --version", "ssh -V", "docker ps", "perl -v", "apt-get update"):
        assert shared.run("cp1", command).returncode == 127, command
    for command in ("systemctl frobnicate", "dnf history", "sysctl --frob", "ip netns add x", "curl --upload-file x y"):
        result = shared.run("cp1", command)
        assert result.returncode == 64, command
        assert result.stderr.startswith("simulated "), result.stderr


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_hosts_are_found_dirty(lab: MakeLab, distribution: str) -> None:
    fleet = lab(1, 1, distribution)
    assert fleet.run("cp1", "swapon --show=NAME --noheadings").stdout.strip() != ""
    assert "swap" in fleet.text("cp1", "cat /etc/fstab")
    assert fleet.text("cp1", "hostname").strip() != "cp1"
    facts = [fleet.text(host, "cat /etc/machine-id /sys/class/dmi/id/product_uuid; ip -o link") for host in fleet.hosts]
    assert facts[0] != facts[1]
    if distribution == "debian12":
        assert fleet.run("cp1", "getenforce").returncode == 127
        assert fleet.text("cp1", "systemctl is-active systemd-timesyncd").strip() == "active"
        assert fleet.run("cp1", "gpg --version").returncode == 127
    else:
        assert fleet.text("cp1", "getenforce").strip() == "Enforcing"
        assert fleet.text("cp1", "firewall-cmd --state").strip() == "running"
        assert fleet.run("w1", "chronyc tracking").returncode in (1, 127)
    clean = lab(1, 0, distribution, state="clean")
    assert clean.run("cp1", "swapon --show=NAME --noheadings").stdout == ""
    assert clean.text("cp1", "hostname").strip() == "cp1"


def test_reading_changes_nothing(shared: Fleet) -> None:
    before = shared.files("cp1")
    shared.run(
        "cp1",
        "systemctl list-unit-files; systemctl is-active sshd; rpm -qa; dnf -q list kubelet; sysctl -a; ip addr; "
        "ss -lnt; chronyc tracking; firewall-cmd --list-ports; hostnamectl; timedatectl; getent passwd kb; "
        "stat -c %U /etc; lsmod",
    )
    assert shared.files("cp1") == before


def test_reboot(lab: MakeLab) -> None:
    """What lies in /etc comes back; what the kernel and /run knew does not, nor does any process."""
    fleet = lab(1, 0)
    fleet.text(
        "cp1",
        "swapoff -a; modprobe br_netfilter; sysctl -qw net.bridge.bridge-nf-call-iptables=0; setenforce 0; "
        "touch /run/x /etc/x /tmp/x; hostname transient; echo 'net.ipv4.ip_forward = 1' >/etc/sysctl.d/99-test.conf; "
        "echo overlay >/etc/modules-load.d/test.conf; systemctl disable --now firewalld; "
        "setsid sh -c 'while :; do date >>/var/log/alive; sleep 0.05; done' >/dev/null 2>&1 & "
        "until [ -s /var/log/alive ]; do sleep 0.02; done",
    )
    before = fleet.text("cp1", "cat /proc/sys/kernel/random/boot_id")
    fleet.fault("cp1", "reboot")
    eventually(lambda: simulated.status(fleet.name).hosts[0].state == "up")
    with login(fleet, "cp1") as client:
        assert execute(client, "echo back")[1] == b"back\n"
    assert fleet.text("cp1", "cat /proc/sys/kernel/random/boot_id") != before
    assert fleet.text(
        "cp1", "cat /proc/sys/net/ipv4/ip_forward; getenforce; hostname; swapon --show=NAME --noheadings"
    ) == ("1\nEnforcing\nip-192-168-1-10.localdomain\n/dev/dm-1\n")
    assert fleet.text("cp1", "lsmod | awk '$1 ~ /overlay|br_netfilter/ { print $1 }'") == "overlay\n"
    assert fleet.run("cp1", "sysctl -n net.bridge.bridge-nf-call-iptables").returncode != 0
    assert fleet.run("cp1", "systemctl is-active firewalld").stdout == "inactive\n"
    assert fleet.run("cp1", "ls /run/x /tmp/x").returncode != 0
    size = fleet.text("cp1", "test -e /etc/x && wc -c </var/log/alive")
    assert fleet.text("cp1", "sleep 0.3; wc -c </var/log/alive") == size


def test_detached_processes_outlive_the_connection(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    client = login(fleet, "cp1")
    execute(client, "setsid sh -c 'sleep 0.5; echo done >/tmp/result' </dev/null >/dev/null 2>&1 &")
    fleet.fault("cp1", "drop")
    eventually(lambda: fleet.run("cp1", "cat /tmp/result").stdout == "done\n")
    client.close()


# --- faults ----------------------------------------------------------------------------------------------------------


def test_cut_and_heal(lab: MakeLab) -> None:
    fleet = lab(1, 1)
    client = login(fleet, "cp1")
    transport = client.get_transport()
    assert transport is not None
    assert fleet.fault("cp1", "cut") == "cut"
    eventually(lambda: not transport.is_active())
    with pytest.raises(paramiko.ssh_exception.NoValidConnectionsError):
        login(fleet, "cp1")
    with login(fleet, "w1") as other:
        assert execute(other, "echo fine")[0] == 0
    assert fleet.fault("cp1", "heal") == "up"
    with login(fleet, "cp1") as again:
        assert execute(again, "echo fine")[0] == 0
    client.close()


def test_a_stopped_host_is_silent(lab: MakeLab) -> None:
    """Half-open: the connection stays, nothing comes back; after heal everything goes on where it was."""
    fleet = lab(1, 0)
    with login(fleet, "cp1") as client:
        into, out, _err = client.exec_command("cat")
        fleet.fault("cp1", "stop")
        into.write(b"are you there\n")
        out.channel.settimeout(0.7)
        with pytest.raises(TimeoutError):
            out.channel.recv(100)
        transport = client.get_transport()
        assert transport is not None
        assert transport.is_active()
        fleet.fault("cp1", "heal")
        out.channel.settimeout(10)
        assert out.channel.recv(100) == b"are you there\n"


def test_kill_and_heal(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    fleet.text("cp1", "echo kept >/etc/kept; echo lost >/run/lost")
    assert fleet.fault("cp1", "kill") == "off"
    with pytest.raises(paramiko.ssh_exception.NoValidConnectionsError):
        login(fleet, "cp1")
    assert fleet.fault("cp1", "heal") == "up"
    assert fleet.text("cp1", "cat /etc/kept") == "kept\n"
    assert fleet.run("cp1", "cat /run/lost").returncode != 0


def test_disk_full(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    fleet.fault("cp1", "disk-full")
    result = fleet.run("cp1", "head -c 1000000 /dev/zero >/var/full")
    assert result.returncode != 0
    assert "No space left on device" in result.stderr
    assert fleet.run("cp1", "head -c 1000000 /dev/zero >/run/fits").returncode == 0
    fleet.fault("cp1", "heal")
    fleet.text("cp1", "head -c 1000000 /dev/zero >/var/full")


def test_clock_skew_and_time_service(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    fleet.fault("cp1", "clock-skew", seconds=-900)
    wrong = int(fleet.text("cp1", "date +%s"))
    assert abs(time.time() - 900 - wrong) < 5
    fleet.text("cp1", "systemctl restart chronyd; chronyc waitsync 30 0 0 0")
    assert abs(time.time() - int(fleet.text("cp1", "date +%s"))) < 5


def test_a_command_fails_so_many_times(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    before = fleet.text("cp1", "readlink /usr/sbin/sysctl")
    fleet.fault("cp1", "fail-command", command="sysctl", times=2, status=9, message="not today")
    for _ in range(2):
        result = fleet.run("cp1", "sysctl -n net.ipv4.ip_forward")
        assert (result.returncode, result.stderr) == (9, "not today\n")
    assert fleet.text("cp1", "sysctl -n net.ipv4.ip_forward") == "0\n"
    assert fleet.text("cp1", "readlink /usr/sbin/sysctl") == before


def test_a_changed_host_key_is_seen(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    fleet.fault("cp1", "host-key")
    with pytest.raises(paramiko.BadHostKeyException):
        login(fleet, "cp1")
    fleet.fault("cp1", "heal")
    login(fleet, "cp1").close()


def test_slow(lab: MakeLab) -> None:
    fleet = lab(1, 0)
    with login(fleet, "cp1") as client:
        fleet.fault("cp1", "slow", latency_ms=400)
        started = time.monotonic()
        assert execute(client, "true")[0] == 0
        assert time.monotonic() - started > 0.4


def test_unknown_faults_and_hosts(shared: Fleet) -> None:
    with pytest.raises(LabError, match="no fault"):
        shared.fault("cp1", "earthquake")
    with pytest.raises(LabError, match="no host"):
        shared.fault("cp9", "cut")


# --- the lab ---------------------------------------------------------------------------------------------------------


def processes_of(name: str) -> list[str]:
    """Command lines that name this lab's directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            text = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if f"/labs/{name} " in text + " " or f"/labs/{name}/" in text:
            found.append(text)
    return found


def answers_as_before(host: simulated.LabHost, host_keys: paramiko.HostKeys) -> bool:
    """Does this very host still listen? Another lab may have taken the address since; its key would be another."""
    try:
        with (
            socket.create_connection((host.address, host.port), timeout=5) as wire,
            paramiko.Transport(wire) as transport,
        ):
            transport.start_client(timeout=10)
            return host_keys.check(f"[{host.address}]:{host.port}", transport.get_remote_server_key())
    except (OSError, EOFError, paramiko.SSHException):
        return False


def test_down_leaves_nothing(lab: MakeLab) -> None:
    fleet = lab(1, 2)
    fleet.text("cp1", "setsid sleep 1000 >/dev/null 2>&1 &")
    host = fleet.lab.hosts[0]
    assert len(processes_of(fleet.name)) >= 4
    host_keys = paramiko.HostKeys(str(fleet.lab.directory / "known_hosts"))
    assert answers_as_before(host, host_keys)
    simulated.down(fleet.name)
    assert processes_of(fleet.name) == []
    assert not state_dir(fleet.name).exists()
    assert not answers_as_before(host, host_keys)
    with pytest.raises(LabError, match="no lab named"):
        simulated.down(fleet.name)


def test_a_crashed_lab_can_be_removed(lab: MakeLab) -> None:
    """When the daemon dies the kernel ends every host with it; what is left is the directory, and down removes that."""
    fleet = lab(1, 1)
    pid = int((fleet.lab.directory / "pid").read_text().split()[0])
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: processes_of(fleet.name) == [])
    with pytest.raises(LabError, match="does not run"):
        simulated.status(fleet.name)
    with pytest.raises(LabError, match="already"):
        simulated.up(fleet.name)
    simulated.down(fleet.name)
    assert fleet.name not in names()


def test_two_labs_side_by_side(lab: MakeLab) -> None:
    one, two = lab(1, 0), lab(1, 0, "debian12")
    assert one.lab.hosts[0].address != two.lab.hosts[0].address
    assert "CentOS" in one.text("cp1", "cat /etc/os-release")
    assert "Debian" in two.text("cp1", "cat /etc/os-release")
    with login(one, "cp1") as a, login(two, "cp1") as b:
        assert execute(a, "hostname")[1] != execute(b, "hostname")[1]


def test_a_hundred_hosts(lab: MakeLab) -> None:
    started = time.monotonic()
    fleet = lab(1, 99)
    took = time.monotonic() - started
    assert took < 20, f"{took:.1f} s"
    lock, answers = threading.Lock(), []

    def ask(host: str) -> None:
        with login(fleet, host) as client:
            answer = execute(client, "hostname")[1]
        with lock:
            answers.append(answer)

    threads = [threading.Thread(target=ask, args=(host,)) for host in fleet.hosts[::5]]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(answers)) == 20


def test_as_an_ordinary_user(tmp_path: Path) -> None:
    """The same works without root. As root, this test becomes `nobody`, who gets to see Python and this project."""
    if os.geteuid() != 0:
        pytest.skip("every other test here shows it")
    project = str(Path(__file__).parents[2])
    folders = [os.path.abspath(path) for path in (project, *sys.path) if os.path.isdir(path)]
    prefix = os.path.realpath(sys.base_prefix)
    lines = ["set -e", "mount -t tmpfs -o mode=0755 none /mnt", "mkdir /mnt/python /mnt/home", "chown 65534 /mnt/home"]
    lines.append(f"mount --bind {shlex.quote(prefix)} /mnt/python")
    for number, folder in enumerate(folders):
        lines.append(f"mkdir /mnt/{number}; mount --bind {shlex.quote(folder)} /mnt/{number}")
    program = "/mnt/python" + os.path.realpath(sys.executable).removeprefix(prefix)
    path = ":".join(f"/mnt/{number}" for number in range(len(folders)))
    environment = f"HOME=/mnt/home PYTHONPATH={path} LD_LIBRARY_PATH=/mnt/python/lib"
    drop = "setpriv --reuid=65534 --regid=65534 --clear-groups --inh-caps=-all"
    lines.append(f"{drop} env {environment} {program} -c {shlex.quote(_ORDINARY)}")
    result = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "\n".join(lines)], capture_output=True, text=True, timeout=120, cwd="/"
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout == "uid 65534\nip-192-168-1-10.localdomain\n1 root\n"


_ORDINARY = """
import os
from kbootstrap_lab import simulated
print("uid", os.getuid())
simulated.up("ordinary", 1, 0)
try:
    command = "hostname; echo x >/etc/x; swapoff -a; systemctl stop firewalld; wc -l </proc/swaps; whoami"
    print(simulated.run("ordinary", "cp1", command).stdout.replace("\\n1\\n", "\\n1 "), end="")
finally:
    simulated.down("ordinary")
"""
