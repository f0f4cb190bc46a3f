"""Connects to one host again and again, and prints how long connect, login and `true` took each time, as JSON.

connect_probe.py ADDRESS KEY KNOWN_HOSTS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmark.probes import TIMES
from kbootstrap.inventory import Inventory
from kbootstrap.transport import SshShared, SshTransport


def main() -> None:
    address, key, known_hosts = sys.argv[1:]
    ssh = {"user": "root", "key": Path(key), "known_hosts": Path(known_hosts), "config": None}
    host = {"name": "host", "address": address, "role": "master", "ssh": ssh}
    inventory = Inventory.model_validate({"cluster": {"name": "probe", "kubernetes": "1.34"}, "hosts": [host]})
    shared = SshShared()
    times = []
    # The first connection pays for imports and for reading keys; a run pays for that once.
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        transport = SshTransport(inventory.hosts[0], shared)
        transport.connect()
        pipe = transport.execute("true")
        while pipe.recv(10):
            pass
        times.append(time.perf_counter() - began)
        transport.close()
    print(json.dumps(times[1:]))


if __name__ == "__main__":
    main()
