"""Every fault at every step of `up` on a master and two workers; `scripts/test --tier faults` runs it.

KBOOTSTRAP_SEED chooses the moments within the steps (default 1); a failure names its case.
"""

from __future__ import annotations

import os

import pytest
from support import fault_matrix
from support.fault_matrix import Reference

PARTS = 48
"""The cases are known only after a run, so a test takes every 48th of them; workers share the tests."""


@pytest.mark.parametrize("part", range(PARTS))
def test_every_step_survives_every_fault(known: Reference, part: int, record_property: fault_matrix.Note) -> None:
    every = fault_matrix.cases(known, seed=int(os.environ.get("KBOOTSTRAP_SEED", "1")))
    assert len(every) > 4 * 60
    fault_matrix.run(known, every[part::PARTS], record_property)
