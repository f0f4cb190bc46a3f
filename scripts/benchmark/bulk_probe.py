"""Puts a file on all hosts at once, with kbootstrap and with OpenSSH's `cat >` in turn. Prints the seconds as JSON.

bulk_probe.py FILE KEY KNOWN_HOSTS TIMES ADDRESS...
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

from benchmark import bulk
from benchmark.connect_probe import make_host
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.transport import SshTransport

TARGET = "/run/bulk"
_T = TypeVar("_T")


def put(source: Path, way: bulk.Way, transport: SshTransport) -> None:
    went = bulk.put(transport, source, TARGET)
    if went != way:
        raise SystemExit(f"the file was sent with {went}, not with {way}")


def cat(source: Path, ssh: list[str], address: str) -> None:
    with source.open("rb") as file:
        subprocess.run([*ssh, f"root@{address}", f"cat >{TARGET}"], stdin=file, check=True)


def remove(transport: SshTransport) -> None:
    pipe = transport.execute(f"rm -f {TARGET}")
    while pipe.recv(10):
        pass


def main() -> None:
    source, key, known_hosts = map(Path, sys.argv[1:4])
    addresses = sys.argv[5:]
    shared = SshShared()
    transports = [SshTransport(make_host(address, key, known_hosts), shared) for address in addresses]
    ssh = [
        "ssh",
        "-F",
        "none",
        "-i",
        str(key),
        "-c",
        "aes128-gcm@openssh.com",
        "-o",
        f"UserKnownHostsFile={known_hosts}",
    ]
    taken: dict[str, list[float]] = {"kbootstrap": [], "unchanged": [], "openssh": []}
    with ThreadPoolExecutor(len(addresses)) as threads:

        def timed(name: str, work: Callable[[_T], None], hosts: Sequence[_T]) -> None:
            began = time.perf_counter()
            list(threads.map(work, hosts))
            taken[name].append(time.perf_counter() - began)

        list(threads.map(SshTransport.connect, transports))
        for _ in range(int(sys.argv[4])):
            list(threads.map(remove, transports))
            timed("kbootstrap", partial(put, source, "openssh"), transports)
            timed("unchanged", partial(put, source, "unchanged"), transports)
            list(threads.map(remove, transports))
            timed("openssh", partial(cat, source, ssh), addresses)
    print(json.dumps(taken))


if __name__ == "__main__":
    main()
