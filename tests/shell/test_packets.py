"""The step that sends packets between pods, in dash and in bash: a prepared kubectl instead of a cluster, real busybox.

The prepared kubectl runs what it is asked to run in a pod with busybox on this machine, and busybox's netcat is the pod
that answers. So the commands for the pods are those that run in Flannel's image.
"""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.examples import context, inventory
from support.shell import SHELLS, sh

from kbootstrap.phases.phase import Context
from kbootstrap.phases.verify.connections import deep_step, packet_step
from kbootstrap.remote.script import quote, shell_file
from kbootstrap.steps import Step

pytestmark = pytest.mark.parametrize("shell", SHELLS)
busybox = pytest.mark.skipif(shutil.which("busybox") is None, reason="needs busybox")

KUBECTL = """#!/bin/sh
here={folder}
while :; do
    case $1 in
        --kubeconfig | --cache-dir | -n) shift 2 ;;
        --request-timeout*) shift ;;
        *) break ;;
    esac
done
echo "$*" | head -n 1 >>"$here/calls"
[ ! -e "$here/state/pod-network" ] || touch "$here/recorded-early"
case "$1 $2" in
    create*)
        cp "$4" "$here/made"
        cat "$here/refused" 2>/dev/null && exit 1 || exit 0
        ;;
    "get pods")
        case $* in *kube-dns*) cat "$here/dns" 2>/dev/null ;; *) cat "$here/pods" ;; esac
        ;;
    "get daemonset") [ ! -e "$here/image" ] || cat "$here/image" ;;
    "get service") printf '127.0.0.1 %s' 30080 ;;
    exec*)
        if [ -e "$here/broken" ]; then
            echo "error dialing backend: dial tcp 10.0.0.2:10250: i/o timeout" >&2
            exit 1
        fi
        shift 4
        exec env "PATH=$here/applets:$PATH" busybox "$@"
        ;;
esac
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A host: its kubectl, the applets of a pod, and its folders."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/kubectl").write_text(KUBECTL.format(folder=tmp_path))
    (tmp_path / "bin/kubectl").chmod(0o755)
    (tmp_path / "applets").mkdir()
    for name in ("wget", "nc", "sh"):
        (tmp_path / "applets" / name).symlink_to(shutil.which("busybox") or "/bin/busybox")
    return tmp_path


@pytest.fixture
def made(tmp_path: Path) -> Context:
    (tmp_path / "inventory").mkdir()
    return context(inventory(tmp_path / "inventory", workers=2))


@pytest.fixture
def server(tmp_path: Path, made: Context) -> Iterator[int]:
    """A port where a pod of the test answers on every address of this machine's loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
    pod = json.loads(str(packet(made).params["POD"]))
    *command, _own_port = pod["spec"]["containers"][0]["command"]
    path = f"{tmp_path}/applets:/usr/bin:/bin"
    process = subprocess.Popen(["busybox", *command, str(port)], env={"PATH": path, "NODE": "w1"})
    try:
        _until_listening(port)
        yield port
    finally:
        process.kill()
        process.wait()


def _until_listening(port: int) -> None:
    for _ in range(200):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(f"nobody listens on {port}")


def packet(made: Context) -> Step:
    return packet_step(made, made.inventory.first_control_plane, made.inventory.hosts)


def deep(made: Context) -> Step:
    return deep_step(replace(made, deep=True), made.inventory.first_control_plane, made.inventory.hosts)


def pods(folder: Path, *addresses: str, phase: str = "Running") -> None:
    """What the API server says about the pods of the first nodes."""
    lines = [f"node-{number}\t{phase}\t{at}\ttrue\t\t" for number, at in enumerate(addresses, 1)]
    (folder / "pods").write_text("\n".join(lines) + "\n")


def script(folder: Path, step: Step, **changed: Any) -> str:
    params = {**step.params, **changed}
    values = "".join(f"{name}={quote(str(value))}\n" for name, value in params.items())
    return (
        f"PATH={folder}/bin:$PATH\nis_control_plane() {{ :; }}\n{values}" + shell_file(f"phases/{step.script}") + "\n"
    )


def run(shell: str, folder: Path, step: Step, **changed: Any) -> list[str]:
    """Run the step; the last line is the script's status."""
    text = script(folder, step, **changed)
    return sh(shell, text + f"kb_load() {{ :; }}\nkb_step {step.id} 0 1\n", folder=folder)


def rows(shell: str, folder: Path, step: Step, prepare: str = ":", **changed: Any) -> list[list[str]]:
    """The rows that the step would hand over, from a working folder that ``prepare`` changes."""
    text = script(folder, step, **changed)
    said = sh(shell, text + f'mkdir -p "$WORK"\nnamespace=n\npods_now >"$WORK/pods"\n{prepare}\nrows\n', folder=folder)
    return [line.split("\t") for line in said[:-1]]


