"""Generates the pages that describe code; see scripts/docs."""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import supported
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from kbootstrap.cli import cli
from kbootstrap.inventory import models
from kbootstrap.inventory.schema import json_schema
from kbootstrap.phases.catalogue import catalogue
from kbootstrap.phases.phase import Phase
from kbootstrap.steps import Step
from kbootstrap.topics import PAGE

DOCS = Path(__file__).parent.parent / "docs"
HOME = tomllib.loads((DOCS.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]["urls"]["Source"]
_TARGET = re.compile(r"(?:\]\(|^\[[^]]+\]: )([^)#\s]+)", re.MULTILINE)
"""The target of a link in the text, and of the definition of one, without an anchor."""
DEFINED = re.compile(r"^\[([^]]+)\]: ", re.MULTILINE)
_OWN = re.compile(re.escape(HOME) + r"/(blob|raw)/main/(?P<path>.+)")
"""An absolute link to a file of this project."""
SECTIONS: tuple[tuple[str, type[Any]], ...] = (
    ("The file", models.Inventory),
    ("cluster", models.Cluster),
    ("cluster.runtime", models.Runtime),
    ("cluster.network", models.Network),
    ("cluster.kubeadm", models.Kubeadm),
    ("cluster.kubeadm.extra_args", models.ExtraArgs),
    ("proxy", models.Proxy),
    ("preflight", models.Preflight),
    ("ssh, and hosts[].ssh", models.Ssh),
    ("ssh.bastions[]", models.Bastion),
    ("hosts[]", models.Host),
)


def inventory_page() -> Iterator[str]:
    yield "# Inventory reference\n"
    yield "Generated from the code by `scripts/docs`. The JSON Schema for editors is `docs/inventory.schema.json`, or"
    yield "`kbootstrap schema`. Examples are in `inventories/`.\n"
    yield "Secrets (`password`, `passphrase`, `sudo_password`) may be `${env:KB_NAME}`, a variable whose name"
    yield "begins with `KB_`, or `${file:PATH}`, a file in the inventory's folder. `--trust-inventory` allows others.\n"
    yield "Anchors, aliases and `<<` work as in YAML 1.1. Top-level keys that begin with `x-` are yours, for anchors.\n"
    for title, model in SECTIONS:
        yield f"## {title}\n"
        yield f"{(model.__doc__ or '').strip().splitlines()[0]}\n"
        yield "| key | default | meaning |"
        yield "|---|---|---|"
        for name, field in model.model_fields.items():
            yield f"| `{name}` | {_default(field)} | {field.description} |"
        yield ""


def _default(field: Any) -> str:
    if field.is_required():
        return "required"
    value = field.default if field.default is not PydanticUndefined else None
    if value is None or value == () or isinstance(value, BaseModel):
        return ""
    if isinstance(value, tuple):
        return "<br>".join(f"`{item}`" for item in value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def steps_page() -> Iterator[str]:
    yield "# Every step, and why\n"
    yield "Generated from the code by `scripts/docs`. `kbootstrap explain STEP` also shows the shell a step runs.\n"
    yield "A step that only waits changes nothing: a plan shows it as unknown until it holds.\n"
    yield "`NODE` stands for the name of a host.\n"
    for command, phases in catalogue().items():
        yield f"## kbootstrap {command}\n"
        for phase, steps in phases:
            yield from _phase_section(phase, steps)


def _phase_section(phase: Phase, steps: list[Step]) -> Iterator[str]:
    yield f"### {phase.name}: {phase.title}\n"
    yield f"{phase.why}\n"
    yield "| step | what | why | shell |"
    yield "|---|---|---|---|"
    for step in steps:
        waits = " (waits)" if step.wait_only else ""
        shell = f"`phases/{step.script}`" if step.script else "none: `run.py`"
        yield f"| `{step.id}` | {step.title}{waits} | {step.why} | {shell} |"
    yield ""


def commands_page() -> Iterator[str]:
    yield "# Commands\n"
    yield "The output of `kbootstrap COMMAND --help`. `scripts/docs` generates this page from the code.\n"
    yield from _command(cli, click.Context(cli, info_name="kbootstrap", max_content_width=100, terminal_width=100))


def _command(command: click.Command, context: click.Context) -> Iterator[str]:
    yield f"## {context.command_path}\n"
    yield "```text"
    yield command.get_help(context)
    yield "```\n"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            if child is not None:
                yield from _command(child, click.Context(child, info_name=name, parent=context))


def pages() -> dict[Path, str]:
    return {
        DOCS / "inventory.md": "\n".join(inventory_page()),
        DOCS / "inventory.schema.json": json.dumps(json_schema(), indent=2) + "\n",
        DOCS / "steps.md": "\n".join(steps_page()),
        DOCS / "commands.md": "\n".join(commands_page()),
        DOCS / "troubleshooting.md": PAGE.read_text(encoding="utf-8"),
        DOCS / "supported.md": "\n".join(supported.page()) + "\n",
    }


def dead_links() -> Iterator[str]:
    """Links of the pages whose file does not exist, and relative ones of a README, which are dead on PyPI."""
    root = DOCS.parent
    for page in sorted([*root.glob("*.md"), *DOCS.glob("*.md")]):
        name = page.relative_to(root)
        for target in _TARGET.findall(page.read_text(encoding="utf-8")):
            own = _OWN.match(target)
            if "://" not in target and name.name.startswith("README"):
                yield f"{name}: the link {target} is relative, so it is dead on PyPI"
            elif own or "://" not in target:
                file = root / own["path"] if own else page.parent / target
                if not file.exists():
                    yield f"{name}: there is no {own['path'] if own else target}"


def undefined_links() -> Iterator[str]:
    """Links of a README whose definition is missing, and definitions that no link uses."""
    for page in sorted(DOCS.parent.glob("README*.md")):
        text = page.read_text(encoding="utf-8")
        defined = set(DEFINED.findall(text))
        used = {
            name for name in re.findall(r"\]\[([^]\s]+)\]|\[([\w.-]+\.md)\](?![\[(:])", text) for name in name if name
        }
        for name in sorted(defined ^ used):
            what = "is used and not defined" if name in used else "is defined and not used"
            yield f"{page.name}: the link {name} {what}"


def main() -> None:
    check = "--check" in sys.argv
    stale = [path for path, text in pages().items() if not path.exists() or path.read_text(encoding="utf-8") != text]
    for path in stale:
        if check:
            print(f"{path.relative_to(DOCS.parent)} is stale: run scripts/docs", file=sys.stderr)
        else:
            path.write_text(pages()[path], encoding="utf-8")
            print(f"wrote {path.relative_to(DOCS.parent)}")
    dead = [*dead_links(), *undefined_links()]
    for link in dead:
        print(link, file=sys.stderr)
    sys.exit(1 if dead or (check and stale) else 0)


if __name__ == "__main__":
    main()
