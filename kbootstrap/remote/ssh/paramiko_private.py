"""The only module that uses private names of paramiko; ``pyproject.toml`` limits its version because of them."""

from __future__ import annotations

import getpass
import logging
import shlex
import socket
import subprocess
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import paramiko
from paramiko.agent import AgentSSH
from paramiko.common import cMSG_GLOBAL_REQUEST
from paramiko.ssh_exception import ConfigParseError

from kbootstrap.inventory.models import Bastion, Ssh
from kbootstrap.remote.ssh.sockets import WatchedSocket

# Without its own handler, paramiko's log goes to stderr, with a traceback for every server that does not speak SSH.
logging.getLogger("paramiko").addHandler(logging.NullHandler())

_KEX_FIRST = ("curve25519-sha256@libssh.org", "curve25519-sha256")
"""Key exchanges to try first: they take a third of the CPU time of the group exchanges."""

_CIPHERS_FIRST = ("aes128-gcm@openssh.com", "aes256-gcm@openssh.com")
"""Ciphers to try first: they need no MAC, which paramiko compares byte by byte in Python."""

OUTDATED = {
    "kex": [
        "diffie-hellman-group1-sha1",
        "diffie-hellman-group14-sha1",
        "diffie-hellman-group-exchange-sha1",
    ],
    "ciphers": ["3des-cbc", "aes128-cbc", "aes192-cbc", "aes256-cbc", "blowfish-cbc", "arcfour128", "arcfour256"],
    "macs": ["hmac-sha1", "hmac-sha1-96", "hmac-md5", "hmac-md5-96"],
    "keys": ["ssh-rsa", "ssh-dss"],
    "pubkeys": ["ssh-rsa", "ssh-dss"],
}
"""Old algorithms of paramiko that we offer only to hosts with ``legacy_algorithms``. ssh-rsa is RSA with SHA-1."""


_CHOICES = (
    ("key exchanges", "KexAlgorithms", "kex_algo_list", "kex"),
    ("host keys", "HostKeyAlgorithms", "server_key_algo_list", "keys"),
    ("ciphers", "Ciphers", "server_encrypt_algo_list", "ciphers"),
    ("MACs", "MACs", "server_mac_algo_list", "macs"),
)
"""In paramiko's order: our word, the setting of sshd_config, and paramiko's two names."""


class OfflineConfig(paramiko.SSHConfig):
    """paramiko's reader of ssh_config, for machines without the program ``ssh``.

    paramiko by itself takes a criterion of ``Match`` that it does not know as true, gives the operator's standard input
    to ``Match exec``, and replaces tokens before the user and port of the inventory are known.
    """

    TOKENS_BY_CONFIG_KEY = {  # noqa: RUF012
        key: paramiko.SSHConfig.TOKENS_BY_CONFIG_KEY[key] for key in ("hostname", "proxyjump", "match-exec")
    }
    given: Mapping[str, str] = MappingProxyType({})
    """Settings that count more than those of the file."""
    timeout = 30.0
    """For each ``Match exec``."""

    def asked(self, host: str, given: Mapping[str, str], timeout: float) -> dict[str, Any]:
        """The settings for a host. Many threads may ask at once."""
        copy = OfflineConfig()
        copy._config, copy.given, copy.timeout = self._config, given, timeout  # type: ignore[attr-defined]
        return dict(copy.lookup(host))

    def _lookup(self, hostname: str, options: Any = None, *args: Any, **kwargs: Any) -> Any:
        start = paramiko.SSHConfigDict(self.given) if options is None else options
        return super()._lookup(hostname, start, *args, **kwargs)  # type: ignore[misc]

    def _get_matches(self, match: str) -> list[dict[str, Any]]:
        words = shlex.split(match, comments=True)
        found = []
        while words:
            name, equals, value = words.pop(0).partition("=")
            kind = name.lower().removeprefix("!")
            if kind not in ("all", "canonical", "final") and not equals:
                if not words:
                    raise ConfigParseError(f"Match {name} has no value")
                value = words.pop(0)
            found.append({"type": kind, "param": value, "negate": name.startswith("!")})
        return found

    def _does_match(self, criteria: list[Any], host: str, canonical: bool, final: bool, options: Any) -> bool:
        for each in criteria:
            holds = self._criterion(
                each["type"], each["param"], host, {"canonical": canonical, "final": final}, options
            )
            # One that we do not know is never true, also with "!".
            if holds is None or holds == each["negate"]:
                return False
        return bool(criteria)

    def _criterion(self, kind: str, value: str, host: str, passes: dict[str, bool], options: Any) -> bool | None:
        if kind in ("all", *passes):
            return passes.get(kind, True)
        if kind == "exec":
            return self._ends_well(self._tokenize(options, host, "match-exec", value))  # type: ignore[attr-defined]
        me = getpass.getuser() if "user" in kind else ""
        texts = {"host": options.get("hostname", host), "originalhost": host, "localuser": me}
        texts["user"] = options.get("user", me)
        return bool(self._pattern_matches(value, texts[kind])) if kind in texts else None  # type: ignore[attr-defined]

    def _ends_well(self, command: str) -> bool:
        null = subprocess.DEVNULL
        ended = subprocess.run(  # noqa: S603
            ["/bin/sh", "-c", command], stdin=null, stdout=null, stderr=null, timeout=self.timeout, check=False
        )
        return ended.returncode == 0


