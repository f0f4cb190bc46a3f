"""The fault matrix on real kubeadm: four faults (a step fails, the connection breaks, kbootstrap is killed, the host
reboots) in four phases (packages, init, network, join). It uses one lab and few runs of `up`, with several faults each.
"""

from __future__ import annotations

import subprocess

from support.driver import Fleet
from support.kubectl import assert_healthy, eventually
from support.labs import MakeLab

WAITS = r"""
cat >/usr/local/sbin/{command} <<'EOF'
#!/bin/sh
case "$*" in
    *{words}*)
        : >/run/at-{command}
        until [ -e /run/go-{command} ]; do sleep 0.1; done
        how=$(cat /run/go-{command})
        rm -f /usr/local/sbin/{command} /run/at-{command} /run/go-{command}
        if [ "$how" = fail ]; then
            echo '{command}: a test has it fail' >&2
            exit 1
        fi
        ;;
esac
exec /usr/bin/{command} "$@"
EOF
chmod 755 /usr/local/sbin/{command}
"""
"""A command that waits, once, when it is called with these words: then it runs, or fails."""


class Struck:
    """A run of `up`, and its faults."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self.process: subprocess.Popen[str] = fleet.start("up", "--yes", "--output", "lines", str(fleet.inventory))
        self._said: list[str] = []

    def waits_at(self, host: str, command: str) -> None:
        self._eventually(f"{host} is at {command}", host, f"[ -e /run/at-{command} ]")

    def goes_on(self, host: str, command: str, how: str = "run") -> None:
        self._fleet.text(host, f"echo {how} >/run/go-{command}.new; mv /run/go-{command}.new /run/go-{command}")

    def is_in_the_middle(self, host: str, place: str) -> None:
        """Wait until kubeadm runs on the host and its file exists, which is for a few seconds only."""
        middle = f"pgrep -f '^[^ ]*kubeadm (init|join)' >/dev/null && [ -e {place} ]"
        waits = f"n=0; until {middle}; do n=$((n + 1)); [ $n -lt 2000 ] || exit 1; sleep 0.05; done"
        assert self._fleet.run(host, waits).returncode == 0, self._end()

    def cut(self, host: str) -> None:
        """Break the SSH connections of a host once, and wait until the run notices."""
        self._fleet.text(host, "pkill -KILL -f '^sshd(-session)?: kb'")
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._said.append(line)
            if f"{host} " in line and "the connection broke" in line:
                return
        raise AssertionError(self._end())

    def _eventually(self, what: str, host: str, holds: str) -> None:
        eventually(what, lambda: self._fleet.run(host, holds).returncode == 0 or self.process.poll() is not None)
        assert self.process.poll() is None, self._end()

    def kill(self) -> None:
        self.process.kill()
        self._end()

    def ends(self, *codes: int) -> str:
        said = self._end()
        assert self.process.returncode in codes, said
        assert "Traceback" not in said
        return said

    def _end(self) -> str:
        out, err = self.process.communicate(timeout=600)
        return "".join(self._said) + out + err


def test_four_faults_at_four_places(lab: MakeLab) -> None:
    fleet = lab(1, 2)

    def wait_at(host: str, command: str, words: str) -> None:
        fleet.text(host, WAITS.format(command=command, words=words))

    # Packages: fail, cut, reboot. Init: fail.
    for host in fleet.hosts:
        wait_at(host, "dnf", "kubelet-")
    wait_at("cp1", "kubeadm", "init\\ --config")
    run = Struck(fleet)
    for host in fleet.hosts:
        run.waits_at(host, "dnf")
    run.cut("w1")
    fleet.fault("w2", "reboot")
    run.goes_on("w1", "dnf")
    run.goes_on("cp1", "dnf", "fail")
    run.waits_at("cp1", "kubeadm")
    run.goes_on("cp1", "kubeadm", "fail")
    said = run.ends(1, 4)
    assert "packages.kubernetes failed, retrying in 2 s" in said
    assert "init.init failed" in said
    assert "w2: packages.kubernetes failed" in said

    # Init: cut, reboot. Packages: kill.
    wait_at("w2", "dnf", "kubelet-")
    run = Struck(fleet)
    run.waits_at("w2", "dnf")
    run.is_in_the_middle("cp1", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    run.cut("cp1")
    run.is_in_the_middle("cp1", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    fleet.fault("cp1", "reboot")
    run.kill()
    run.goes_on("w2", "dnf")
    assert "reset this host: init" in fleet.kbootstrap("plan", str(fleet.inventory))

    # Init: kill.
    run = Struck(fleet)
    run.is_in_the_middle("cp1", "/etc/kubernetes/manifests/kube-apiserver.yaml")
    run.kill()

    # Network: cut, fail. Join: fail, reboot.
    wait_at("cp1", "kubectl", "apply\\ -f")
    for host in ("w1", "w2"):
        wait_at(host, "kubeadm", "join\\ --config")
    run = Struck(fleet)
    run.waits_at("cp1", "kubectl")
    run.cut("cp1")
    run.goes_on("cp1", "kubectl", "fail")
    for host in ("w1", "w2"):
        run.waits_at(host, "kubeadm")
    run.goes_on("w1", "kubeadm", "fail")
    run.goes_on("w2", "kubeadm")
    run.is_in_the_middle("w2", "/etc/kubernetes/bootstrap-kubelet.conf")
    fleet.fault("w2", "reboot")
    said = run.ends(1, 4)
    assert "network.flannel failed, retrying in 2 s" in said
    assert "w1: join.join failed" in said

    # Network: kill, reboot.
    admin = "kubectl --kubeconfig /etc/kubernetes/admin.conf"
    fleet.text("cp1", f"{admin} -n kube-flannel annotate daemonset kube-flannel-ds kbootstrap/manifest-")
    wait_at("cp1", "kubectl", "apply\\ -f")
    run = Struck(fleet)
    run.waits_at("cp1", "kubectl")
    run.kill()
    fleet.fault("cp1", "reboot")
    fleet.text("cp1", "rm -f /usr/local/sbin/kubectl")

    # Join: cut, kill. (The kubelet of w2 may have joined by itself when its host was up again.)
    wait_at("w1", "kubeadm", "join\\ --config")
    run = Struck(fleet)
    run.waits_at("w1", "kubeadm")
    run.cut("w1")
    run.kill()
    run.goes_on("w1", "kubeadm")

    done = fleet.up()
    assert done.result["status"] == "ok"
    assert_healthy(fleet)
    assert fleet.plan().result["change"] == 0
    assert fleet.up().result["changed"] == 0
