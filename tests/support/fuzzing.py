"""How many cases a fuzz test tries: few and always the same by default, all of them with KBOOTSTRAP_FUZZ=full.

`scripts/test --tier faults` sets it. A failure is reproduced from what Hypothesis prints.
"""

from __future__ import annotations

import os
from typing import Any

from hypothesis import HealthCheck, settings

FULL = os.environ.get("KBOOTSTRAP_FUZZ") == "full"


def cases(few: int, full: int, **more: Any) -> settings:
    """Settings for a test: ``few`` cases by default, ``full`` ones in the whole run."""
    slow = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=count(few, full), derandomize=not FULL, deadline=None, suppress_health_check=slow, **more
    )


def count(few: int, full: int) -> int:
    return full if FULL else few
