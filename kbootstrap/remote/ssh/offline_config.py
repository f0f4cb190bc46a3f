"""Reads ssh_config with paramiko, for machines without the program ``ssh``. Imports paramiko; import it lazily."""

from __future__ import annotations

import re
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import paramiko

from kbootstrap.remote.ssh.client_config import GLOBAL_KNOWN_HOSTS, ClientConfig, Query
from kbootstrap.remote.ssh.config_files import ConfigText
from kbootstrap.remote.ssh.paramiko_private import OfflineConfig

_WHOLE_LINES = ("proxycommand", "localcommand", "remotecommand", "knownhostscommand", "match")
"""Settings in which ``#`` begins no comment, or in which paramiko's reader looks for it itself."""


def offline_config(texts: Sequence[ConfigText]) -> OfflineConfig:
    """The settings of these files; the first value counts. Raises ValueError."""
    lines = [line for text in texts for line in ("Host *", *_flat(text))]
    made = OfflineConfig()
    try:
        made.parse(lines)
    except paramiko.SSHException as error:
        raise ValueError(str(error)) from None
    return made


def ask_offline(config: OfflineConfig, query: Query, timeout: float) -> ClientConfig:
    """What the files say about a host. Raises ValueError."""
    given = {"user": query.user, "port": None if query.port is None else str(query.port)}
    try:
        found = config.asked(query.address, {key: text for key, text in given.items() if text is not None}, timeout)
        port = int(found["port"]) if "port" in found else None
    except (paramiko.SSHException, OSError, KeyError, subprocess.TimeoutExpired) as error:
        raise ValueError(str(error)) from None
    identities = found.get("identityfile")
    return ClientConfig(
        address=query.address,
        host=found["hostname"],
        user=found.get("user"),
        port=port,
        identity_files=None if identities is None else _names(*identities),
        certificate_files=_names(found.get("certificatefile", "none")),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        identity_agent=found.get("identityagent", ""),
        known_hosts=_paths(found["userknownhostsfile"]) if "userknownhostsfile" in found else None,
        global_known_hosts=(
            _paths(found["globalknownhostsfile"]) if "globalknownhostsfile" in found else GLOBAL_KNOWN_HOSTS
        ),
        host_key_alias=found.get("hostkeyalias", ""),
        proxy_command=found.get("proxycommand") or "",
        proxy_jump=" ".join(_names(found.get("proxyjump") or "none")),
    )


def _names(*names: str) -> tuple[str, ...]:
    return tuple(name for name in names if name.lower() != "none")


def _paths(value: str) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in _names(*shlex.split(value)))


def _flat(text: ConfigText) -> Iterator[str]:
    """The lines of a file, with those of included files in their places."""
    block = ""
    for number, line in enumerate(text.lines, start=1):
        if line.strange:
            raise ValueError(f"line {number} of {text.path} is not KEYWORD VALUE")
        if line.keyword in ("host", "match"):
            block = f"{line.keyword} {line.value}"
        if line.keyword == "include":
            for file in line.included:
                yield from _included(file, block)
            yield block or "Host *"
        elif line.keyword:
            value = line.value if line.keyword in _WHOLE_LINES else _without_comment(line.value)
            yield f"{line.keyword} {value}"


def _included(file: ConfigText, block: str) -> Iterator[str]:
    """A block of an included file holds for the hosts of the block around Include only; paramiko cannot say that."""
    if block and any(line.keyword in ("host", "match") for _, _, line in file.all_lines()):
        raise ValueError(f"without the program ssh, {file.path} can be included only before the first Host or Match")
    yield from _flat(file)


def _without_comment(value: str) -> str:
    found = re.match(r"""(?:"[^"]*"|[^"\s]|\s(?!\s*#))*""", value)
    return found[0].rstrip() if found and found[0] else value
