"""The job of each tool: the files that it reads, and the command that is timed.

Every tool has its usual configuration, the same key, the same known_hosts and the thirteen commands of ``steps``.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmark import peers, steps
from benchmark.servers import HERE, Host

Environment = dict[str, str]


@dataclass(frozen=True)
class Job:
    """The job of a tool: hosts and login. ``folder`` is a new folder for this job."""

    hosts: list[Host]
    key: Path
    known_hosts: Path
    folder: Path

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        return path

    def ssh_options(self) -> list[str]:
        """Options for OpenSSH's client: this login, without the user's own configuration."""
        return [
            *("-i", str(self.key), "-o", "IdentitiesOnly=yes", "-o", "StrictHostKeyChecking=yes"),
            *("-o", f"UserKnownHostsFile={self.known_hosts}", "-o", "GlobalKnownHostsFile=/dev/null"),
        ]

    def json(self) -> str:
        """Write the job for the tools that are Python scripts of the bench."""
        return json.dumps(
            {
                "hosts": [[host.name, host.address] for host in self.hosts],
                "key": str(self.key),
                "known_hosts": str(self.known_hosts),
                "commands": [steps.command(name) for name in steps.NAMES],
            }
        )


@dataclass(frozen=True)
class Command:
    argv: list[str]
    env: Environment


def kbootstrap(job: Job, *verb: str) -> Command:
    """The code of `kbootstrap up --yes`, or of another verb, with the bench's phases."""
    inventory = {
        "cluster": {"name": "bench", "kubernetes": "1.34"},
        "ssh": {
            "user": "root",
            "sudo": "none",
            "key": str(job.key),
            "known_hosts": str(job.known_hosts),
            "config": None,
        },
        "hosts": [
            {"name": host.name, "address": host.address, "role": "worker" if number else "control-plane"}
            for number, host in enumerate(job.hosts)
        ],
    }
    path = job.write("inventory.yaml", json.dumps(inventory, indent=1))
    program = [sys.executable, str(HERE / "kbootstrap_up.py"), str(path), *verb]
    return Command(program, {"PYTHONPATH": str(HERE.parent)})


def ssh(job: Job) -> Command:
    """One OpenSSH client per host, all at once, one script each."""
    hosts = job.write("hosts", "".join(f"{host.name} {host.address}\n" for host in job.hosts))
    script = job.write("script", steps.one_script())
    options = ["-F", "none", *job.ssh_options(), "-o", "KexAlgorithms=curve25519-sha256", "-l", "root"]
    return Command(["sh", str(HERE / "parallel-ssh"), str(hosts), str(script), *options], {})


def fabric(job: Job) -> Command:
    """A connection per host and one ``run`` per step, a thread per host."""
    python = peers.environment("fabric") / "python"
    return Command([str(python), str(HERE / "fabric_run.py"), str(job.write("job.json", job.json()))], {})


def pyinfra(job: Job) -> Command:
    """One ``server.shell`` operation per step, all hosts at once (pyinfra's default)."""
    login = {
        "ssh_user": "root",
        "ssh_key": str(job.key),
        "ssh_known_hosts_file": str(job.known_hosts),
        "ssh_strict_host_key_checking": "yes",
        "ssh_config_file": os.devnull,
    }
    hosts = [(host.name, {"ssh_hostname": host.address, **login}) for host in job.hosts]
    inventory = job.write("inventory.py", f"hosts = {hosts!r}\n")
    job.write("job.json", job.json())
    deploy = shutil.copy(HERE / "pyinfra_deploy.py", job.folder / "deploy.py")
    return Command([str(peers.environment("pyinfra") / "pyinfra"), "--yes", str(inventory), str(deploy)], {})


def ansible(job: Job) -> Command:
    """The default configuration: facts gathered, five forks, modules copied."""
    return _playbook(job, "linear", gather=True, forks=5, pipelining=False)


def ansible_tuned(job: Job) -> Command:
    """Pipelining, as many forks as hosts, strategy free, no facts, interpreter set."""
    return _playbook(job, "free", gather=False, forks=len(job.hosts), pipelining=True)


def ansible_mitogen(job: Job) -> Command:
    """The tuned playbook with mitogen's strategy."""
    return _playbook(job, "mitogen_free", gather=False, forks=len(job.hosts), pipelining=True)


def _playbook(job: Job, strategy: str, *, gather: bool, forks: int, pipelining: bool) -> Command:
    tasks = [
        {
            "name": f"Prepare {name}",
            "ansible.builtin.shell": {"cmd": steps.command(name)},
            "environment": {"NAME": "{{ inventory_hostname }}"},
            "register": "said",
            "changed_when": "'changed' in said.stdout",
        }
        for name in steps.NAMES
    ]
    play = {"hosts": "all", "gather_facts": gather, "strategy": strategy, "tasks": tasks}
    playbook = job.write("playbook.yml", json.dumps([play], indent=1))
    options = " ".join(["-F", "none", *job.ssh_options()])
    common = {"ansible_user": "root", "ansible_ssh_common_args": options, "ansible_remote_tmp": "/tmp/ansible"}  # noqa: S108 # the host's own
    if not gather:
        common["ansible_python_interpreter"] = "/usr/bin/python3"
    if strategy.startswith("mitogen"):
        common["ansible_ssh_private_key_file"] = str(job.key)
    hosts = {host.name: {"ansible_host": host.address} for host in job.hosts}
    inventory = job.write("inventory.json", json.dumps({"all": {"hosts": hosts, "vars": common}}))
    inventory = inventory.rename(inventory.with_suffix(".yml"))
    bin_folder = peers.environment("ansible")
    env = {
        "ANSIBLE_HOME": str(job.folder),
        "ANSIBLE_FORKS": str(forks),
        "ANSIBLE_PIPELINING": str(pipelining),
        "ANSIBLE_NOCOLOR": "1",
        "PATH": f"{bin_folder}:{os.environ['PATH']}",
        "LC_ALL": "C.UTF-8",
    }
    if strategy.startswith("mitogen"):
        (plugins,) = bin_folder.parent.glob("lib/python3*/site-packages/ansible_mitogen/plugins/strategy")
        env["ANSIBLE_STRATEGY_PLUGINS"] = str(plugins)
    return Command([str(bin_folder / "ansible-playbook"), "-i", str(inventory), str(playbook)], env)


TOOLS: dict[str, Callable[[Job], Command]] = {
    "kbootstrap": kbootstrap,
    "ssh": ssh,
    "fabric": fabric,
    "pyinfra": pyinfra,
    "ansible-mitogen": ansible_mitogen,
    "ansible-tuned": ansible_tuned,
    "ansible": ansible,
}
"""Every tool by the name it has in the result."""
OTHERS: dict[str, Callable[[Job], Command]] = {
    "kbootstrap-plan": lambda job: kbootstrap(job, "plan"),
}
"""The commands that are measured besides the tools."""
