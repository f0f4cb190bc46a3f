"""Hosts that are no longer their owner's: each is a clear error, the others go on, and no lie gets any further."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from support.driver import RUN_S, Events, Fleet
from support.labs import MakeLab

from kbootstrap.text import printable

MOST_MEMORY_KIB = 300 * 1024

# What a host does, where it is found out, and what is said of it by plan and by up.
MANNERS = {
    "greeting-flood": ("ssh", "more than 16 MiB of output, or 10000 answers", ""),
    "facts-flood": ("facts", "facts have more than 5000 lines", ""),
    "facts-huge": ("facts", "facts are invalid: 9999", ""),
    "facts-clock": ("facts", "facts are invalid: nan", ""),
    "flood": ("reach", "sent more than 200000 lines for one script", ""),
    "endless-line": ("reach", "more than 16 MiB of output", ""),
    "warnings": ("reach", "sent more than 30 warnings", ""),
    "answers": ("reach", "or 10000 answers", ""),
    "garbage": ("reach", "sent an unknown report: 'nonsense'", ""),
    "closes": ("reach", "the connection broke: closed by the host", "the connection broke more than"),
    "other-step": ("reach", "reports a step that was not asked for", ""),
    "stages": ("reach", "reports 'apply' out of order", ""),
    "status": ("reach", "ends a step with an unknown state: 'failed'", ""),
    "value-join": ("reach", "sent a value that was not asked for", ""),
    "value-kubeconfig": ("reach", "sent a value that was not asked for", ""),
    "value-huge": ("reach", "sent a value that was not asked for", ""),
    "escapes": ("reach", "[bold]text[/bold]m evil", ""),
    "hangs": ("reach", "cannot kill a script that took too long", ""),
}


# Linux counts the memory of a process before its exec as its own, and a test runner is large: hence a small parent.
MEASURED = """
import resource, subprocess, sys
code = subprocess.run(sys.argv[2:]).returncode
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""


def run(fleet: Fleet, *arguments: str, code: int) -> tuple[str, str]:
    """Output and errors of `kbootstrap ARGUMENTS`, which may take only so much memory."""
    kib = fleet.inventory.parent / "kib"
    command = [sys.executable, "-c", MEASURED, str(kib), *fleet.start_words(*arguments)]
    done = subprocess.run(command, env=fleet.environment(), capture_output=True, text=True, timeout=RUN_S, check=False)
    assert done.returncode == code, done
    assert int(kib.read_text()) < MOST_MEMORY_KIB
    assert "Traceback" not in done.stdout + done.stderr
    assert "has a bug" not in done.stdout + done.stderr
    return done.stdout, done.stderr


def test_every_hostile_worker_is_an_error_of_its_own(lab: MakeLab) -> None:
    fleet = lab(1, 1 + len(MANNERS), state="clean")
    hostile = dict(zip(fleet.hosts[2:], MANNERS, strict=True))
    for host, manner in hostile.items():
        fleet.fault(host, "hostile-host", manner=manner)
    patient = next(host for host, manner in hostile.items() if manner == "hangs")
    fleet.change_inventory(
        lambda text: text.replace(f"- name: {patient}\n", f"- name: {patient}\n    ssh: {{command_timeout: 10}}\n")
    )

    shown, _ = run(fleet, "plan", "-v", str(fleet.inventory), code=4)
    planned = {host: MANNERS[manner][1] for host, manner in hostile.items()}
    for host, text in planned.items():
        assert re.search(rf"^  (?:\w+ )*{host} .*?{re.escape(text)}", shown, re.M | re.S), (host, text, shown)
    assert printable(shown) == shown
    assert "[bold]text[/bold]" in shown
    assert "[bold red]CentOS[/] $(id)" in shown

    out, err = run(fleet, "up", "--yes", "-o", "json", str(fleet.inventory), code=4)
    done = Events.read(out)
    for host, manner in hostile.items():
        step, in_plan, in_up = MANNERS[manner]
        failure = done.result["hosts"][host]["failure"]
        assert (failure["step"], (in_up or in_plan) in failure["message"]) == (step, True), (host, manner, failure)
        assert done.result["hosts"][host]["changed"] == 0
    for text in (out, err, *journals(fleet)):
        assert printable(text) == text
    assert done.states["w1", "join", "join"] == "changed"
    assert not {host for host, _, _ in done.those("failed")} & {"cp1", "w1"}
    assert "203.0.113.66" not in fleet.text("w1", "cat /etc/kubernetes/kubelet.conf")
    assert kubeconfig_of(fleet)["clusters"][0]["cluster"]["server"] == "https://192.168.1.10:6443"