@busybox
def test_a_packet_is_sent_by_the_client_and_answered_by_the_server_of_the_pods(
    shell: str, folder: Path, made: Context, server: int
) -> None:
    pods(folder, "127.0.0.2", "127.0.0.3")
    said = run(shell, folder, packet(made), SERVER_PORT=server)
    assert said[-2:] == ["@m end packet ok", "status 0"]
    calls = (folder / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls] == ["delete", "get", "create", "get", "exec", "delete"]
    assert calls[0] == "delete namespace -l kbootstrap/test=pod-network --wait=false"
    assert calls[-1].startswith("delete namespace kbootstrap-test-")
    objects = [json.loads(line) for line in (folder / "made").read_text().splitlines() if line != "---"]
    assert [each["kind"] for each in objects] == ["Namespace", "ServiceAccount", "Pod", "Pod"]
    assert [each["spec"]["nodeName"] for each in objects[2:]] == ["cp1", "w1"]
    assert "%" not in json.dumps([each["metadata"] for each in objects])
    assert not (folder / "recorded-early").exists(), "who is killed before the pods are removed leaves no record"
    record = (folder / "state/pod-network").read_text().splitlines()
    assert {"node cp1 192.168.1.10", "node w1 192.168.1.11", "node w2 192.168.1.12"} <= set(record)
    (folder / "calls").unlink()
    assert run(shell, folder, packet(made))[-2:] == ["@m end packet ok", "status 0"]
    assert not (folder / "calls").exists(), "the record counts"
    assert not (folder / "pod-network").exists()


def test_the_record_counts_for_its_nodes_its_network_and_runs_that_change_nothing(
    shell: str, folder: Path, made: Context
) -> None:
    def checked(**changed: Any) -> list[str]:
        return sh(shell, script(folder, packet(made), **changed) + "check\n", folder=folder)

    assert checked() == ["packets between pods of these nodes: not tested yet", "status 1"]
    sh(shell, script(folder, packet(made)) + 'before=; RETEST=one; mkdir -p "$KB_STATE"; write_record\n', folder=folder)
    assert checked() == ["status 0"]
    assert checked(RETEST="one") == ["status 0"]
    assert checked(RETEST="two") == ["packets between pods: not tested in this run", "status 1"]
    assert checked(NETWORK="other")[-1] == "status 1"
    assert checked(EXPECTED="cp1 192.168.1.10") == ["status 0"], "fewer nodes"
    assert checked(EXPECTED="cp1 192.168.1.10\nnew 192.168.1.20")[-1] == "status 1"


@busybox
def test_every_connection_is_handed_over_and_the_failing_one_is_named(
    shell: str, folder: Path, made: Context, server: int
) -> None:
    pods(folder, "127.0.0.2", "127.0.0.3", "127.0.0.300")
    said = run(shell, folder, deep(made), SERVER_PORT=server, DOMAIN="invalid")
    assert said[-1] == "status 1"
    assert any(line.startswith("@m value connections ") for line in said)
    text = "\n".join(said)
    for source in ("cp1", "w1"):
        assert f"{source} -> w2, pod to pod: wget: bad address '127.0.0.300:{server}'" in text
    assert "cp1, DNS: wget: bad address 'test.kbootstrap-test-" in text
    assert "CoreDNS has no ready pod: kubectl -n kube-system get pods -l k8s-app=kube-dns" in text
    assert "connections failed, the first: cp1 -> w2, pod to pod" in text
    assert not (folder / "state/pod-network").exists(), "the next run tests again"


def test_a_pod_that_does_not_start_and_a_kubelet_that_is_not_reached_are_named(
    shell: str, folder: Path, made: Context
) -> None:
    waiting = '{"message":"Back-off pulling image","reason":"ImagePullBackOff"}'
    (folder / "pods").write_text(f"node-1\tRunning\t127.0.0.2\ttrue\t\t\nnode-2\tPending\t\tfalse\t\t{waiting}\n")
    (folder / "broken").touch()
    found = rows(
        shell, folder, deep(made), "deadline=999999999\nlist_targets\nask_from_nodes", TESTED="cp1 a\nw1 b\nw2 c"
    )
    nodes = {row[1]: row[4:] for row in found if row[0] == "node"}
    assert nodes == {
        "cp1": [
            "kubectl exec: error dialing backend: dial tcp 10.0.0.2:10250: i/o timeout",
            "A firewall may drop TCP port 10250 of cp1.",
        ],
        "w1": ["ImagePullBackOff Back-off pulling image", "See journalctl -u kubelet on w1."],
        "w2": ["not listed by the API server", "See journalctl -u kubelet on w2."],
    }
    assert {row[3] for row in found if row[0] != "node"} == {"untested"}


