"""Who reads an ssh_config, the program ``ssh`` or paramiko, and what that file may do."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import tempfile
import threading
import weakref
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from kbootstrap.errors import ConnectError
from kbootstrap.remote.ssh.client_config import ClientConfig, Query, SshProgram, public_environment
from kbootstrap.remote.ssh.config_files import ConfigText, read_config

if TYPE_CHECKING:
    from kbootstrap.remote.ssh.paramiko_private import OfflineConfig

OWN = Path("~/.ssh/config")
SYSTEM = Path("/etc/ssh/ssh_config")


class ConfigReader:
    """One ssh_config for many hosts. It is read in the threads of these hosts, once per host.

    The operator's own file and the system's may run programs, and so may a ``trusted`` one. Of any other file, ``ssh``
    gets a copy of what was checked: a ``Match exec`` would run while ``ssh -G`` reads it. ``find`` finds the program.
    """

    def __init__(self, path: Path, find: Callable[[], SshProgram | None], timeout: float, *, trusted: bool) -> None:
        self._path = path
        self._timeout = timeout
        self._lock = threading.Lock()
        self._found: dict[Query, ClientConfig] = {}
        self._offline: OfflineConfig | None = None
        self._originals: list[Path] = []
        self._folder: Path | None = None
        self._file: Path | None = path
        self._environment: Mapping[str, str] = os.environ
        own = path == OWN.expanduser()
        self._texts = [read_config(path), *([read_config(SYSTEM, system=True)] if own else [])]
        self._matters = any(text.matters for text in self._texts)
        self._program = find() if self._matters else None
        if own:
            # Without that file, the system's still counts.
            self._file = (
                None if path == _own_of_ssh() else next((file for file in (path, SYSTEM) if file.exists()), path)
            )
        elif not trusted:
            self._texts[0].refuse_programs()
            self._environment = public_environment()
            if self._program is not None:
                self._file = self._copy(self._texts[0])

    def _copy(self, text: ConfigText) -> Path:
        try:
            self._folder = Path(tempfile.mkdtemp(prefix="kbootstrap-ssh-"))
            # With this object, or at the end of Python.
            weakref.finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
            return text.copy(self._folder, self._originals)
        except OSError as error:
            raise ConnectError(
                f"{self._path} cannot be copied for ssh: {error}",
                "Set TMPDIR to a folder that can be written. [ssh-config]",
            ) from None

    def read(self, query: Query) -> ClientConfig:
        """What the file says about a host. Raises ConnectError."""
        if not self._matters:
            return ClientConfig(query.address, query.address, query.user, query.port)
        query.refuse_unsafe()
        found = self._found.get(query)
        if found is None:
            try:
                found = self._asked(query)
            except ValueError as error:
                raise ConnectError(
                    f"{self._path} cannot be read: {self._original(str(error))}",
                    "Correct that file, or set ssh.config: null in the inventory. [ssh-config]",
                ) from None
            self._found[query] = found
        return found

    def _asked(self, query: Query) -> ClientConfig:
        if self._program is not None:
            return self._program.read(query, self._file, self._environment, self._timeout)
        from kbootstrap.remote.ssh.offline_config import ask_offline, offline_config

        with self._lock:
            self._offline = self._offline or offline_config(self._texts)
        return ask_offline(self._offline, query, self._timeout)

    def _original(self, text: str) -> str:
        """The text with the names of the files that were copied."""
        if self._folder is None:
            return text
        copies = re.escape(str(self._folder)) + r"/(\d+)"
        return re.sub(copies, lambda found: str(self._originals[int(found[1])]), text)


def _own_of_ssh() -> Path | None:
    """The user's file for ``ssh``, which takes the home from passwd and not from HOME."""
    try:
        return Path(pwd.getpwuid(os.getuid()).pw_dir) / ".ssh/config"
    except KeyError:
        return None
