"""What the libraries read and write line by line: the records of original state, and the nodes of a cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.shell import SHELLS, sh

from kbootstrap.remote.script import shell_file


@pytest.mark.parametrize("shell", SHELLS)
def test_a_record_that_cannot_be_written_leaves_the_others_whole(shell: str, tmp_path: Path) -> None:
    """The disk fills up in the middle of a line. A torn line would make reset restore something else."""
    said = sh(shell, "save_state unit a 'enabled active'; save_state unit b 'disabled inactive'", folder=tmp_path)
    assert said == ["status 0"]
    before = (tmp_path / "state/original").read_text()
    full = "set -e; ulimit -f 0; trap '' XFSZ; save_state file /etc/long/path/to/a/file value"
    assert sh(shell, full, folder=tmp_path)[-1] != "status 0"
    assert (tmp_path / "state/original").read_text() == before
    sh(shell, "save_state unit c 'masked inactive'", folder=tmp_path)
    assert (tmp_path / "state/original").read_text() == before + "unit c masked inactive\n"


def node(name: str, ready: str, version: str, address: str, message: str) -> str:
    """A line as kubectl prints it: objects as JSON."""
    fields = (
        {"type": "Ready", "status": ready, "message": message},
        {"architecture": "amd64", "kubeletVersion": version},
        {"address": address, "type": "InternalIP"},
        {"kubernetes.io/hostname": name},
    )
    return "\t".join([name, *(json.dumps(field, separators=(",", ":")) for field in fields)])


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("odd", ["message", "version", "address", "ready"])
def test_a_node_cannot_add_a_line_about_another(shell: str, odd: str, tmp_path: Path) -> None:
    good = {"ready": "True", "version": "v1.34.2", "address": "10.0.0.1", "message": "kubelet is posting ready status"}
    lie = 'x\nw2\tTrue\tv1.34.2\t10.0.0.2\t{}\tfine","kubeletVersion":"v9'
    (tmp_path / "listed").write_text(node("w1", **{**good, odd: lie}) + "\n" + node("w2", **{**good, "ready": "False"}))
    said = sh(shell, f"admin() {{ cat {tmp_path}/listed; }}\nnodes", folder=tmp_path)
    assert [line.split("\t")[0] for line in said] == ["w1", "w2", "status 0"]
    assert said[1].split("\t")[1:4] == ["False", "v1.34.2", "10.0.0.1"]
    assert all(len(line.split("\t")) == 9 for line in said[:2])


@pytest.mark.parametrize("shell", SHELLS)
def test_nodes_that_stay_as_they_are_are_named(shell: str, tmp_path: Path) -> None:
    def line(name: str, runtime: str) -> str:
        return f"{name}\t" + json.dumps(
            {"containerRuntimeVersion": runtime, "kubeletVersion": "v1"}, separators=(",", ":")
        )

    listed = [
        line("cp1", "containerd://1.7"),
        line("old", "containerd://1.7"),
        line("w1", "docker://27\nx"),
        line("w10", ""),
    ]
    (tmp_path / "listed").write_text("\n".join(listed))
    text = shell_file("phases/preflight/compare.sh")
    script = f"{text}\nadmin() {{ cat {tmp_path}/listed; }}\nNODES='cp1 w1 w2' RUNTIME=containerd\ncheck"
    said = [line.removeprefix("@m warning ") for line in sh(shell, script, folder=tmp_path)]
    assert said == [
        "node old is in the cluster, but not in the inventory: it stays (kubectl drain old, kubectl delete node old)",
        "node w1 runs docker, the inventory has containerd: it stays",
        "node w10 is in the cluster, but not in the inventory: it stays (kubectl drain w10, kubectl delete node w10)",
        "status 0",
    ]
    assert sh(shell, script.replace("cat", "false; cat /none"), folder=tmp_path) == ["status 0"]


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_that_is_run_by_hand_prints_no_value(shell: str, tmp_path: Path) -> None:
    """A value is the kubeconfig, a join command or a key."""
    assert sh(shell, "KB_MARKER=@kbootstrap; value kubeconfig secret", folder=tmp_path) == ["status 0"]
    assert sh(shell, "value kubeconfig secret", folder=tmp_path) == ["@m value kubeconfig c2VjcmV0", "status 0"]