@pytest.mark.parametrize(
    ("line", "changed", "cause"),
    [
        ("1 pod 2 no answer", {}, "A firewall may drop UDP port 8472 (VXLAN) between cp1 and w1. Open it both ways."),
        ("1 pod 2 no answer", {"TUNNEL": ""}, "host-gw needs cp1 and w1 in one layer 2 network"),
        (
            "1 pod 2 wget: x: Connection refused",
            {},
            "Another network may use the addresses of cluster.network.pod_cidr.",
        ),
        ("1 service - no answer", {}, "kube-proxy on cp1 may not work"),
        ("1 node-port - no answer", {}, "A firewall of cp1 may drop TCP ports 30000-32767"),
        ("2 node-port - no answer", {}, "A firewall of w1 may drop TCP ports 30000-32767"),
    ],
)
def test_a_failing_connection_has_its_likely_cause(
    shell: str, folder: Path, made: Context, line: str, changed: dict[str, str], cause: str
) -> None:
    pods(folder, "127.0.0.2", "127.0.0.3")
    prepare = f'list_targets; echo {quote(line)} >"$WORK/said.1"'
    found = [
        row for row in rows(shell, folder, deep(made), prepare, **changed) if row[3] == "failed" and row[0] != "node"
    ]
    assert len(found) == 1
    assert found[0][5].startswith(cause)


def test_above_fifty_nodes_each_asks_the_next_one_and_four_others(shell: str, folder: Path, made: Context) -> None:
    count = 60
    listed = "\n".join(f"n{number} 10.0.0.{number}" for number in range(1, count + 1))
    pods(folder, *(f"10.244.{number}.2" for number in range(1, count + 1)))
    prepare = 'list_targets; cat "$WORK/targets"; rows() { :; }'
    found = rows(shell, folder, deep(made), prepare, TESTED=listed)
    pairs = {(int(row[0]), int(row[2])) for row in found if row[1] == "pod"}
    assert len(pairs) == 5 * count
    assert {(one, one % count + 1) for one in range(1, count + 1)} <= pairs
    assert all(one != other for one, other in pairs)
    fifty = "\n".join(listed.splitlines()[:50])
    found = rows(shell, folder, deep(made), prepare, TESTED=fifty)
    assert len({(row[0], row[2]) for row in found if row[1] == "pod"}) == 50 * 49


def test_the_reason_is_printed_when_the_time_is_over(shell: str, folder: Path, made: Context) -> None:
    pods(folder, "127.0.0.2", "127.0.0.3")
    said = run(shell, folder, packet(made), TIMEOUT=3)
    assert "cp1 -> w1, pod to pod: no time was left" in said
    assert said[-2:] == ["@m end packet failed 64", "status 1"]


def test_a_cluster_that_refuses_the_pods_is_a_warning_in_up_and_an_error_in_verify_deep(
    shell: str, folder: Path, made: Context
) -> None:
    text = 'Error from server (Forbidden): admission webhook "policy" denied the request: no such registry'
    (folder / "refused").write_text(text + "\n")
    said = run(shell, folder, packet(made))
    assert f"@m warning the cluster refuses the pods of the packet test, so no packet was sent: {text}" in said
    assert said[-1] == "status 0"
    said = run(shell, folder, deep(made), RETEST="again")
    assert f"the pods of the test cannot be made: {text}" in said
    assert said[-1] == "status 1"


def test_a_test_that_is_killed_leaves_no_record_and_the_next_one_removes_its_pods_first(
    shell: str, folder: Path, made: Context
) -> None:
    (folder / "state").mkdir()
    (folder / "state/pod-network").write_text("network x\n")
    pods(folder, "127.0.0.2", "127.0.0.3")
    text = script(folder, packet(made)) + "wait_for_pods() { kill -9 $$; }\nkb_load() { :; }\nkb_step packet 0 1\n"
    sh(shell, text, folder=folder)
    assert not (folder / "state/pod-network").exists()
    calls = (folder / "calls").read_text().splitlines()
    assert [call.split()[0] for call in calls][:2] == ["delete", "get"]
    assert calls[0] == "delete namespace -l kbootstrap/test=pod-network --wait=false"


def test_the_pods_have_the_image_that_the_nodes_have(shell: str, folder: Path, made: Context) -> None:
    """A cluster may run an older Flannel than the one of this kbootstrap."""
    (folder / "refused").write_text("no\n")
    run(shell, folder, deep(made))
    assert f'"image": "{deep(made).params["IMAGE"]}"' in (folder / "made").read_text()
    (folder / "image").write_text("docker.io/flannel/flannel:v0.1.0")
    run(shell, folder, deep(made))
    assert '"image": "docker.io/flannel/flannel:v0.1.0"' in (folder / "made").read_text()
    assert (folder / "made").read_text().startswith("---\n"), "else kubectl takes it for a stream of JSON"


def test_the_namespace_is_removed_when_the_step_is_ended(shell: str, folder: Path, made: Context) -> None:
    pods(folder, "127.0.0.2", "127.0.0.3")
    step = packet(made)
    text = script(folder, step) + "set -eu\n(\nwait_for_pods() { sh -c 'kill -TERM $PPID'; sleep 1; }\napply\n)\n"
    assert sh(shell, text, folder=folder)[-1] == "status 143"
    assert (folder / "calls").read_text().splitlines()[-1].startswith("delete namespace kbootstrap-test-")
