"""The tools that kbootstrap is compared with, each in its own virtual environment below the user's cache folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = {
    "ansible": ("ansible-core==2.19.14", "mitogen==0.3.54"),
    "pyinfra": ("pyinfra==3.10.0", "paramiko==4.0.0"),
    "fabric": ("fabric==3.2.3", "paramiko==5.1.0"),
}
"""Versions that work together: mitogen 0.3.54 supports ansible-core up to 2.19, pyinfra 3.10 supports paramiko 4."""


def environment(name: str) -> Path:
    """The ``bin`` folder of a peer's environment. Makes it when it is missing or has other versions."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "kbootstrap" / "bench" / name
    stamp, wanted = folder / "kbootstrap-bench", "\n".join(PACKAGES[name])
    if not stamp.exists() or stamp.read_text() != wanted:
        print(f"bench: installing {', '.join(PACKAGES[name])} into {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        pip = [str(folder / "bin" / "python"), "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
        subprocess.run([*pip, *PACKAGES[name]], check=True)
        stamp.write_text(wanted)
    return folder / "bin"
