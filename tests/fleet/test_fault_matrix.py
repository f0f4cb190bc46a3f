"""A sample of the fault matrix (tests/faults has all of it), on a master and a worker: every fault once."""

from __future__ import annotations

import random

from support import fault_matrix
from support.labs import MakeLab

SEED = 4


def test_a_sample_of_the_fault_matrix(lab: MakeLab, record_property: fault_matrix.Note) -> None:
    known = fault_matrix.reference(lab, ("centos9", "debian12"))
    every = fault_matrix.cases(known, SEED)
    chance = random.Random(SEED)  # noqa: S311 - no secret
    chosen = [chance.choice([case for case in every if case.fault == fault]) for fault in fault_matrix.FAULTS]
    fault_matrix.run(known, chosen, record_property)
