"""What ssh_config says about one host. ``ssh -G`` reads it, where the program ``ssh`` exists."""

from __future__ import annotations

import os
import re
import shlex
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kbootstrap.errors import ConnectError
from kbootstrap.text import printable

GLOBAL_KNOWN_HOSTS = (Path("/etc/ssh/ssh_known_hosts"), Path("/etc/ssh/ssh_known_hosts2"))

_SAFE = re.compile(r"[\w.:@%+=/~\[\]][\w.:@%+=/~\[\]\\-]*(?<!\\)")
"""What a ``Match exec`` or ``ProxyCommand`` may get in place of %h, %n, %p or %r: nothing that a shell acts on."""

_PUBLIC = ("PATH", "HOME", "USER", "LOGNAME", "LANG")
"""The variables that ``${NAME}`` in an ssh_config of an inventory may have, besides KB_..."""


@dataclass(frozen=True)
class Query:
    """The host as the inventory names it. The inventory's user and port count more than those of ssh_config."""

    address: str
    user: str | None = None
    port: int | None = None

    def refuse_unsafe(self) -> None:
        """Programs of ssh_config get these values in their command lines, so no shell may act on them."""
        for value in (self.address, self.user):
            if value is not None and not _SAFE.fullmatch(value):
                raise ConnectError(
                    f"{value!r} cannot be used with ssh_config: a shell would act on one of its characters",
                    "Change that name, or set ssh.config: null in the inventory. [ssh-config]",
                )


@dataclass(frozen=True)
class ClientConfig:
    """The settings for one host. None or an empty value means that ssh_config does not say it."""

    address: str
    """The name as it was asked for, %n."""
    host: str
    user: str | None = None
    port: int | None = None
    identity_files: tuple[str, ...] | None = None
    certificate_files: tuple[str, ...] = ()
    identities_only: bool = False
    identity_agent: str = ""
    known_hosts: tuple[Path, ...] | None = None
    global_known_hosts: tuple[Path, ...] = GLOBAL_KNOWN_HOSTS
    host_key_alias: str = ""
    proxy_command: str = ""
    proxy_jump: str = ""

    @property
    def direct(self) -> bool:
        """Whether the host is reached by TCP from here."""
        return not self.proxy_command and not self.proxy_jump

    def expand(self, text: str, user: str, port: int) -> str:
        """The text with its tokens replaced, as in ssh_config(5). Other tokens than these stay."""
        local = socket.gethostname()
        values = {"%": "%", "h": self.host, "n": self.address, "p": str(port), "r": user, "l": local}
        values |= {"k": self.host_key_alias or self.host, "i": str(os.getuid()), "u": user_name()}
        values |= {"d": os.path.expanduser("~"), "L": local.split(".")[0]}
        return re.sub(r"%(.)", lambda found: values.get(found[1], found[0]), text)

    def file(self, name: str, user: str, port: int) -> Path:
        """The file that an IdentityFile or CertificateFile names."""
        text = re.sub(r"\$\{(\w+)\}", lambda found: os.environ.get(found[1], found[0]), name)
        path = Path(self.expand(text, user, port))
        try:
            return path.expanduser()
        except RuntimeError:
            return path

    def proxy(self, user: str, port: int) -> str:
        """The ProxyCommand with its tokens replaced. Raises ConnectError for a value on which a shell would act."""
        for value in (self.host, self.address, user):
            if not _SAFE.fullmatch(value):
                raise ConnectError(
                    f"the ProxyCommand cannot be run for {value!r}: a shell would act on one of its characters",
                    "Change the host's name or ssh.user. [ssh-config]",
                )
        return self.expand(self.proxy_command, user, port)


