"""A slow line between clients and hosts: two TUN devices, and between them a queue that delays and counts packets.

It needs no `tc netem`, which many kernels do not have. It sees every packet, so it also counts round trips. A *round
trip* of a connection is counted when payload from the client follows payload that had reached the client, and once for
the TCP handshake. Payload sent while the other side is still sending counts too, so the figure is an upper bound.

    relay.py CLIENT_NETNS SERVER_NETNS      `delay SECONDS` and `count` on standard input, an answer on standard output
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import fcntl
import json
import os
import select
import struct
import sys
import time
from dataclasses import dataclass, field

DEVICE = "delayed"
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001
_SYN, _ACK = 0x02, 0x10


def open_tun(namespace: str) -> int:
    """Make a TUN device in another network namespace. This process stays in that namespace."""
    libc = ctypes.CDLL(None, use_errno=True)
    with open(namespace, "rb") as file:
        if libc.setns(file.fileno(), 0) != 0:
            raise OSError(ctypes.get_errno(), f"cannot enter {namespace}")
    device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN_NO_PI))
    return device


@dataclass
class Direction:
    """Packets on their way from one device to the other, oldest first."""

    source: int
    target: int
    waiting: collections.deque[tuple[float, bytes]] = field(default_factory=collections.deque)


@dataclass
class Counter:
    """Round trips per connection, from both sides' packets in the order in which the client sees them."""

    round_trips: int = 0
    connections: int = 0
    heard: set[bytes] = field(default_factory=set)
    """Connections whose client has received payload from the server since it last sent some."""

    def from_client(self, packet: bytes) -> None:
        header, flags, payload = parse(packet)
        connection = header[12:20] + header[20:24]
        if flags & _SYN:
            self.connections += 1
            self.round_trips += 1
        elif payload and connection in self.heard:
            self.heard.discard(connection)
            self.round_trips += 1

    def to_client(self, packet: bytes) -> None:
        header, _, payload = parse(packet)
        if payload:
            self.heard.add(header[16:20] + header[12:16] + header[22:24] + header[20:22])


def parse(packet: bytes) -> tuple[bytes, int, int]:
    """The addresses and ports of a packet (24 bytes), its TCP flags and payload size (0 for other protocols)."""
    size = (packet[0] & 15) * 4
    if packet[0] >> 4 != 4 or packet[9] != 6 or len(packet) < size + 20:
        return packet[:20].ljust(24, b"\0"), 0, 0
    payload = int.from_bytes(packet[2:4], "big") - size - (packet[size + 12] >> 4) * 4
    return packet[:20] + packet[size : size + 4], packet[size + 13], payload


class Relay:
    def __init__(self, client: int, server: int) -> None:
        self.delay = 0.0
        self.counter = Counter()
        self._there = Direction(client, server)
        self._back = Direction(server, client)

    def run(self) -> None:
        orders = sys.stdin.fileno()
        while True:
            ready, _, _ = select.select([self._there.source, self._back.source, orders], [], [], self._wait())
            for direction in (self._there, self._back):
                if direction.source in ready:
                    self._take(direction)
                self._deliver(direction)
            if orders in ready:
                text = os.read(orders, 4096).decode()
                if not text:
                    return
                for line in text.splitlines():
                    self._obey(line)

    def _wait(self) -> float | None:
        due = [direction.waiting[0][0] for direction in (self._there, self._back) if direction.waiting]
        return max(0.0, min(due) - time.monotonic()) if due else None

    def _take(self, direction: Direction) -> None:
        due = time.monotonic() + self.delay
        while True:
            try:
                packet = os.read(direction.source, 65536)
            except BlockingIOError:
                return
            if direction is self._there:
                self.counter.from_client(packet)
            direction.waiting.append((due, packet))

    def _deliver(self, direction: Direction) -> None:
        now = time.monotonic()
        while direction.waiting and direction.waiting[0][0] <= now:
            packet = direction.waiting.popleft()[1]
            if direction is self._back:
                self.counter.to_client(packet)
            # The other device may not be up. A packet that cannot be delivered is lost, as on any line.
            with contextlib.suppress(OSError):
                os.write(direction.target, packet)

    def _obey(self, line: str) -> None:
        word, _, value = line.partition(" ")
        if word == "delay":
            self.delay = float(value)
        counted, self.counter = self.counter, Counter()
        answer = {"round_trips": counted.round_trips, "connections": counted.connections}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    Relay(open_tun(sys.argv[1]), open_tun(sys.argv[2])).run()
