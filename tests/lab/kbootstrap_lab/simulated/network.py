"""The network between SSH clients and the hosts' SSH servers: one thread that accepts, delays, freezes and cuts.

Every byte of every connection passes through this proxy, so a fault also affects open connections. A delay keeps
several packets in flight, in order, as a long line does. It does not slow down the sender.
"""

from __future__ import annotations

import collections
import contextlib
import selectors
import socket
import struct
import threading
import time
from collections.abc import Callable

CHUNK = 64 * 1024
IN_FLIGHT = 4 * 1024 * 1024
"""Bytes in flight in one direction before the proxy stops reading from the sender."""


class Port:
    """One host's SSH port. ``delay`` is one-way, in seconds. ``connected`` gets the server's end of a connection."""

    def __init__(self, address: str, port: int, connected: Callable[[socket.socket, str], None]) -> None:
        self.address = address
        self.port = port
        self.delay = 0.0
        self.connected = connected
        self.frozen = False
        self.listener: socket.socket | None = None
        self.connections: set[_Connection] = set()


class _Stream:
    """One direction of a connection."""

    def __init__(self, source: socket.socket, target: socket.socket) -> None:
        self.source = source
        self.target = target
        self.queue: collections.deque[tuple[float, bytes]] = collections.deque()
        self.size = 0
        self.ended = False
        self.closed = False
        self.blocked = False


class _Connection:
    def __init__(self, port: Port, client: socket.socket, server: socket.socket) -> None:
        self.port = port
        self.client = client
        self.server = server
        self.streams = (_Stream(client, server), _Stream(server, client))

    def stream_from(self, end: socket.socket) -> _Stream:
        return self.streams[0] if end is self.client else self.streams[1]

    def stream_to(self, end: socket.socket) -> _Stream:
        return self.streams[1] if end is self.client else self.streams[0]


