"""A sample of the fault matrix (tests/faults has all of it), on a master and a worker."""

from __future__ import annotations

import random

import pytest
from support import fault_matrix
from support.labs import MakeLab

SEED = 4
CASES = 5
"""Per distribution of the worker."""


@pytest.mark.parametrize("worker", ["centos9", "debian12"])
def test_a_sample_of_the_fault_matrix(lab: MakeLab, worker: str, record_property: fault_matrix.Note) -> None:
    known = fault_matrix.reference(lab, ("centos9", worker))
    every = fault_matrix.cases(known, SEED)
    chosen = random.Random(f"{SEED} {worker}").sample(every, CASES)  # noqa: S311 - no secret
    fault_matrix.run(known, chosen, record_property)
