"""pyinfra's deploy: one shell operation per step."""

from __future__ import annotations

import json
from pathlib import Path

from pyinfra import host
from pyinfra.operations import server

for command in json.loads((Path(__file__).parent / "job.json").read_text())["commands"]:
    server.shell(commands=[command], _env={"NAME": host.name})
