"""Functions that the Python stand-ins share: the host, its clock and user, and the lab's network."""

from __future__ import annotations

import ipaddress
import os
import sys
import time
from typing import NoReturn

LAB = "/.lab"
SIM = "/.machine/sim/bin"
NOT_FOUND = 64
"""Exit status of a stand-in for a request that it does not simulate."""


class Failed(Exception):
    """Ends the stand-in with this status, after the text on stderr."""

    def __init__(self, text: str, status: int = 1) -> None:
        super().__init__(text)
        self.text = text
        self.status = status


def unsupported(command: str, argv: list[str]) -> NoReturn:
    raise Failed(f"simulated {command}: unsupported: {' '.join(argv)}", NOT_FOUND)


def read(path: str) -> str:
    """A file's text, or an empty text when there is no such file."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""


def write(path: str, text: str, mode: int = 0o644) -> None:
    """Replace a file by a rename. Makes its directory when it is missing."""
    directory = os.path.dirname(path)
    os.makedirs(directory, exist_ok=True)
    new = f"{path}.new{os.getpid()}"
    fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(fd, "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(new, path)


HOST: dict[str, str] = {}
"""The settings of this host, by name without SIM_."""


def read_host() -> None:
    """Fill ``HOST``. Every stand-in begins with this."""
    pairs = (line.split("=", 1) for line in read("/var/lib/sim/host").splitlines())
    HOST.update((key.removeprefix("SIM_"), value.strip("'")) for key, value in pairs)


def user() -> str:
    return os.environ.get("SIM_USER", "root")


def now() -> int:
    """The host's time, in seconds since the epoch."""
    return int(time.time()) + int(read("/var/lib/sim/clock-offset") or 0)


def hostname() -> str:
    return os.uname().nodename


def systemctl(*arguments: str) -> int:
    return shell(f"{SIM}/systemctl", *arguments)


def shell(program: str, *arguments: str) -> int:
    """Run another stand-in with our stdout and stderr, and wait for it."""
    sys.stdout.flush()
    return os.spawnv(os.P_WAIT, program, [program, *arguments])  # noqa: S606 - no shell: a program of the lab


def publish() -> None:
    """Publish this host's open ports to the lab."""
    shell(f"{SIM}/publish")


def active(unit: str) -> bool:
    """Whether the service is started."""
    return os.path.exists(f"/run/sim/active/{unit}.service")


def reached(moment: str) -> None:
    """Report a moment in the middle of an action, where a test can hold or kill the host (bin/breakpoint)."""
    if os.path.isdir("/var/lib/sim/moment"):
        shell(f"{SIM}/breakpoint", "at", moment)


def run_main(function: object, command: str, argv: list[str]) -> int:
    """Call a stand-in's own main and turn ``Failed`` into its exit status."""
    try:
        result = function(command, argv)  # type: ignore[operator]
        sys.stdout.flush()
        return int(result or 0)
    except Failed as failed:
        sys.stdout.flush()
        if failed.text:
            print(failed.text, file=sys.stderr)
        return failed.status
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 141


# --- the lab's network -----------------------------------------------------------------------------------------------


def resolve(name: str) -> str | None:
    """The address of a name in /etc/hosts. An address is returned unchanged."""
    if all(part.isdigit() for part in name.split(".")):
        return name
    for line in read("/etc/hosts").splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if name in names:
            return address
    return None


def connect(name: str, port: int) -> str:
    """Connect to a port of a host of this lab. Returns the text of its service (the cluster's id for 6443).

    Raises Failed with the messages of Go programs.
    """
    address = resolve(name)
    if address is None:
        raise Failed(f"dial tcp: lookup {name} on 192.168.1.1:53: no such host")
    if address.startswith("127."):
        address = HOST["IP"]
    directory = f"{LAB}/net/{address}"
    if not os.path.exists(f"{directory}/name") or os.path.exists(f"{directory}/down"):
        raise Failed(f"dial tcp {address}:{port}: connect: no route to host")
    if address != HOST["IP"] and not allowed(f"{directory}/firewall", port):
        raise Failed(f"dial tcp {address}:{port}: connect: no route to host")
    try:
        with open(f"{directory}/listen/{port}") as file:
            return file.read().strip()
    except OSError:
        raise Failed(f"dial tcp {address}:{port}: connect: connection refused") from None


def allowed(path: str, port: int, protocol: str = "tcp", sender: str = "") -> bool:
    """Whether a host's firewall (its published rules), if it has one, lets this host or another sender in."""
    if not os.path.exists(path) or port == 22:
        return True
    for line in read(path).splitlines():
        _zone, kind, *value = line.split()
        if kind == "source" and ipaddress.ip_address(sender or HOST["IP"]) in ipaddress.ip_network(
            value[0], strict=False
        ):
            return True
        if kind == "port" and value[0].endswith(f"/{protocol}"):
            first, _, last = value[0].removesuffix(f"/{protocol}").partition("-")
            if int(first) <= port <= int(last or first):
                return True
    return False
