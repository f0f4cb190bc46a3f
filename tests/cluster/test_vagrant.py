"""Machines made by Vagrant (with its Docker provider), from `vagrant up` to Ready nodes."""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import docker
import pytest
from support.driver import Fleet
from support.labs import MakeLab

from kbootstrap_lab import containers
from kbootstrap_lab.containers import artifacts
from kbootstrap_lab.containers.machine import docker_arguments

HERE = Path(__file__).parents[2] / "scripts" / "vagrant"
CLOSED = """
ip neigh replace 172.17.255.254 lladdr 02:00:00:00:00:01 dev eth0 nud permanent
ip route replace default via 172.17.255.254
"""
"""Docker's default network has a way out of this machine, and nothing here may take it: the route ends at nobody."""
Vagrant = Callable[..., str]


@pytest.fixture
def vagrant(tmp_path: Path) -> Iterator[Vagrant]:
    """Runs Vagrant on a copy of our Vagrantfile. Removes the machines after the test."""
    folder = tmp_path / "vagrant"
    shutil.copytree(HERE, folder)
    home = {"VAGRANT_HOME": str(tmp_path / "home"), "VAGRANT_DEFAULT_PROVIDER": "docker", "WORKERS": "1"}

    def run(*arguments: str, **environment: str) -> str:
        done = subprocess.run(
            ["vagrant", *arguments],
            cwd=folder,
            env={**os.environ, **home, **environment},
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    try:
        yield run
    finally:
        run("destroy", "--force")


def test_machines_made_by_vagrant(lab: MakeLab, vagrant: Vagrant, tmp_path: Path) -> None:
    fleet = lab(1, 0)
    server = package_server_on_the_bridge(fleet)
    arguments = [*docker_arguments(), f"--add-host={containers.SERVER}:{server}"]
    image = artifacts.node_image("centos9", print)
    vagrant("up", KBOOTSTRAP_IMAGE=image, KBOOTSTRAP_DOCKER_ARGS=shlex.join(arguments))
    for name in ("cp1", "w1"):
        script = CLOSED + containers.os_repository("centos9")
        vagrant("ssh", name, "-c", f"sudo sh -c {shlex.quote(script)}")

    config = tmp_path / "ssh-config"
    config.write_text(vagrant("ssh-config"))
    inventory = tmp_path / "vagrant.yaml"
    fleet.kbootstrap("init", "--from-vagrant", str(config), "--file", str(inventory))
    cluster = re.search(r"cluster:\n.*?\n\n", fleet.inventory.read_text(), re.S)
    assert cluster is not None
    settings = re.sub(r"ntp: .*", f"ntp: [{server}]", cluster[0])
    text = re.sub(r"cluster:\n.*?\n\n", lambda _: settings, inventory.read_text(), flags=re.S)
    inventory.write_text(text.replace("accept-new", f"accept-new\n  known_hosts: {tmp_path / 'known_hosts'}", 1))

    machines = dataclasses.replace(fleet, inventory=inventory)
    assert machines.up().result["failed"] == 0
    assert "2 of 2 nodes Ready, 0 pods not running" in machines.kbootstrap("status", str(inventory))
    assert machines.up().result["changed"] == 0


def package_server_on_the_bridge(fleet: Fleet) -> str:
    """Connect the lab's package server to Docker's default network, which Vagrant uses. Returns its address there."""
    client = docker.from_env()
    container = client.containers.get(f"kbootstrap-{fleet.name}-packages")
    client.networks.get("bridge").connect(container)
    container.reload()
    return str(container.attrs["NetworkSettings"]["Networks"]["bridge"]["IPAddress"])
