"""Connects to one host several times. Prints the seconds that connect, login and `true` took each time, as JSON.

connect_probe.py ADDRESS KEY KNOWN_HOSTS
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from benchmark.probes import TIMES
from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.transport import SshTransport


def make_host(address: str, key: Path, known_hosts: Path) -> Host:
    """A host of the bench as a host of an inventory."""
    ssh = {"user": "root", "key": key, "known_hosts": known_hosts, "config": None}
    host = {"name": "host", "address": address, "role": "control-plane", "ssh": ssh}
    return Inventory.model_validate({"cluster": {"name": "probe", "kubernetes": "1.34"}, "hosts": [host]}).hosts[0]


def main() -> None:
    address, key, known_hosts = sys.argv[1:]
    host = make_host(address, Path(key), Path(known_hosts))
    shared = SshShared()
    times = []
    # Drop the first connection: it includes imports and the reading of keys, which a run does once.
    for _ in range(TIMES + 1):
        began = time.perf_counter()
        transport = SshTransport(host, shared)
        transport.connect()
        pipe = transport.execute("true")
        while pipe.recv(10):
            pass
        times.append(time.perf_counter() - began)
        transport.close()
    print(json.dumps(times[1:]))


if __name__ == "__main__":
    main()
