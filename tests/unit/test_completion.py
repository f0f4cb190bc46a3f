"""What TAB offers, asked as bash asks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.examples import document, written

from kbootstrap_lab import state

ASK = """
source <(kbootstrap completion bash)
COMP_WORDS=(kbootstrap "$@")
COMP_CWORD=$#
_kbootstrap_completion kbootstrap
printf '%s\\n' "${COMPREPLY[@]}"
"""


def offered(folder: Path, *words: str) -> list[str]:
    """What bash offers for the last of these words."""
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**os.environ, "PATH": path, "KBOOTSTRAP_INVENTORY": "", "XDG_STATE_HOME": str(folder)}
    done = subprocess.run(["bash", "-c", ASK, "bash", *words], cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("val",), ["validate"]),
        (("plan", "--limit", ""), ["cp1", "w1", "role=control-plane", "role=worker"]),
        (("plan", "--limit", "cp1,w"), ["cp1,w1"]),
        (("up", "--only", "pre"), ["preflight", "prepare"]),
        (("explain", "prepare.sw"), ["prepare.swap"]),
        (("lab", "status", "--name", ""), ["mine"]),
    ],
)
def test_what_is_offered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], expected: list[str]
) -> None:
    written(tmp_path, document()).rename(tmp_path / "kbootstrap.yaml")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    state.create_state_dir("mine", "simulated")
    assert offered(tmp_path, *words) == expected


def test_a_broken_inventory_offers_nothing(tmp_path: Path) -> None:
    (tmp_path / "kbootstrap.yaml").write_text("hosts: [")
    assert offered(tmp_path, "plan", "--limit", "w") == []
