"""What keeps the code easy to move into: small modules, small classes, one place for paramiko's private names."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from kbootstrap.remote.script import PACKAGE

MODULES = sorted(PACKAGE.rglob("*.py"))
MOST_LINES = 400
MOST_LINES_OF_A_CLASS = 250


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_modules_and_classes_are_small(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert text.count("\n") <= MOST_LINES
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.ClassDef):
            assert (node.end_lineno or 0) - node.lineno < MOST_LINES_OF_A_CLASS, node.name


def test_private_names_of_paramiko_are_used_in_one_module() -> None:
    """Another version of paramiko may change them, so there is one place to look at."""
    private = re.compile(r"_send_user_message|start_handshake|clear_to_send|self\._conn\b")
    users = {path.name for path in MODULES if private.search(path.read_text(encoding="utf-8"))}
    assert users == {"paramiko_private.py"}


def test_the_port_of_the_api_server_is_written_once() -> None:
    users = {
        path.name
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in (6443, ":6443")
    }
    assert users == {"ports.py"}


def test_messages_name_only_what_an_installed_kbootstrap_has() -> None:
    """After `pip install`, there is no checkout with docs/, inventories/ and scripts/ beside it."""
    checkout = re.compile(r"(?<![\w/])(docs|inventories|scripts)/")
    named = {
        (path.name, node.value)
        for path in MODULES
        for tree in [ast.parse(path.read_text(encoding="utf-8"))]
        for node in set(ast.walk(tree)) - docstrings(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and checkout.search(node.value)
    }
    assert {text for module, text in named if "in a checkout" not in text} == set()


def docstrings(tree: ast.AST) -> set[ast.AST]:
    """The texts that stand alone: docstrings, also those of constants."""
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
