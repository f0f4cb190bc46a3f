"""Preflight's look at registries, in dash and in bash: which addresses are tried, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shell import SHELLS, sh

from kbootstrap.remote.script import shell_file

pytestmark = pytest.mark.parametrize("shell", SHELLS)

REACH = shell_file("phases/preflight/reach.sh")
NOTHING_ELSE = "NEEDED= URLS= PEERS= NAME= WARN= INSECURE=r.lan:5000\n"


def tried(shell: str, folder: Path, registries: str, answers: str) -> tuple[list[str], list[str]]:
    """The arguments of every curl, and the warnings. Only an address that ``answers`` names does answer."""
    curl = f"""
        curl() {{
            for last; do :; done
            case " $* " in *" -k "*) last="-k $last" ;; esac
            echo "$last" >>"$KB_DIR/asked"
            case "$last" in {answers}) ;; *) return 7 ;; esac
        }}
    """
    words = f"{NOTHING_ELSE}REGISTRIES='{registries}'\n"
    lines = sh(shell, f"{REACH}{words}{curl}check\n", folder=folder)
    assert lines.pop() == "status 0"
    return (folder / "asked").read_text().splitlines(), [line for line in lines if "warning" in line]


def test_a_registry_behind_its_second_mirror_is_reachable(shell: str, tmp_path: Path) -> None:
    asked, warnings = tried(shell, tmp_path, "r.example https://m1/v2/ https://m2/v2/ https://r.example/v2/", "*m2*")
    assert asked == ["https://m1/v2/", "https://m2/v2/"]
    assert warnings == []


def test_an_unreachable_registry_is_reported_with_all_that_was_tried(shell: str, tmp_path: Path) -> None:
    _, warnings = tried(shell, tmp_path, "r.example https://m1/v2/ https://r.example/v2/", "none")
    assert len(warnings) == 1
    assert "cannot reach the registry r.example (tried: https://m1/v2/ https://r.example/v2/)" in warnings[0]


def test_an_insecure_registry_is_tried_without_verification_then_without_tls(shell: str, tmp_path: Path) -> None:
    asked, warnings = tried(shell, tmp_path, "r.lan:5000 https://r.lan:5000/v2/ http://r.lan:5000/v2/", "*http:*")
    assert asked == ["-k https://r.lan:5000/v2/", "-k http://r.lan:5000/v2/"]
    assert warnings == []


def test_each_registry_is_tried_by_itself(shell: str, tmp_path: Path) -> None:
    _, warnings = tried(shell, tmp_path, "a.example https://a.example/v2/\nb.example https://b.example/v2/", "*a.ex*")
    assert ["b.example" in line for line in warnings] == [True]