def user_name() -> str:
    """The local user, %u; empty when the machine does not know the name."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return ""


# --- ssh -G ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SshProgram:
    """The program ``ssh``. ``defaults`` are its settings for a host about which no ssh_config says anything."""

    path: str
    defaults: Mapping[str, tuple[str, ...]]

    @classmethod
    def probe(cls, path: str, timeout: float) -> SshProgram | None:
        """The program, if it is one that knows ``-G``."""
        try:
            defaults = _run([path, "-T", "-G", "-F", "none", "--", "localhost"], os.environ, timeout)
        except (ValueError, OSError, subprocess.TimeoutExpired):
            return None
        return cls(path, defaults) if "hostname" in defaults else None

    def read(self, query: Query, file: Path | None, environment: Mapping[str, str], timeout: float) -> ClientConfig:
        """What ``file`` says; None stands for ssh's own files. Raises ValueError with the words of ssh."""
        command = [self.path, "-T", "-G"]
        command += ["-F", str(file)] if file is not None else []
        command += ["-l", query.user] if query.user is not None else []
        command += ["-p", str(query.port)] if query.port is not None else []
        try:
            found = _run([*command, "--", query.address], environment, timeout)
        except OSError as error:
            raise ValueError(f"{self.path}: {error.strerror}") from None
        except subprocess.TimeoutExpired:
            raise ValueError(
                f"`{shlex.join([*command, query.address])}` gives no answer within {timeout:g} s"
            ) from None
        return self._settings(query, found)

    def _settings(self, query: Query, found: Mapping[str, tuple[str, ...]]) -> ClientConfig:
        def one(key: str) -> str:
            value = found.get(key, ("",))[0]
            return "" if value.lower() == "none" else value

        def unless_default(key: str) -> tuple[str, ...] | None:
            return None if found.get(key) == self.defaults.get(key) else found.get(key, ())

        identities = unless_default("identityfile")
        user_files = unless_default("userknownhostsfile")
        return ClientConfig(
            address=query.address,
            host=found["hostname"][0],
            user=found.get("user", ("",))[0] or None,
            port=int(one("port") or 22),
            identity_files=None if identities is None else tuple(name for name in identities if name != "none"),
            certificate_files=tuple(name for name in found.get("certificatefile", ()) if name != "none"),
            identities_only=one("identitiesonly").lower() in ("yes", "true"),
            identity_agent=found.get("identityagent", ("",))[0],
            known_hosts=None if user_files is None else _files(user_files[0] if user_files else "none"),
            global_known_hosts=_files(found.get("globalknownhostsfile", ("none",))[0]),
            host_key_alias=one("hostkeyalias"),
            proxy_command=one("proxycommand"),
            proxy_jump=one("proxyjump"),
        )


def public_environment() -> dict[str, str]:
    """The variables that an ssh_config of an inventory may see."""
    return {key: value for key, value in os.environ.items() if key in _PUBLIC or key.startswith(("KB_", "LC_"))}


def _run(command: list[str], environment: Mapping[str, str], timeout: float) -> dict[str, tuple[str, ...]]:
    """The lines of ``ssh -G`` as key and values. Raises ValueError, OSError or subprocess.TimeoutExpired."""
    ended = subprocess.run(  # noqa: S603
        command, stdin=subprocess.DEVNULL, capture_output=True, env=environment, timeout=timeout, check=False
    )
    if ended.returncode != 0:
        words = ended.stderr.decode("utf-8", "replace").split("\n")
        told = "; ".join(printable(line).strip() for line in words[-5:] if line.strip())
        raise ValueError(told or f"ssh -G ended with status {ended.returncode}")
    found: dict[str, tuple[str, ...]] = {}
    for line in ended.stdout.decode("utf-8", "surrogateescape").splitlines():
        key, _, value = line.partition(" ")
        found[key.lower()] = (*found.get(key.lower(), ()), value)
    return found


def _files(value: str) -> tuple[Path, ...]:
    """The files in a line of ``ssh -G``, which puts no quotes around names with spaces."""
    names = re.split(r" (?=[/~])", value)
    return tuple(Path(os.path.expanduser(name)) for name in names if name and name.lower() != "none")
