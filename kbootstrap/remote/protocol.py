"""The protocol between kbootstrap and the shell on a host: exit statuses and words, defined once for both sides.

The shell gets the statuses as assignments (``shell_assignments``). A test compares the words that the shell files
send and read with the words here.
"""

from __future__ import annotations

from enum import IntEnum, StrEnum


class Status(IntEnum):
    """Exit statuses of a script, and of a step's ``apply``."""

    OK = 0
    STEP_FAILED = 1
    """A step failed; its report has the failure."""
    FAILED_WITH_MESSAGE = 64
    """``apply`` called ``fail``: its last line is the message, and a retry does not help."""
    STOPPED = 75
    """The script was asked to stop, and stopped after a step."""
    TO_DO = 76
    """The checks of an ``up`` found a step that must be applied."""
    TIMED_OUT = 124
    """The script took too long and was killed. The session sets this status, not the shell."""


class ReportWord(StrEnum):
    """The first word of a report of a running script (see shell/runner.sh)."""

    BEGIN = "begin"
    APPLY = "apply"
    COMMAND = "command"
    HINT = "hint"
    RETRY = "retry"
    WARNING = "warning"
    REQUIREMENT_FAILED = "requirement_failed"
    VALUE = "value"
    VERIFY = "verify"
    END = "end"


class Request(StrEnum):
    """The first word of a line the launcher reads (see shell/launcher.sh)."""

    INLINE = "inline"
    DETACHED = "detached"
    WHOLE = "whole"
    FOLLOW = "follow"
    PING = "ping"
    KILL = "kill"
    STOP = "stop"
    QUIT = "quit"


class Answer(StrEnum):
    """The first word of a report of the launcher."""

    READY = "ready"
    BUSY = "busy"
    WAITING = "waiting"
    ALIVE = "alive"
    GONE = "gone"
    KILLED = "killed"
    UNUSABLE = "unusable"
    """The host cannot take part; the words after it say why."""
    DONE = "done"


ANSWERS_OUTSIDE_THE_LOG = frozenset(Answer) - {Answer.DONE}
"""Answers that are not part of a script's log. ``done`` is its last line."""

_STATUSES_OF_THE_SHELL = (Status.FAILED_WITH_MESSAGE, Status.STOPPED, Status.TO_DO)


def shell_assignments() -> str:
    """The statuses as shell variables, for the start of every script."""
    return "".join(f"KB_{status.name}={status.value}\n" for status in _STATUSES_OF_THE_SHELL)
