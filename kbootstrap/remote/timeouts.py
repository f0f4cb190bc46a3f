"""Timeouts for the communication with hosts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """All in seconds. Tests inject short ones."""

    opening: float = 60
    """To become root and to take the host's lock, after the login."""
    quiet: float = 10
    """Time without data after which we ask the launcher whether the script is alive."""
    dead: float = 30
    """Time without data, even after that question, after which the connection counts as dead."""
    gone: float = 2
    """For the last lines of a script that has ended."""
    wait: float = 1800
    """For a script left by an interrupted run to end."""
    reconnect: float = 300
    """For reconnecting to a host, before the host counts as lost."""
    stable: float = 5
    """A connection that breaks sooner than this counts as unstable."""
    kill: float = 30
    """For the host to kill a detached script that took too long."""
    kill_inline: float = 5
    """The same for an inline script. It changes nothing, so it gets no time to clean up."""
    tick: float = 1
    """Interval of the check whether a script takes too long."""
    close: float = 2
    """For the host to remove the files of the run before the connection is closed."""
    keepalive: float = 8
    """Time without data after which SSH sends a keepalive request. This also keeps NAT entries alive."""
    answer: float = 15
    """For that answer. Together with ``keepalive`` a dead connection is detected within 30 s."""
    poll: float = 3
    """Interval of the deadline checks of a waiting connection. Hundreds of connections can wait at once."""
    retry: float = 0.5
    """Time before the second try to connect to a host that is not there yet."""
    login: float = 30
    """For a single attempt to log in, and for the start of the command."""


DEFAULTS = Timeouts()
