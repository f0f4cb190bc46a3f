"""What scripts/soak runs: rounds of up, a fault, up again and reset on one lab of three distributions."""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from kbootstrap.errors import KbootstrapError
from kbootstrap_lab import simulated
from support import fault_matrix
from support.driver import Fleet
from support.labs import maker

PURGE_CHANCE = 0.8
"""Where packages stay, the next round has no moment within their installation."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/soak")
    parser.add_argument("--cycles", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, maker(simulated, Path(folder)) as lab:
        known = fault_matrix.reference(lab, ("centos9", "debian12", "centos7"))
        return Soak(known, random.Random(options.seed)).run(options.cycles)  # noqa: S311 - no secret


class Soak:
    def __init__(self, known: fault_matrix.Reference, chance: random.Random) -> None:
        self._known = known
        self._chance = chance
        self._fleet = known.make()
        self._counts: Counter[str] = Counter()

    def run(self, cycles: int) -> int:
        began = time.monotonic()
        survivors = 0
        for number in range(1, cycles + 1):
            case = self._choose()
            try:
                struck = self._round(case)
                survivors += 1
                print(f"{number} {case if struck else f'not reached: {case}'}", flush=True)
            except (AssertionError, KbootstrapError, subprocess.TimeoutExpired) as error:
                print(f"{number} LOST {case}\n{error}", flush=True)
                # A round that went wrong must not be the beginning of the next one.
                simulated.down(self._fleet.name)
                self._fleet = self._known.make()
        faults = ", ".join(f"{name} {count}" for name, count in sorted(self._counts.items()))
        print(f"{cycles} rounds, {survivors} survived in {time.monotonic() - began:.0f} s: {faults}")
        return 0 if survivors == cycles else 1

    def _choose(self) -> fault_matrix.Case:
        """Every draw is made whether it is needed or not, so that a seed always means the same rounds."""
        every = fault_matrix.cases(self._known, self._chance.randrange(2**32))
        return self._chance.choice(every)

    def _round(self, case: fault_matrix.Case) -> bool:
        purges = self._chance.random() < PURGE_CHANCE
        struck = fault_matrix.strike(self._fleet, case)
        self._heal(self._fleet)
        self._counts[case.fault if struck else "not reached"] += 1
        fault_matrix.converge(self._fleet)
        self._counts["reset --purge" if purges else "reset"] += 1
        self._fleet.events("reset", "--yes", *(["--purge"] if purges else []))
        return struck

    @staticmethod
    def _heal(fleet: Fleet) -> None:
        for host in fleet.hosts:
            fleet.fault(host, "heal")


if __name__ == "__main__":
    sys.exit(main())
