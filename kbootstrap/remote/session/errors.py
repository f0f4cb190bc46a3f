"""What can go wrong in a session."""

from __future__ import annotations

from kbootstrap.errors import KbootstrapError, StepError

MAX_OUTPUT = 16 * 1024 * 1024
"""Most bytes a single script may print. A host that sends more is disconnected."""
MAX_ANSWERS = 10_000
"""Most answers of the launcher during one script, or while a connection is made. It sends one every few seconds."""


class LockedError(KbootstrapError):
    """Another run is active on this host."""


class SudoError(StepError):
    """The login works, but the user does not become root."""

    exit_code = 4


class LostError(KbootstrapError):
    """The host went away and did not come back in time."""

    exit_code = 4


class BrokenError(LostError):
    """The connection broke while a script ran inline. Nothing was changed, so it may be run again.

    ``why`` says how the connection broke.
    """

    def __init__(self, host: str, why: str) -> None:
        super().__init__(f"{host}: the connection broke: {why}", "Is the host going down? Try again.")
        self.why = why


def flood(host: str) -> LostError:
    """The host sends without end."""
    return LostError(
        f"{host}: more than {MAX_OUTPUT >> 20} MiB of output, or {MAX_ANSWERS} answers, from one script",
        "Run `ssh HOST true` to see whether its login shell prints without end.",
    )


def error_text(error: OSError) -> str:
    """What an error of a connection says; a timeout says nothing by itself."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