def journals(fleet: Fleet) -> list[str]:
    return [path.read_text() for path in (fleet.inventory.parent / "state").rglob("events.jsonl")]


def kubeconfig_of(fleet: Fleet) -> dict[str, Any]:
    (path,) = (fleet.inventory.parent / "state" / "kbootstrap" / "kubeconfigs").iterdir()
    config: dict[str, Any] = yaml.safe_load(path.read_text())
    return config


IMPOSTOR = """#!/bin/sh
case "$1 $2" in
    'token create') echo "kubeadm join {endpoint} --token {token} --discovery-token-ca-cert-hash {ca}" ;;
    *) exec /usr/bin/kubeadm "$@" ;;
esac
"""
ELSEWHERE = {"endpoint": "203.0.113.66:6443", "token": "abcdef.0123456789abcdef", "ca": "sha256:" + "0" * 64}


def test_a_hostile_master_sends_nobody_elsewhere(lab: MakeLab, tmp_path: Path) -> None:
    fleet = lab(1, 1, state="clean")
    fleet.up("--limit", "cp1")
    fleet.text("cp1", "cat >/usr/local/sbin/kubeadm", stdin=IMPOSTOR.format(**ELSEWHERE))
    fleet.text("cp1", "chmod 755 /usr/local/sbin/kubeadm")
    done = fleet.up(code=1)
    failure = done.result["hosts"]["cp1"]["failure"]
    assert failure["step"] == "join-token"
    assert "its endpoint is 203.0.113.66:6443, but the inventory has 192.168.1.10:6443" in failure["message"]
    assert done.states["w1", "join", "join"] == "skipped"
    fleet.text("cp1", "rm /usr/local/sbin/kubeadm")

    kept = kubeconfig_of(fleet)
    for trick, said in {
        r"s|^    client-key-data.*|&\n    exec:\n      command: sh\n      apiVersion: v1|": "its user has",
        "s|^kind: Config|&\\nextensions: [" + "[" * 5000 + "|": "no admin.conf has",
    }.items():
        tampered = f"cp /etc/kubernetes/admin.conf /root/good && sed -i '{trick}' /etc/kubernetes/admin.conf"
        fleet.text("cp1", tampered)
        refused = fleet.kbootstrap("kubeconfig", str(fleet.inventory), "--file", str(tmp_path / "mine"), code=1)
        assert said in refused
        fleet.text("cp1", "mv /root/good /etc/kubernetes/admin.conf")
    assert not (tmp_path / "mine").exists()
    assert kubeconfig_of(fleet) == kept

    manifest = "/etc/kubernetes/manifests/kube-apiserver.yaml"
    fleet.text("cp1", f"sed -i 's|\\(kube-apiserver:v\\).*|\\11.34.2 -o APT::Update::Pre-Invoke::=id|' {manifest}")
    lied = fleet.plan(code=1)
    assert "cannot read the API server's version" in lied.result["hosts"]["cp1"]["failure"]["message"]
    assert "Pre-Invoke" not in json.dumps([line for line in lied.lines if line.get("host") == "w1"])


def test_a_host_that_shows_another_key_after_the_plan_is_refused(lab: MakeLab) -> None:
    fleet = lab(1, 1, state="clean")
    assert fleet.plan().result["status"] == "ok"
    fleet.fault("w1", "host-key")
    done = fleet.up("--only", "prepare", code=4)
    assert "the host key has changed" in done.result["hosts"]["w1"]["failure"]["message"]
    assert done.result["hosts"]["w1"]["changed"] == 0
    assert done.result["hosts"]["cp1"].get("failure") is None
