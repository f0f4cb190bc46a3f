"""Running the functions steps are written with, without a host."""

from __future__ import annotations

import subprocess
from pathlib import Path

from kbootstrap.remote.script import PACKAGE, runner, shell_file

SHELLS = ("dash", "bash")
LIBRARIES = "".join(shell_file(f"shell/lib/{path.name}") for path in sorted((PACKAGE / "shell/lib").glob("*.sh")))


def sh(shell: str, script: str, mode: str = "apply", folder: Path = Path("/")) -> list[str]:
    """What a script after the runner and all libraries prints, line by line; reports begin with ``@m``."""
    text = runner() + LIBRARIES + f"KB_STATE={folder}/state\nKB_DIR={folder}\n" + script
    done = subprocess.run(
        [shell],
        input=text,
        capture_output=True,
        text=True,
        env={"KB_MODE": mode, "KB_MARKER": "@m", "PATH": "/usr/bin:/bin"},
    )
    return [*(done.stdout + done.stderr).splitlines(), f"status {done.returncode}"]


def step(check: str, apply: str = ":", retries: int = 0, waits: int = 0, following: str = "") -> str:
    """A script of one step, ``s``; ``following`` is the name of the one that is said to follow."""
    functions = f"check() {{\n{check}\n}}\napply() {{\n{apply}\n}}\n"
    return f"kb_begin s\nkb_load() {{\n{functions}}}\nkb_step s {retries} {waits} {following}\n"
