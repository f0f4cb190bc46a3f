"""The public API: exactly these names, typed, documented, and imported only when they are used."""

from __future__ import annotations

import inspect
import subprocess
import sys
import typing

import pytest

import kbootstrap

NAMES = [
    "ClusterStatus",
    "Control",
    "Inventory",
    "KbootstrapError",
    "Options",
    "check",
    "kubeconfig",
    "load_inventory",
    "plan",
    "plan_reset",
    "reset",
    "status",
    "up",
    "verify",
]
"""Adding a name is a decision, and removing one breaks somebody's program."""


def test_the_public_names_are_these() -> None:
    assert kbootstrap.__all__ == NAMES
    assert set(dir(kbootstrap)) == {*NAMES, "__version__"}


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_exists_and_is_documented(name: str) -> None:
    found = getattr(kbootstrap, name)
    assert inspect.getdoc(found)
    if inspect.isfunction(found):
        hints = typing.get_type_hints(found)
        assert set(hints) == {*inspect.signature(found).parameters, "return"}


@pytest.mark.parametrize("verb", ["plan", "up", "plan_reset", "reset", "check", "verify"])
def test_every_verb_takes_the_same(verb: str) -> None:
    parameters = inspect.signature(getattr(kbootstrap, verb)).parameters
    assert list(parameters) == ["inventory", "options", "control", "view"]
    assert all(parameters[name].default is not inspect.Parameter.empty for name in ("options", "control", "view"))


def test_there_is_no_other_name() -> None:
    with pytest.raises(AttributeError, match="no attribute 'dow'"):
        getattr(kbootstrap, "dow")  # noqa: B009 - the attribute is looked for when the test runs


def test_importing_kbootstrap_imports_nothing_of_it() -> None:
    code = "import sys, kbootstrap; print([name for name in sys.modules if name.startswith('kbootstrap.')])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"
