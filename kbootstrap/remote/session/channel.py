"""The connection below a session: bytes out, reports and output lines in."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator

from kbootstrap.remote.protocol import ANSWERS_OUTSIDE_THE_LOG
from kbootstrap.remote.script import Output, Parser, Report
from kbootstrap.remote.session.errors import MAX_OUTPUT, flood
from kbootstrap.remote.transport import Pipe, Transport

Item = Report | Output


class Channel:
    """One command on a host at a time; every report starts with ``marker``."""

    def __init__(self, host: str, transport: Transport, marker: str) -> None:
        self._host = host
        self._transport = transport
        self._marker = marker
        self._pipe: Pipe | None = None
        self._unread: deque[Item] = deque()
        self.parser = self._new_parser()

    def _new_parser(self) -> Parser:
        return Parser(self._marker, ANSWERS_OUTSIDE_THE_LOG)

    def connect(self) -> None:
        """Log in. Raises ConnectError."""
        self._unread.clear()
        self._transport.connect()

    def execute(self, command: str) -> None:
        """Start the command. Raises ConnectError or OSError."""
        self._pipe = self._transport.execute(command)
        self.parser = self._new_parser()

    def drop(self) -> None:
        """Close the connection. Never raises OSError."""
        try:
            if self._pipe is not None:
                self._pipe.close()
            self._transport.close()
        except OSError:
            return
        finally:
            self._pipe = None

    def send(self, data: bytes) -> None:
        """Send all of the data. Raises OSError when the connection is lost."""
        self._connected().send(data)

    def receive(self, deadline: float) -> bytes:
        """Some bytes, or none at the end of the stream. Raises TimeoutError at the deadline."""
        pipe = self._connected()
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            raise TimeoutError("no answer in time")
        try:
            return pipe.recv(remaining)
        except TimeoutError:
            raise TimeoutError("no answer in time") from None

    def items(self, deadline: Callable[[], float]) -> Iterator[Item]:
        """Everything that arrives until the end of the stream. Raises TimeoutError at the deadline, which may move."""
        while True:
            # The caller can stop at an answer. The next caller gets the items after it.
            while self._unread:
                yield self._unread.popleft()
            data = self.receive(deadline())
            if not data:
                break
            self._unread.extend(self.parser.feed(data))
            if self.parser.received > MAX_OUTPUT:
                raise flood(self._host)
        yield from self.parser.end()

    def next_items(self, timeout: float) -> Iterator[Item]:
        """The items that arrive within ``timeout``, or none. Raises ConnectionError at the end of the stream."""
        if self._unread:
            unread, self._unread = self._unread, deque()
            yield from unread
            return
        try:
            data = self._connected().recv(timeout)
        except TimeoutError:
            return
        if not data:
            raise ConnectionError("closed by the host")
        yield from self.parser.feed(data)

    def _connected(self) -> Pipe:
        pipe = self._pipe  # another thread can set it to None
        if pipe is None:
            raise ConnectionError("not connected")
        return pipe
