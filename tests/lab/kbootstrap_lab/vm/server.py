"""The package and time server of a lab: ``python -m kbootstrap_lab.vm.server NAMESPACE ADDRESS FOLDER...``

It runs inside the lab's network namespace, whose name is an argument only so that the process can be recognised. A
file is taken from the first folder that has it. Time is this machine's.
"""

from __future__ import annotations

import os
import socket
import struct
import sys
import threading
import time
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

_SINCE_1900 = 2208988800
"""NTP counts from 1900, Unix from 1970."""
_PACKET = struct.Struct("!BBbb11I")
_CLIENT, _SERVER = 3, 4
_STRATUM = 5


def answer(request: bytes, now: float) -> bytes | None:
    """The reply to an SNTP request (RFC 4330), or None when it is none."""
    if len(request) < _PACKET.size or request[0] & 7 != _CLIENT:
        return None
    version, poll = request[0] >> 3 & 7, request[2] & 0x7F
    stamp = (int(now) + _SINCE_1900, int(now % 1 * 2**32))
    sent = struct.unpack_from("!2I", request, 40)
    return _PACKET.pack(version << 3 | _SERVER, _STRATUM, poll, -20, 0, 1, 0x4C4F434C, *stamp, *sent, *stamp, *stamp)


def serve_time(address: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening:
        listening.bind((address, 123))
        while True:
            request, client = listening.recvfrom(1024)
            reply = answer(request, time.time())
            if reply is not None:
                listening.sendto(reply, client)


def handler(folders: list[Path]) -> type[SimpleHTTPRequestHandler]:
    class Handler(SimpleHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=str(folders[0]))

        def translate_path(self, path: str) -> str:
            found = Path(super().translate_path(path))
            inside = found.relative_to(folders[0])
            return str(next((folder / inside for folder in folders if (folder / inside).is_file()), found))

    return Handler


def main(address: str, folders: list[Path]) -> None:
    os.chdir("/")
    threading.Thread(target=serve_time, args=(address,), daemon=True).start()
    ThreadingHTTPServer((address, 80), handler(folders)).serve_forever()


if __name__ == "__main__":
    main(sys.argv[2], [Path(argument).resolve() for argument in sys.argv[3:]])
