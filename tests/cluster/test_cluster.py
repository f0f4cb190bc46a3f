"""kbootstrap with real kubeadm, systemd and package managers. Each test is a sequence of steps on one cluster."""

from __future__ import annotations

import contextlib
import signal
import statistics
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from support.driver import Fleet
from support.host_state import RUNTIME_STATE, Entry, not_files, put_back
from support.kubectl import (
    assert_healthy,
    deploy_probe,
    eventually,
    items,
    kubectl,
    on_path,
    ready_nodes,
    restless_pods,
    slowest,
)
from support.labs import MakeLab

from kbootstrap.secret import Secret

SUDO_PASSWORD = "correct horse battery"


def test_four_fresh_hosts(lab: MakeLab, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The main use, with an image repository, networks and an address as in the classic manual procedure."""
    monkeypatch.setenv("KB_SUDO_PASSWORD", SUDO_PASSWORD)
    fleet = lab(1, 3, sudo_password=Secret(SUDO_PASSWORD))
    address = fleet.lab.hosts[0].address
    fleet.change_inventory(
        lambda text: text.replace(
            "  runtime:\n",
            "  runtime:\n    version: 1.6.20\n",
        ).replace(
            "cluster:\n",
            "cluster:\n"
            "  image_repository: packages.lab/google_containers\n"
            "  pod_cidr: 10.244.0.0/16\n"
            "  service_cidr: 10.96.0.0/12\n"
            f"  control_plane_endpoint: {address}:6443\n",
        )
    )
    before = fleet.snapshot(*RUNTIME_STATE)
    planned = fleet.plan()
    assert fleet.snapshot(*RUNTIME_STATE) ^ before == set()
    assert planned.those("change") >= {("cp1", "init", "init"), ("w3", "join", "join"), ("w1", "prepare", "swap")}

    with pulls_no_image(fleet, "w3", until=lambda: {"w1", "w2"} <= ready_nodes(fleet)):
        first = fleet.up()
    with capsys.disabled():
        print(f"\n{slowest(first)}")
    assert first.result["seconds"] < on_path(first) * 1.05 + 1, "something besides the critical path took its time"
    assert planned.those("change") <= first.those("changed")
    assert first.those("changed") <= planned.those("change") | planned.those("unknown")
    assert_healthy(fleet)
    flannel_has_started_at_the_first_try(fleet)
    images = {c["image"] for pod in items(fleet, "pods -n kube-system") for c in pod["spec"]["containers"]}
    assert {image.rpartition("/")[0] for image in images} == {"packages.lab/google_containers"}

    pods = deploy_probe(fleet)
    service = kubectl(fleet, "get service probe -o jsonpath={.spec.clusterIP}")
    for host in fleet.hosts:
        for pod in pods:
            assert fleet.text(host, f"curl -fsS --max-time 5 http://{pod}:8080/name").startswith("probe-")
        assert fleet.text(host, f"curl -fsS --max-time 5 http://{service}/name").startswith("probe-")
    ask = "import ssl, urllib.request as u; u.urlopen('https://kubernetes.default.svc/version', timeout=5, context={})"
    for each in items(fleet, "pods -l app=probe"):
        script = ask.format("ssl._create_unverified_context()")
        kubectl(fleet, f'exec {each["metadata"]["name"]} -- python3 -c "{script}"')
    fetch = "import urllib.request as u; print(u.urlopen('http://{}/name', timeout=5).read().decode())"
    for target in (f"{pods[0]}:8080", f"{pods[1]}:8080", f"{pods[2]}:8080", "probe.default.svc.cluster.local"):
        script = fetch.format(target)
        assert kubectl(fleet, f'exec deployment/probe -- python3 -c "{script}"').startswith("probe-")

    scripts = scopes(fleet, "cp1")
    assert {"prepare", "init", "network"} <= scripts, "scripts that change something leave the SSH session"
    a_second_up_costs_what_a_plan_costs(fleet, capsys)
    assert scopes(fleet, "cp1") == scripts

    for host in fleet.hosts:
        fleet.fault(host, "reboot")
    eventually("every node is Ready again", lambda: ready_nodes(fleet) == set(fleet.hosts))
    eventually("every system pod runs again", lambda: restless_pods(fleet) == [])
    fleet.kbootstrap("verify", "--deep", str(fleet.inventory))
    assert_healthy(fleet)
    assert fleet.up().result["changed"] == 0
    eventually("the Service answers again", lambda: fleet.run("w1", f"curl -fsS -m 5 http://{service}").returncode == 0)


def flannel_has_started_at_the_first_try(fleet: Fleet) -> None:
    """No flanneld gave up, and no pod was started before its node had its part of the pod network."""
    pods = items(fleet, "pods -n kube-flannel")
    assert {c["restartCount"] for pod in pods for c in pod["status"]["containerStatuses"]} == {0}
    failed = [event["message"] for event in items(fleet, "events -n kube-system") if "PodSandBox" in event["reason"]]
    assert failed == []


@contextlib.contextmanager
def pulls_no_image(fleet: Fleet, host: str, until: Callable[[], bool]) -> Iterator[None]:
    """Make a host whose image pulls wait until a condition holds. A run that waits for these pulls first never ends.

    A run that succeeds has therefore pulled images while init ran, and the slow worker has delayed no other host.
    """
    go, waits = "/run/pull-images", "/usr/local/sbin/crictl"
    holds = f'[ "$1" != pull ] || until [ -e {go} ]; do sleep 0.2; done'
    script = f'#!/bin/sh\n{holds}\nPATH=/usr/sbin:/usr/bin\nexec crictl "$@"\n'
    fleet.text(host, f"cat >{waits} && chmod 755 {waits}", stdin=script)

    def release() -> None:
        eventually(f"all is done that does not need {host}", until, 300)
        fleet.text(host, f": >{go}")

    with ThreadPoolExecutor() as pool:
        released = pool.submit(release)
        yield
        released.result()
    fleet.text(host, f"rm {waits} {go}")


def a_second_up_costs_what_a_plan_costs(fleet: Fleet, capsys: pytest.CaptureFixture[str]) -> None:
    """By the medians of at least three and at most twelve rounds; which of the two begins a round changes."""
    seconds: dict[str, list[float]] = {"up": [], "plan": []}

    def second_up() -> None:
        ended = fleet.up().result
        assert ended["changed"] == 0
        seconds["up"].append(ended["seconds"])

    def plan() -> None:
        ended = fleet.plan("--exit-code").result
        assert ended["change"] == 0
        seconds["plan"].append(ended["seconds"])

    for number in range(12):
        for run in (second_up, plan) if number % 2 else (plan, second_up):
            run()
        if number >= 2 and statistics.median(seconds["up"]) < statistics.median(seconds["plan"]) * 1.1 + 0.1:
            break
    else:
        pytest.fail(f"a second up costs more than a plan: {seconds}")
    with capsys.disabled():
        print(f"second up, plan: {seconds}")


def scopes(fleet: Fleet, host: str) -> set[str]:
    """The phases whose scripts ran in their own systemd scope."""
    started = fleet.text(
        host, "journalctl -o cat | sed -n 's/^Started kbootstrap-r-[0-9T]*-[0-9a-f]*-\\([a-z]*\\)[.]scope.*/\\1/p'"
    )
    return set(started.split())


def test_mixed_interrupted_grown_and_reset(lab: MakeLab) -> None:
    """A Debian control plane and EL workers, two with dead repositories: killed in init and join, grown, reset."""
    fleet = lab(1, 3, distributions=("debian12", "centos8", "centos7", "centos9"))
    plain, others = put_back(fleet), not_files(fleet)
    whole = fleet.inventory.read_text()
    without_w3 = "".join(line for line in whole.splitlines(keepends=True) if "name: w3" not in line)
    fleet.inventory.write_text(without_w3)

    kill_during(fleet, "cp1", "kubeadm init")
    kill_during(fleet, "w2", "kubeadm join")
    done = fleet.up()
    assert done.result["failed"] == 0
    assert ready_nodes(fleet) == {"cp1", "w1", "w2"}
    assert fleet.plan().result["change"] == 0

    fleet.inventory.write_text(whole)
    grown = fleet.up()
    changed = grown.those("changed")
    # On the other hosts only /etc/hosts changes, which lists the new node, and one of them makes a token for the join.
    assert {(phase, step) for host, phase, step in changed if host != "w3"} == {
        ("prepare", "hosts"),
        ("join-token", "join-token"),
        ("delete-join-token", "delete-join-token"),
    }
    assert_healthy(fleet)
    a_worker_leaves_and_comes_back(fleet)
    everything_is_as_before(fleet, plain, others)


def a_worker_leaves_and_comes_back(fleet: Fleet) -> None:
    fleet.events("reset", "--yes", "--purge", "--limit", "w3")
    eventually("the others are Ready", lambda: ready_nodes(fleet) == {"cp1", "w1", "w2"})
    assert fleet.run("w3", "command -v kubeadm || command -v containerd").returncode != 0
    assert fleet.events("reset", "--yes", "--purge", "--limit", "w3").result["changed"] == 0
    fleet.up()
    assert_healthy(fleet)


def everything_is_as_before(fleet: Fleet, plain: set[Entry], others: dict[str, tuple[set[str], str]]) -> None:
    planned = fleet.events("reset", "--dry-run")
    done = fleet.events("reset", "--yes")
    assert planned.those("change") == done.those("changed"), planned.those("change") ^ done.those("changed")
    assert sorted(put_back(fleet) ^ plain) == []
    for host, (units, state) in not_files(fleet).items():
        assert (units - {"kubelet.service disabled"}, state) == others[host]
    assert fleet.events("reset", "--yes").result["changed"] == 0


def kill_during(fleet: Fleet, host: str, command: str) -> None:
    """Run `up` and send it SIGKILL as soon as the command runs on the host."""
    process = fleet.start("up", "--yes", "--output", "lines", str(fleet.inventory))
    try:
        # Everything before it has to be done first.
        eventually(f"{command} runs", lambda: runs(fleet, host, command) or process.poll() is not None, seconds=300)
        assert process.poll() is None, process.communicate()
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()


def runs(fleet: Fleet, host: str, command: str) -> bool:
    found: subprocess.CompletedProcess[str] = fleet.run(host, f"pgrep -f '^[^ ]*{command}'")
    return found.returncode == 0
