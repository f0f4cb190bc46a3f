"""The files of kbootstrap's wheel, and `kbootstrap lab` when the lab is not installed."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import entry_points, requires, version
from pathlib import Path

import pytest
from support.examples import ROOT

import kbootstrap
import kbootstrap_lab

LARGEST = 1_000_000
"""Bytes of the wheel's files, unpacked: the product alone, without the lab (another 400 KB)."""
WITHOUT_LAB = """
import sys
sys.modules["kbootstrap_lab"] = None
from kbootstrap.cli import main
main()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """kbootstrap's wheel, built from a copy of the sources, because setuptools writes files into them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    # Copy the tests too: the wheel must not get any of their files.
    for name in ("kbootstrap", "tests/lab"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    build = "import sys; from setuptools.build_meta import build_wheel; build_wheel(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", build, "made"], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    (made,) = (folder / "made").glob("kbootstrap-*.whl")
    return zipfile.ZipFile(made)


def test_the_wheel_holds_the_product_and_nothing_else(wheel: zipfile.ZipFile) -> None:
    held = {name for name in wheel.namelist() if ".dist-info/" not in name}
    package = ROOT / "kbootstrap"
    files = [
        path for path in package.rglob("*") if path.suffix in (".py", ".sh", ".md", ".html") or path.name == "py.typed"
    ]
    assert held == {str(path.relative_to(ROOT)) for path in files}
    assert "kbootstrap/py.typed" in held
    assert any(name.endswith(".sh") for name in held)


def test_the_wheel_holds_no_test_double(wheel: zipfile.ZipFile) -> None:
    doubles = re.compile(r"(^|/)(lab|fakes?|simulated|stand-?ins?|kbootstrap_lab|tests)(/|\.|$)")
    assert not [name for name in wheel.namelist() if doubles.search(name)]


def test_the_wheel_is_small(wheel: zipfile.ZipFile) -> None:
    assert sum(file.file_size for file in wheel.infolist()) < LARGEST


def test_the_wheel_names_its_licence_and_version(wheel: zipfile.ZipFile) -> None:
    (metadata,) = (wheel.read(name).decode() for name in wheel.namelist() if name.endswith("/METADATA"))
    assert "\nLicense-Expression: Apache-2.0\n" in metadata
    assert f"\nVersion: {kbootstrap.__version__}\n" in metadata


def test_the_lab_is_a_distribution_with_an_entry_point() -> None:
    (entry,) = entry_points(group="kbootstrap.commands", name="lab")
    assert entry.dist is not None
    assert entry.dist.name == "kbootstrap-lab"
    assert version("kbootstrap-lab") == kbootstrap_lab.__version__
    assert "kbootstrap" in (requires("kbootstrap-lab") or ())


def without_lab(*arguments: str, code: int) -> str:
    done = subprocess.run([sys.executable, "-c", WITHOUT_LAB, *arguments], capture_output=True, text=True)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [["up", "--control-planes", "1"], ["status"], []], ids=str)
def test_without_the_lab_its_command_says_how_to_get_it(arguments: list[str]) -> None:
    said = without_lab("lab", *arguments, code=2)
    assert "`kbootstrap lab` is not installed" in said
    assert "pip install kbootstrap-lab" in said
    assert "scripts/setup" in said


def test_without_the_lab_help_lists_it_as_not_installed() -> None:
    assert re.search(
        r"^  lab +Run local hosts .*Not installed: pip\s+install\s+kbootstrap-lab", without_lab("-h", code=0), re.M
    )
    assert "pip install kbootstrap-lab" in without_lab("lab", "--help", code=0)


def test_an_unknown_command_is_still_a_usage_error(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "kbootstrap", "labb"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert "No such command 'labb'" in done.stderr
