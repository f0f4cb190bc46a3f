"""Verifies host keys: pinned fingerprints, known_hosts, and the inventory's policy for unknown hosts."""

from __future__ import annotations

import fabric
import paramiko

from kbootstrap.errors import HostKeyError
from kbootstrap.remote.ssh.known_hosts import HostKey
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.target import Target


class HostKeyCheck(paramiko.MissingHostKeyPolicy):
    """Accepts or refuses every host key: pinned fingerprint, known_hosts, and the policy for unknown hosts.

    paramiko calls it for each connection because its own known_hosts stay empty.
    """

    def __init__(self, target: Target, connection: fabric.Connection, shared: SshShared) -> None:
        self._label = target.label
        self._known = shared.known_hosts(target.common.known_hosts)
        self._learn = target.common.host_key_policy == "accept-new"
        self._pinned = target.login.fingerprint
        plain = connection.host if connection.port == 22 else f"[{connection.host}]:{connection.port}"
        self._name = connection.ssh_config.get("hostkeyalias", plain)

    @property
    def known_kinds(self) -> list[str]:
        """The types of the host's keys in known_hosts. RSA keys are used with SHA-2 signatures."""
        kinds = [key.kind for key in self._known.keys(self._name)]
        return kinds + ["rsa-sha2-512", "rsa-sha2-256"] * ("ssh-rsa" in kinds)

    def missing_host_key(self, client: paramiko.SSHClient, name: str, key: paramiko.PKey) -> None:
        presented = HostKey(key.get_name(), key.asbytes())
        text = f"{presented.fingerprint} ({presented.kind})"
        verdict = self._known.judge(self._name, presented, learn=self._learn and self._pinned is None)
        path = self._known.path
        if verdict == "revoked":
            raise HostKeyError(
                f"{self._label}the host key {text} is revoked in {path}",
                "Find out why before you connect; a reinstalled host has a new key.",
            )
        if self._pinned is not None:
            if presented.fingerprint != self._pinned.rstrip("="):
                raise HostKeyError(
                    f"{self._label}the host key is {text}, the inventory pins {self._pinned}",
                    "If the host was reinstalled, set ssh.fingerprint to its new fingerprint; otherwise someone may"
                    " intercept the connection.",
                )
        elif verdict == "changed":
            expected = ", ".join(f"{known.fingerprint} ({known.kind})" for known in self._known.keys(self._name))
            raise HostKeyError(
                f"{self._label}the host key has changed: it is {text}, {path} has {expected}",
                f"If the host was reinstalled: ssh-keygen -f {path} -R '{self._name}', then connect once with ssh and"
                " compare the fingerprint. Otherwise someone may intercept the connection.",
            )
        elif verdict == "unknown":
            raise HostKeyError(
                f"{self._label}the host is not in {path}; its key is {text}",
                "Connect once with ssh and compare the fingerprint, or pin it (ssh.fingerprint), or set"
                " ssh.host_key_policy: accept-new.",
            )
