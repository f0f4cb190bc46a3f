"""Byte transport to a host. A transport opens one ``Pipe`` to one command; sessions use it."""

from __future__ import annotations

from typing import Protocol


class Pipe(Protocol):
    """Standard input and output of a command on a host; ``recv`` also returns its standard error."""

    def send(self, data: bytes) -> None:
        """Write all of it. Raises OSError when the connection is gone."""

    def recv(self, timeout: float) -> bytes:
        """Some bytes, or ``b""`` at the end. Raises TimeoutError after ``timeout`` seconds, OSError when cut."""

    def close(self) -> None: ...


class Transport(Protocol):
    def connect(self) -> None:
        """Open the connection. Raises ConnectError with a hint."""

    def execute(self, command: str) -> Pipe: ...

    def close(self) -> None: ...