class Network:
    """All ports of a lab. Any thread may call its methods; one thread of the network does the work."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()
        self._calls: collections.deque[tuple[Callable[[], None], threading.Event]] = collections.deque()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ)
        self._connections: set[_Connection] = set()
        self._pending: set[_Connection] = set()
        self._thread = threading.Thread(target=self._run, name="network", daemon=True)
        self._thread.start()

    def _call(self, function: Callable[[], None]) -> None:
        if threading.current_thread() is self._thread:
            function()
            return
        done = threading.Event()
        self._calls.append((function, done))
        self._wake_write.send(b".")
        done.wait()

    def open(self, port: Port) -> None:
        """Listen. Raises OSError when the address is in use."""
        if port.listener:
            return
        listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((port.address, port.port))
        except OSError:
            listener.close()
            raise
        listener.listen(128)
        listener.setblocking(False)
        port.listener = listener
        self._call(lambda: self._register(listener, port))

    def _register(self, listener: socket.socket, port: Port) -> None:
        self._selector.register(listener, selectors.EVENT_READ, port)

    def close(self, port: Port) -> None:
        """Refuse new connections. Open connections stay."""
        listener, port.listener = port.listener, None
        if listener:
            self._call(lambda: self._unregister(listener))

    def _unregister(self, listener: socket.socket) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(listener)
        listener.close()

    def drop(self, port: Port) -> None:
        """Reset every connection of this port, as a crashed router or a restarted host does."""

        def cut() -> None:
            for connection in list(port.connections):
                self._end(connection, reset=True)

        self._call(cut)

    def freeze(self, port: Port, frozen: bool) -> None:
        """Stop passing bytes while connections stay open, or pass them again."""

        def change() -> None:
            port.frozen = frozen
            if port.listener:
                if frozen:
                    with contextlib.suppress(KeyError):
                        self._selector.unregister(port.listener)
                else:
                    self._register(port.listener, port)
            for connection in port.connections:
                self._watch(connection)

        if port.frozen != frozen:
            self._call(change)

    # --- the network's thread ---

    def _run(self) -> None:
        while True:
            for key, events in self._selector.select(self._next_due()):
                if key.fileobj is self._wake_read:
                    self._take_calls()
                elif isinstance(key.data, Port):
                    self._accept(key.data)
                elif isinstance(key.data, _Connection) and key.data in self._connections:
                    self._serve(key.data, key.fileobj, events)
            self._deliver_due()

    def _take_calls(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        while self._calls:
            function, done = self._calls.popleft()
            try:
                function()
            finally:
                done.set()

    def _next_due(self) -> float | None:
        due = [
            stream.queue[0][0]
            for connection in self._pending
            if not connection.port.frozen
            for stream in connection.streams
            if stream.queue and not stream.blocked
        ]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _accept(self, port: Port) -> None:
        if not port.listener:
            return
        try:
            client, (peer, _number) = port.listener.accept()
        except OSError:
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        server, inner = socket.socketpair()
        client.setblocking(False)
        inner.setblocking(False)
        connection = _Connection(port, client, inner)
        self._connections.add(connection)
        port.connections.add(connection)
        self._watch(connection)
        port.connected(server, peer)

    def _watch(self, connection: _Connection) -> None:
        """Register the events to wait for on both ends."""
        for end in (connection.client, connection.server):
            incoming, outgoing = connection.stream_from(end), connection.stream_to(end)
            events = 0
            if not connection.port.frozen:
                if not incoming.ended and incoming.size < IN_FLIGHT:
                    events |= selectors.EVENT_READ
                if outgoing.blocked:
                    events |= selectors.EVENT_WRITE
            self._set_events(end, events, connection)

    def _set_events(self, end: socket.socket, events: int, connection: _Connection) -> None:
        key = self._selector.get_map().get(end.fileno())
        if key is None:
            if events:
                self._selector.register(end, events, connection)
        elif not events:
            self._selector.unregister(end)
        elif key.events != events:
            self._selector.modify(end, events, connection)

    def _serve(self, connection: _Connection, end: object, events: int) -> None:
        assert isinstance(end, socket.socket)
        if events & selectors.EVENT_READ:
            self._read(connection, connection.stream_from(end))
        if connection in self._connections and events & selectors.EVENT_WRITE:
            stream = connection.stream_to(end)
            stream.blocked = False
            self._deliver(connection, stream)
        if connection in self._connections:
            self._watch(connection)

    def _read(self, connection: _Connection, stream: _Stream) -> None:
        try:
            data = stream.source.recv(CHUNK)
        except BlockingIOError:
            return
        except OSError:
            self._end(connection, reset=True)
            return
        due = time.monotonic() + connection.port.delay
        if data:
            stream.size += len(data)
        else:
            stream.ended = True
        stream.queue.append((due, data))
        self._pending.add(connection)
        if not connection.port.delay:
            self._deliver(connection, stream)

    def _deliver_due(self) -> None:
        for connection in list(self._pending):
            if connection.port.frozen:
                continue
            for stream in connection.streams:
                if stream.queue and not stream.blocked and connection in self._connections:
                    self._deliver(connection, stream)
            if connection in self._connections:
                self._watch(connection)

    def _deliver(self, connection: _Connection, stream: _Stream) -> None:
        """Deliver the bytes whose delay has passed."""
        moment = time.monotonic()
        while stream.queue and stream.queue[0][0] <= moment:
            due, data = stream.queue.popleft()
            if not data:
                stream.closed = True
                with contextlib.suppress(OSError):
                    stream.target.shutdown(socket.SHUT_WR)
                break
            try:
                sent = stream.target.send(data)
            except BlockingIOError:
                sent = 0
            except OSError:
                self._end(connection, reset=False)
                return
            stream.size -= sent
            if sent < len(data):
                stream.queue.appendleft((due, data[sent:]))
                stream.blocked = True
                break
        if not any(s.queue for s in connection.streams):
            self._pending.discard(connection)
        if all(s.closed for s in connection.streams):
            self._end(connection, reset=False)

    def _end(self, connection: _Connection, reset: bool) -> None:
        if connection not in self._connections:
            return
        self._connections.discard(connection)
        self._pending.discard(connection)
        connection.port.connections.discard(connection)
        if reset:
            with contextlib.suppress(OSError):
                connection.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        for end in (connection.client, connection.server):
            with contextlib.suppress(KeyError, ValueError):
                self._selector.unregister(end)
            end.close()
