"""kbootstrap turns a handful of plain Linux hosts into a working Kubernetes cluster over SSH with kubeadm.

The names below are the public API (docs/library.md). They are imported at their first use, so that
``import kbootstrap`` is fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from kbootstrap.errors import KbootstrapError
    from kbootstrap.inventory import load as load_inventory
    from kbootstrap.inventory.models import Inventory
    from kbootstrap.run import check, kubeconfig, plan, plan_reset, reset, status, up, verify
    from kbootstrap.run.cluster_status import ClusterStatus
    from kbootstrap.run.options import Control, Options

__version__ = "0.1.0"

__all__ = [
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

_HOMES = {
    "ClusterStatus": "kbootstrap.run.cluster_status",
    "Control": "kbootstrap.run.options",
    "Inventory": "kbootstrap.inventory.models",
    "KbootstrapError": "kbootstrap.errors",
    "Options": "kbootstrap.run.options",
    "load_inventory": "kbootstrap.inventory",
    **dict.fromkeys(("check", "kubeconfig", "plan", "plan_reset", "reset", "status", "up", "verify"), "kbootstrap.run"),
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(importlib.import_module(_HOMES[name]), "load" if name == "load_inventory" else name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
