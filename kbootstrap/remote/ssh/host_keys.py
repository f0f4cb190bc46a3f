"""Verifies host keys: pinned fingerprints, known_hosts, and the inventory's policy for unknown hosts."""

from __future__ import annotations

import os
from pathlib import Path

import paramiko

from kbootstrap.errors import HostKeyError
from kbootstrap.remote.ssh.client_config import ClientConfig
from kbootstrap.remote.ssh.known_hosts import OWN, AllKnownHosts, HostKey
from kbootstrap.remote.ssh.shared import SshShared
from kbootstrap.remote.ssh.sockets import SSH_PORT
from kbootstrap.remote.ssh.target import Target


def known_hosts_files(named: Path, settings: ClientConfig) -> tuple[Path, ...]:
    """The inventory's file. If it names none, the files of ssh_config; new keys go to the first one."""
    own = OWN.expanduser()
    if named != own:
        return (named,)
    users = (own,) if settings.known_hosts is None else settings.known_hosts
    # Without a file of the user, a new key is accepted and kept nowhere, as ssh does it.
    return (*(users or (Path(os.devnull),)), *settings.global_known_hosts)


class HostKeyCheck(paramiko.MissingHostKeyPolicy):
    """Accepts or refuses every host key: pinned fingerprint, known_hosts, and the policy for unknown hosts.

    paramiko calls it for each connection because its own known_hosts stay empty.
    """

    def __init__(self, target: Target, port: int, settings: ClientConfig, shared: SshShared) -> None:
        self._label = target.label
        files = known_hosts_files(target.common.known_hosts, settings)
        self._known = AllKnownHosts(tuple(shared.known_hosts(path) for path in files))
        self._learn = target.common.host_key_policy == "accept-new"
        self._pinned = target.login.fingerprint
        plain = settings.host if port == SSH_PORT else f"[{settings.host}]:{port}"
        self._name = settings.host_key_alias or plain

    @property
    def known_kinds(self) -> list[str]:
        """The types of the host's keys in known_hosts. RSA keys are used with SHA-2 signatures."""
        kinds = [key.kind for key in self._known.keys(self._name)]
        return kinds + ["rsa-sha2-512", "rsa-sha2-256"] * ("ssh-rsa" in kinds)

    def missing_host_key(self, client: paramiko.SSHClient, name: str, key: paramiko.PKey) -> None:
        presented = HostKey(key.get_name(), key.asbytes())
        text = f"{presented.fingerprint} ({presented.kind})"
        verdict = self._known.judge(self._name, presented, learn=self._learn and self._pinned is None)
        path = self._known.place(self._name)
        if verdict == "revoked":
            raise HostKeyError(
                f"{self._label}the host key {text} is revoked in {path}",
                "Find out why before you connect; a reinstalled host has a new key. [host-key-changed]",
            )
        if self._pinned is not None:
            if presented.fingerprint != self._pinned.rstrip("="):
                raise HostKeyError(
                    f"{self._label}the host key is {text}, the inventory pins {self._pinned}",
                    "If the host was reinstalled, set ssh.fingerprint to its new fingerprint; otherwise someone may"
                    " intercept the connection. [host-key-changed]",
                )
        elif verdict == "changed":
            expected = ", ".join(f"{known.fingerprint} ({known.kind})" for known in self._known.keys(self._name))
            raise HostKeyError(
                f"{self._label}the host key has changed: it is {text}, {path} has {expected}",
                f"If the host was reinstalled: ssh-keygen -f {path} -R '{self._name}', then connect once with ssh and"
                " compare the fingerprint. Otherwise someone may intercept the connection. [host-key-changed]",
            )
        elif verdict == "unknown":
            raise HostKeyError(
                f"{self._label}the host is not in {path}; its key is {text}",
                "Connect once with ssh and compare the fingerprint, or pin it (ssh.fingerprint), or set"
                " ssh.host_key_policy: accept-new. [host-key-unknown]",
            )
