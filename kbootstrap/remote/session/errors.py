"""Errors of a session."""

from __future__ import annotations

from kbootstrap.errors import KbootstrapError, StepError

MAX_OUTPUT = 16 * 1024 * 1024
"""Maximum output of a single script, in bytes. A host that sends more is disconnected."""
MAX_ANSWERS = 10_000
"""Maximum answers of the launcher during one script or one handshake. It sends one every few seconds."""


class LockedError(KbootstrapError):
    """Another run is active on this host."""


class SudoError(StepError):
    """The login works, but the user cannot become root."""

    exit_code = 4


class LostError(KbootstrapError):
    """The connection to the host is lost and cannot be restored in time."""

    exit_code = 4


class BrokenError(LostError):
    """The connection broke while a script ran inline. Nothing was changed, so the script can run again.

    ``why`` is the reason.
    """

    def __init__(self, host: str, why: str) -> None:
        super().__init__(
            f"{host}: the connection broke: {why}",
            "Check that the host is up, then run the command again. [ssh-broken]",
        )
        self.why = why


def flood(host: str) -> LostError:
    """The error for a host that sends too much."""
    return LostError(
        f"{host}: more than {MAX_OUTPUT >> 20} MiB of output, or {MAX_ANSWERS} answers, from one script",
        "Run `ssh HOST true`: it must print nothing. Check the login shell and its rc files on that host. "
        "[login-shell]",
    )


def unusable(host: str, why: tuple[str, ...]) -> LostError:
    """The error for a host whose launcher says that it cannot work there."""
    return LostError(
        f"{host}: {' '.join(why)[:500]}", "Correct that on the host, then run the command again. [run-folder]"
    )


def error_text(error: OSError) -> str:
    """The text of a connection error. A timeout has no text, so it gets one here."""
    return str(error) or ("no answer in time" if isinstance(error, TimeoutError) else type(error).__name__)
