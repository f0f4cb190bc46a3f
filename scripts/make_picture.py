"""Makes docs/images/up.svg from a real run of `up`, and of `status`, on four simulated hosts; see scripts/picture."""

from __future__ import annotations

import io
import os
import re
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from click.testing import CliRunner
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from kbootstrap import run
from kbootstrap.cli import cli
from kbootstrap.events import Event, Notice, RunEnded, RunStarted
from kbootstrap.inventory import load
from kbootstrap.ui import Style
from kbootstrap.ui.live import Board
from kbootstrap.ui.plan import PlanView
from kbootstrap.ui.summary import summary_lines, what_of
from kbootstrap_lab import simulated

PICTURE = Path(__file__).parent.parent / "docs" / "images" / "up.svg"
INVENTORY = "four-hosts.yaml"
LAB = "four-hosts"
PLAIN = re.sub(r"@font-face \{\{.*?\}\}", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL)
"""rich's frame without its fonts, which a viewer would fetch from elsewhere."""


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def screen(inventory: Path, home: str) -> Console:
    """The final screen of an operator. Notices have ``~`` instead of the home directory."""
    console = Console(record=True, file=io.StringIO(), width=100, highlight=False, markup=False, emoji=False)
    board = Board(console)
    console.print(f"$ kbootstrap up {INVENTORY} --yes", style="bold")

    loaded = load(inventory)
    planned = Terminal()
    run.plan(loaded, view=PlanView(planned, loaded, short=True).handle)
    console.print(Text.from_ansi(planned.getvalue()))
    started: list[RunStarted] = []

    def handle(event: Event) -> None:
        board.handle(event)
        if isinstance(event, RunStarted):
            started.append(replace(event, inventory=INVENTORY))
            console.print(f"{event.command} of {event.cluster}: {what_of(event)}", style="bold")
        elif isinstance(event, Notice):
            console.print(event.text.replace(home, "~/.local/state"))
        elif isinstance(event, RunEnded):
            console.print(board.text())
            for line in summary_lines(Style(Terminal()), started[0], event):
                console.print(Text.from_ansi(line))

    if run.up(loaded, view=handle).exit_code:
        raise SystemExit("the run failed, so no picture was made")
    console.print(f"\n$ kbootstrap status {INVENTORY}", style="bold")
    console.print(CliRunner().invoke(cli, ["status", str(inventory)]).stdout, end="")
    return console


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ["XDG_STATE_HOME"] = home
        inventory = Path(home) / INVENTORY
        simulated.up(LAB, control_planes=1, workers=3, inventory=inventory)
        try:
            made = screen(inventory, home)
        finally:
            simulated.down(LAB)
    PICTURE.parent.mkdir(exist_ok=True)
    text = made.export_svg(title="four simulated hosts", code_format=PLAIN, unique_id="up")
    PICTURE.write_text(re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE), encoding="utf-8")
    print(f"wrote {PICTURE.relative_to(PICTURE.parents[2])}", file=sys.stderr)


if __name__ == "__main__":
    main()
