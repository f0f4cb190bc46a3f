"""The folder of kbootstrap's files on the operator's machine."""

from __future__ import annotations

import os
from pathlib import Path

from kbootstrap.errors import KbootstrapError


def state_home() -> Path:
    """``$XDG_STATE_HOME/kbootstrap``, by default ``~/.local/state/kbootstrap``."""
    base = os.environ.get("XDG_STATE_HOME") or home() / ".local" / "state"
    return Path(base) / "kbootstrap"


def kubeconfigs() -> Path:
    """The folder of the kubeconfigs that ``up`` keeps."""
    return state_home() / "kubeconfigs"


def home() -> Path:
    """The operator's home folder. Raises KbootstrapError where there is none: no HOME and no entry in passwd."""
    try:
        return Path.home()
    except RuntimeError:
        raise KbootstrapError(
            "this user has no home folder", "Set HOME to a folder that you can write to. [state-folder]"
        ) from None
