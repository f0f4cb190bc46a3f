"""The steps of `verify`, in dash and in bash, with prepared output instead of a cluster."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shell import SHELLS, sh

from kbootstrap.remote.script import quote, shell_file

pytestmark = pytest.mark.parametrize("shell", SHELLS)

VERIFY = shell_file("phases/verify/nodes.sh") + "is_control_plane() { :; }\nTIMEOUT=0\nVERSION=1.34.2\n"


def node(name: str, ready: str = "True", version: str = "v1.34.2", address: str = "10.0.0.1", reason: str = "") -> str:
    """A line of `nodes`, with the labels that kubeadm gives a node."""
    labels = f'{{"kubernetes.io/hostname":"{name}","kubernetes.io/arch":"amd64","kubernetes.io/os":"linux"}}'
    return "\t".join((name, ready, version, address, labels, reason))


def verify(shell: str, listed: list[str], expected: list[str]) -> list[str]:
    """Run `verify.nodes` for the listed nodes. Returns its reports."""
    nodes_function = "nodes() { cat <<'NODES'\n" + "\n".join(listed) + "\nNODES\n}\n"
    return sh(
        shell,
        VERIFY + nodes_function + "EXPECTED=" + quote("\n".join(expected)) + "\nkb_load() { :; }\nkb_step nodes 0 1\n",
    )


def test_every_problem_of_a_node_is_reported(shell: str) -> None:
    listed = [
        node("good"),
        node("down", ready="Unknown", reason=r"Kubelet stopped posting\node status."),
        node("old", version="v1.33.9"),
        node("moved", address="10.0.0.9"),
    ]
    said = verify(shell, listed, [f"{name} 10.0.0.1" for name in ("good", "down", "old", "moved", "gone")])
    for text in (
        r"node down is not Ready: Kubelet stopped posting\node status.",
        "node old runs v1.33.9, wanted 1.34.2",
        "node moved has address 10.0.0.9, wanted 10.0.0.1",
        "node gone is missing: it never joined, or was deleted",
    ):
        assert text in said
    assert "@m end nodes failed 1" in said
    assert not any("good" in line for line in said)


def test_of_many_nodes_the_one_that_is_not_ready_is_found(shell: str) -> None:
    """The kernel limits one argument of a command to 128 KiB, and the list of these nodes is longer."""
    names = [f"node-{number:04d}" for number in range(2000)]
    listed = [node(name, ready="False" if name == "node-1234" else "True", reason="no disk") for name in names]
    said = verify(shell, listed, [f"{name} 10.0.0.1" for name in names])
    assert [line for line in said if not line.startswith("@m")][:1] == ["node node-1234 is not Ready: no disk"]
    assert "@m end nodes failed 1" in said
    assert "@m end nodes ok" in verify(shell, [node(name) for name in names], [f"{name} 10.0.0.1" for name in names])


def test_a_failed_check_is_no_success(shell: str) -> None:
    said = sh(shell, VERIFY + "troubles() { false; }\nkb_load() { :; }\nkb_step nodes 0 1\n")
    assert "@m end nodes failed 1" in said
    assert "@m end nodes unknown" in sh(
        shell, VERIFY + "troubles() { false; }\nkb_load() { :; }\nkb_step nodes 0 1\n", mode="plan"
    )


CLOCK = """
echo 1000 >now
uptime_seconds() { cut -d . -f 1 now; }
sleep() {
    later=$(echo "$(cat now) $1" | awk '{ print $1 + $2 }')
    echo "$later" >now
}
have_cluster() { :; }
"""


def test_the_wait_goes_by_the_clock_and_always_says_why(shell: str, tmp_path: Path) -> None:
    """Against a busy API server one look takes half a minute. The step's limit would end it without a word."""
    looks = "troubles() { echo look >>looks; sleep 30; echo 'pod a/b: Pending'; }\n"
    said = sh(
        shell, f"cd {tmp_path}\n{CLOCK}{looks}wait_out_troubles 300 'see there' || echo status $?\n", folder=tmp_path
    )
    assert "pod a/b: Pending" in said
    assert "@m hint see there" in said
    assert "status 1" in said
    assert int((tmp_path / "now").read_text()) <= 1000 + 300 + 31
    assert len((tmp_path / "looks").read_text().splitlines()) == 10


def test_a_look_that_fails_until_the_end_has_a_reason_too(shell: str, tmp_path: Path) -> None:
    script = f"cd {tmp_path}\n{CLOCK}troubles() {{ false; }}\nwait_out_troubles 5 'see there' || echo status $?\n"
    assert "the cluster does not say how it is" in sh(shell, script, folder=tmp_path)


def test_the_wait_for_the_api_server_is_two_minutes_by_the_clock(shell: str, tmp_path: Path) -> None:
    script = f"cd {tmp_path}\n{CLOCK}api_answers() {{ sleep 15; false; }}\nwait_for_api\n"
    assert any("does not answer" in line for line in sh(shell, script, folder=tmp_path))
    assert int((tmp_path / "now").read_text()) <= 1000 + 120 + 17


def pod(name: str, node: str, phase: str = "Running", ready: str = "true", owner: str = "ReplicaSet") -> str:
    return "\t".join(("kube-system", name, phase, ready, owner, "", "", node))


def test_pods_of_lost_nodes_are_not_waited_for(shell: str, tmp_path: Path) -> None:
    """They are reported with their host, and nobody can end them. The list of nodes may be longer than an argument."""
    listed = [pod("dns-1", "w2", ready="false"), pod("dns-2", "", "Pending", ""), pod("dns-3", "w1", ready="false")]
    pods = "pods() { cat <<'PODS'\n" + "\n".join(listed) + "\nPODS\n}\n"
    lost = "\n".join([f"node-{number:05d}-with-a-long-name" for number in range(5000)] + ["w2"])
    script = shell_file("phases/verify/pods.sh") + pods + f"LOST={quote(lost)}\ntroubles | sort -u\n"
    assert sh(shell, script, folder=tmp_path) == [
        "kube-system/dns-2: Pending, not ready",
        "kube-system/dns-3: Running, not ready",
        "status 0",
    ]
