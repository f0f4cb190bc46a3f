"""Where a host keeps what is not its own. A module apart, so that stand-ins need not load more to know it."""

MACHINE = "/.machine"
"""Where a host shows the real machine's programs and the stand-ins, read-only."""

LAB = "/.lab"
"""Where a host reaches what the hosts of a lab share: who listens where, and the state of their clusters."""
