"""Paths on a host that belong to the lab. This is a module of its own, so that stand-ins load little."""

MACHINE = "/.machine"
"""The real machine's programs and the stand-ins, read-only."""

LAB = "/.lab"
"""The state that the hosts of a lab share: their open ports and their clusters."""
