"""What every command does before its first script: steps in Python, named here so that they can be explained."""

from __future__ import annotations

from kbootstrap.model import Phase, Step

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
    "The plan is made from what the host is, not from what it should be; shell/facts.sh asks the host.",
)
REQUIREMENTS = Step(
    "requirements",
    "Check the host against the inventory",
    "",
    "Every requirement is checked, on every host, before anything is changed.",
)


def _phase(name: str, title: str, why: str, step: Step) -> Phase:
    return Phase(name, title, why, hosts=lambda inventory: list(inventory.hosts), steps=lambda _context, _host: [step])


PHASES = (
    _phase("connect", "Connect", "First in every command: one connection per host for the whole run.", SSH),
    _phase("facts", "Gather facts", "Then in every command: one look at each host, which changes nothing.", FACTS),
)
