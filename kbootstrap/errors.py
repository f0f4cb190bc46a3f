"""Errors: one exception tree, and the failure report of a step.

The user, a host or the network causes every exception here. The command line shows it as text, never as a traceback,
and ends with its ``exit_code``.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Failure:
    """Why a step or a host failed: message, command, exit status, output, and a hint what to do."""

    message: str
    command: str = ""
    exit_status: int | None = None
    output: tuple[str, ...] = ()
    hint: str = ""


class KbootstrapError(Exception):
    """The base of all errors that a user, a host or the network can cause."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InventoryError(KbootstrapError):
    """The inventory, an option or a file given by the user is wrong."""

    exit_code = 2


class ConnectError(KbootstrapError):
    """A host cannot be reached, refuses the login, or presents the wrong host key."""

    exit_code = 4


class HostKeyError(ConnectError):
    """A host presents a host key that is not the known one. A retry does not help."""


class StepError(KbootstrapError):
    """A step failed on a host."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, failure.hint)
        self.failure = failure
