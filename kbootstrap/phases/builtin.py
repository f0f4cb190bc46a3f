"""Builtin steps: the work of every command in Python before its first script, as steps for plan and `explain`."""

from __future__ import annotations

from kbootstrap.phases.common import every_host
from kbootstrap.phases.phase import Phase
from kbootstrap.steps import Step

SSH = Step(
    "ssh",
    "Connect and become root",
    "",
    "Every step runs as root over one SSH connection.",
)
FACTS = Step(
    "facts",
    "Gather facts",
    "",
    "The plan is based on the real state of the host; shell/facts.sh reads it.",
)
REQUIREMENTS = Step(
    "requirements",
    "Check the host against the inventory",
    "",
    "Every requirement is checked on every host before the first change.",
)


def _phase(name: str, title: str, why: str, step: Step) -> Phase:
    return Phase(name, title, why, hosts=every_host, steps=lambda _context, _host: [step])


PHASES = (
    _phase("connect", "Connect", "The first phase of every command: one connection per host for the whole run.", SSH),
    _phase("facts", "Gather facts", "The second phase of every command: it reads each host's state once.", FACTS),
)
