"""Hints and topics: every hint in the source ends with a topic, every topic has a hint, and `explain` shows it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

import kbootstrap
from kbootstrap.cli import cli
from kbootstrap.phases.catalogue import everything
from kbootstrap.remote import last_words
from kbootstrap.remote.last_words import fitting_hint
from kbootstrap.remote.session import handshake
from kbootstrap.topics import extended, topic_of, topics
from kbootstrap_lab.errors import LabError

PACKAGE = Path(kbootstrap.__file__).parent
GIVES_HINT = {"Failure", "Finding", "error", "warning"}
"""Calls with a hint, besides those of exceptions. Its position depends on the call."""
POSITION = {"Failure": 4, "Finding": 3, "error": 2, "warning": 2}
SHELL_HINT = re.compile(r"\b(?:kb_report hint|fail|kb_refuse|wait_out_troubles|requirement [a-z$\"-]+) ")
PASSED_ON = ('kb_report hint "$2"', 'fail "$@"', "$(kb_final_hint ", "has been at work for", 'kb_report hint "${3:-')


def literal_end(node: ast.expr) -> str | None:
    """The end of a text that is written in the source; None when it is written elsewhere."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return literal_end(node.right)
    if isinstance(node, ast.JoinedStr):
        return literal_end(node.values[-1]) or "{}"
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def hint_nodes(tree: ast.Module, *, is_explanation: bool) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = getattr(node.func, "attr", getattr(node.func, "id", ""))
            # The arguments of operating system errors are a number and a text.
            if name in GIVES_HINT or (name.endswith("Error") and name not in ("OSError", "ConnectionAbortedError")):
                yield from node.args[POSITION.get(name, 1) :][:1]
                yield from (keyword.value for keyword in node.keywords if keyword.arg == "hint")
        elif isinstance(node, ast.Assign) and "hint" in ast.unparse(node.targets[0]):
            yield from node.value.values if isinstance(node.value, ast.Dict) else [node.value]
        elif isinstance(node, ast.Return) and is_explanation:
            yield from [node.value] if isinstance(node.value, ast.Tuple) else []


def assigned(tree: ast.Module, name: str) -> Iterator[ast.expr]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name:
            yield node.value


def python_hints() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        # _meaning and the like return what happened, and the hint.
        for found in hint_nodes(tree, is_explanation=path.match("ssh/explain.py")):
            node = found.elts[-1] if isinstance(found, ast.Tuple) else found
            for written in assigned(tree, node.id) if isinstance(node, ast.Name) else [node]:
                end = literal_end(written)
                if end:
                    yield f"{path.relative_to(PACKAGE)}:{written.lineno}", end


def shell_hints() -> Iterator[tuple[str, str]]:
    for path in sorted(PACKAGE.rglob("*.sh")):
        for line in path.read_text(encoding="utf-8").replace("\\\n", " ").splitlines():
            code = line.strip()
            # A message alone is one text without a second argument.
            alone = re.search(r'\bfail "[^"]*("\$kb_error")?[^" ]*"[;}) ]*$', code)
            if code.startswith("#") or not SHELL_HINT.search(code) or alone or any(each in code for each in PASSED_ON):
                continue
            if re.search(r'(?:hint|fail|kb_refuse|requirement [a-z$"-]+|wait_out_troubles) +"', code):
                yield f"{path.relative_to(PACKAGE)}", code


def test_every_python_hint_ends_with_a_topic() -> None:
    found = list(python_hints())
    assert len(found) > 100
    assert [hint for hint in found if topic_of(hint[1]) not in topics()] == []


def test_every_shell_hint_ends_with_a_topic() -> None:
    found = list(shell_hints())
    assert len(found) > 40
    ends = [(path, code, re.search(r'\[([a-z-]+)\]"[ ;})]*$', code)) for path, code in found]
    assert [(path, code) for path, code, end in ends if end is None or end[1] not in topics()] == []


def test_the_tables_of_hints_have_topics() -> None:
    hints = [*(hint for _, hint in last_words._FITTING), *handshake._HINTS.values(), handshake._NO_COMMAND]
    assert [hint for hint in hints if topic_of(hint) not in topics()] == []
    final = (PACKAGE / "shell/lib/network.sh").read_text(encoding="utf-8").split("kb_final_hint() {")[1].split("\n}")[0]
    said = re.findall(r'echo "(.*)"', final)
    assert len(said) > 10
    assert [hint for hint in said if topic_of(hint) not in topics()] == []


def test_every_topic_has_a_hint() -> None:
    source = "".join(path.read_text(encoding="utf-8") for end in ("py", "sh") for path in PACKAGE.rglob(f"*.{end}"))
    # The lab is a distribution of its own; all its hints have this topic.
    assert LabError("no", "Try again.").hint == "Try again. [lab]"
    assert LabError("no", "Install it. [not-installed]").hint == "Install it. [not-installed]"
    assert LabError("no").hint == ""
    source += '[lab]"'
    unused = [name for name in topics() if not re.search(rf'\[{name}\]["}}]', source)]
    assert unused == []


def test_a_topic_has_a_title_a_meaning_commands_and_advice() -> None:
    for topic in topics().values():
        assert topic.title, topic
        assert [block.startswith("    ") for block in topic.blocks] == [False, True, False], topic.id


def test_no_topic_has_the_name_of_a_step_or_phase() -> None:
    steps = {name for phase, steps in everything() for name in (phase.name, *(step.id for step in steps))}
    assert steps & set(topics()) == set()


def test_the_topic_of_a_hint() -> None:
    assert topic_of("Check ssh.port. [ssh-refused]") == "ssh-refused"
    assert topic_of("Or make it a warning: preflight.warn: [swap].") == ""
    assert topic_of("") == ""
    assert extended("Add a CPU. [host-too-small]", "Or not.") == "Add a CPU. Or not. [host-too-small]"
    assert extended("", "Or not.") == "Or not."
    assert topic_of(fitting_hint("sudo: a terminal is required; no tty present")) == "sudo"


@pytest.mark.parametrize("name", ["ssh-refused", "[ssh-refused]"])
def test_explain_shows_a_topic(name: str) -> None:
    shown = CliRunner().invoke(cli, ["explain", name])
    assert shown.exit_code == 0
    assert shown.output.startswith("ssh-refused  The host refuses the connection\n\n")
    assert "\n    ss -ltn\n" in shown.output
    assert "ssh.port" in shown.output


def test_explain_without_a_name_lists_the_topics() -> None:
    shown = CliRunner().invoke(cli, ["explain"])
    assert [line.split()[0] for line in shown.output.splitlines()] == list(topics())


def test_explain_guesses_a_topic() -> None:
    wrong = CliRunner().invoke(cli, ["explain", "ssh-refuse"])
    assert "'ssh-refused'" in wrong.exception.hint  # type: ignore[union-attr]
    assert wrong.exception.exit_code == 2  # type: ignore[union-attr]
