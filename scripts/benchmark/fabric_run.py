"""A usual fabric script for this job: a connection per host, one ``run`` per step, a thread per host."""

from __future__ import annotations

import json
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fabric
import paramiko


def main() -> None:
    job = json.loads(Path(sys.argv[1]).read_text())

    def prepare(name: str, address: str) -> None:
        with fabric.Connection(address, user="root", connect_kwargs={"key_filename": job["key"]}) as connection:
            connection.client.load_host_keys(job["known_hosts"])
            connection.client.set_missing_host_key_policy(paramiko.RejectPolicy())
            for command in job["commands"]:
                connection.run(f"NAME={name}\n{command}", hide=True)

    with ThreadPoolExecutor(len(job["hosts"])) as pool:
        list(pool.map(prepare, *zip(*job["hosts"], strict=True)))


if __name__ == "__main__":
    main()