@dataclass(frozen=True)
class Choice:
    """A choice of algorithms in which the server and we have none in common. ``setting`` is that of sshd_config."""

    what: str
    setting: str
    offered: tuple[str, ...]
    ours: tuple[str, ...]
    outdated: bool
    """Whether the server offers one of those that ``legacy_algorithms`` adds."""


class ChannelReply(threading.Event):
    """The event on which paramiko waits for the reply to a channel request. The wait ends with the connection.

    paramiko silently drops a request when the connection breaks just before it is sent.
    """

    def __init__(self, transport: paramiko.Transport) -> None:
        super().__init__()
        self._transport = transport

    def wait(self, timeout: float | None = None) -> bool:
        while not super().wait(1):
            if not self._transport.is_active():
                raise EOFError
        return True


class SshProtocol(paramiko.Transport):
    """paramiko's transport with our choice of algorithms, and with keepalives that require an answer."""

    sock: WatchedSocket  # type: ignore[assignment]
    _offers: Mapping[str, Any] = MappingProxyType({})
    """What the server offered, by paramiko's names."""

    @classmethod
    def make(cls, watched: WatchedSocket, known_kinds: list[str], login: Ssh | Bastion) -> SshProtocol:
        made = cls(watched, disabled_algorithms={} if login.legacy_algorithms else OUTDATED)  # type: ignore[arg-type]
        # WatchedSocket has the deadlines. paramiko's own deadline is always 15 s and needs a thread per connection.
        made.packetizer.start_handshake = lambda timeout: None  # type: ignore[method-assign]
        options = made.get_security_options()
        options.kex = _first(_KEX_FIRST, options.kex)
        options.ciphers = _first(_CIPHERS_FIRST, options.ciphers)
        # Ask for the known key first: a host can have several keys, and another one would count as a changed key.
        options.key_types = _first(known_kinds, options.key_types)
        return made

    def _really_parse_kex_init(self, m: paramiko.Message, ignore_first_byte: bool = False) -> Any:
        parsed = super()._really_parse_kex_init(m, ignore_first_byte)  # type: ignore[misc]
        if not ignore_first_byte:
            self._offers = parsed
        return parsed

    def nothing_in_common(self) -> Choice | None:
        """The first choice that failed, after paramiko.IncompatiblePeer."""
        for what, setting, key, kind in _CHOICES:
            offered = tuple(
                name for name in self._offers.get(key, ()) if not name.startswith(("kex-strict", "ext-info"))
            )
            ours = tuple(getattr(self, f"preferred_{kind}"))
            if offered and not set(offered) & set(ours):
                old = set(OUTDATED[kind]) & set(getattr(type(self), f"_preferred_{kind}"))
                return Choice(what, setting, offered, ours, bool(old & set(offered)))
        return None

    @property
    def login_banner(self) -> str:
        """What the server said before or while it refused the login."""
        banner = getattr(self.auth_handler, "banner", None) or b""
        return banner.decode("utf-8", "replace") if isinstance(banner, bytes) else str(banner)

    def watch(self) -> None:
        """Call this after the login: detect a dead connection from now on."""
        self.sock.watch(self._ask)

    def _ask(self) -> None:
        """Send a request that the server must answer. During a key exchange its packets are the answer."""
        if self.clear_to_send.is_set():
            message = paramiko.Message()
            message.add_byte(cMSG_GLOBAL_REQUEST)
            message.add_string("keepalive@openssh.com")
            message.add_boolean(True)
            self._send_user_message(message)  # type: ignore[attr-defined]


def _first(wanted: tuple[str, ...] | list[str], offered: Any) -> tuple[str, ...]:
    return (*(word for word in wanted if word in offered), *(word for word in offered if word not in wanted))


class PrivateAgent(AgentSSH):
    """A connection to an SSH agent over a socket that has a deadline."""

    @property
    def connected(self) -> bool:
        return self._conn is not None

    def use(self, connected: socket.socket) -> None:
        """Use this socket for the agent. Raises OSError, ValueError or paramiko.SSHException."""
        try:
            self._connect(connected)  # type: ignore[attr-defined]
        except (OSError, ValueError, paramiko.SSHException):
            self._conn = None
            raise

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]
