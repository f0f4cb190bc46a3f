"""The folder of kbootstrap's files on the operator's machine."""

from __future__ import annotations

import os
from pathlib import Path


def state_home() -> Path:
    """``$XDG_STATE_HOME/kbootstrap``, by default ``~/.local/state/kbootstrap``."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kbootstrap"
