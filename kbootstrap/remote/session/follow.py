"""Follows one script to its end."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from kbootstrap.remote.protocol import ANSWERS_OUTSIDE_THE_LOG, Answer, Request, Status
from kbootstrap.remote.script import Report
from kbootstrap.remote.session.channel import Channel, Item
from kbootstrap.remote.session.errors import MAX_ANSWERS, MAX_OUTPUT, LostError, flood, unusable
from kbootstrap.remote.timeouts import Timeouts

_ANSWERS = frozenset(Answer)
_STATUS = re.compile(r"[0-9]{1,3}")


class Follower:
    """Passes on the reports and the output of a script, and kills the script when it takes too long.

    ``number`` identifies the script in requests to the launcher, because on a busy host an answer about the previous
    script can arrive late. ``kill_timeout`` is the time limit for the kill; ``log`` is a hint where its output is.
    """

    def __init__(
        self, host: str, channel: Channel, number: int, kill_timeout: float, log: str, timeouts: Timeouts
    ) -> None:
        self._host = host
        self._channel = channel
        self._number = str(number)
        self._kill_timeout = kill_timeout
        self._log = log
        self._timeouts = timeouts
        self._heard = self._pinged = self._now = time.monotonic()
        self._gone_at: float | None = None
        self._killed_at: float | None = None
        self._answers = 0

    def follow(self, on_item: Callable[[Item], None], overdue: Callable[[], bool]) -> int:
        """Returns the exit status. Raises OSError when the connection breaks, LostError when the host is given up."""
        while True:
            self._now = time.monotonic()
            for item in self._channel.next_items(self._timeouts.tick):
                self._heard = self._now
                status = self._take(item, on_item)
                if status is not None:
                    return status
            self._check_host()
            if self._killed_at is None and overdue():
                self._killed_at = self._now
                self._channel.send(f"{Request.KILL} TERM {self._number}\n".encode())
            self._check_silence()

    def _take(self, item: Item, on_item: Callable[[Item], None]) -> int | None:
        """Process an item. Returns the exit status when it is the script's end, else None."""
        if not isinstance(item, Report) or item.word not in _ANSWERS:
            self._gone_at = None
            on_item(item)
            return None
        if item.word == Answer.DONE:
            return self._status(item)
        if item.word == Answer.UNUSABLE:
            raise unusable(self._host, item.args)
        self._answers += item.word in ANSWERS_OUTSIDE_THE_LOG
        if item.args and item.args != (self._number,):
            return None
        if item.word == Answer.KILLED:
            return Status.TIMED_OUT
        if item.word == Answer.GONE and self._gone_at is None:
            self._gone_at = self._now
        return None

    def _check_host(self) -> None:
        if self._gone_at is not None and self._now - self._gone_at > self._timeouts.gone:
            raise LostError(
                f"{self._host}: the script is gone and sent no exit status",
                "Run `uptime` on the host to see whether it rebooted, then run the command again. [script-lost]",
            )
        if self._channel.parser.received > MAX_OUTPUT or self._answers > MAX_ANSWERS:
            raise flood(self._host)

    def _check_silence(self) -> None:
        if self._killed_at is not None and self._now - self._killed_at > self._kill_timeout:
            raise LostError(f"{self._host}: the host cannot kill a script that took too long", self._log)
        if self._now - self._heard > self._timeouts.dead:
            raise ConnectionError(f"no data for {self._timeouts.dead} s")
        if self._now - max(self._heard, self._pinged) > self._timeouts.quiet:
            self._pinged = self._now
            self._channel.send(f"{Request.PING} {self._number}\n".encode())

    def _status(self, done: Report) -> int:
        if len(done.args) != 1 or not _STATUS.fullmatch(done.args[0]):
            raise LostError(f"{self._host}: the host sent no valid exit status", self._log)
        return int(done.args[0])
