"""The operator's options for a run, and the caller's control of it."""

from __future__ import annotations

import secrets
import threading
import time
from dataclasses import dataclass, field

from kbootstrap.redact import Redactor
from kbootstrap.remote.timeouts import Timeouts
from kbootstrap.secret import Secret


@dataclass(frozen=True)
class Options:
    """The options of the command line.

    ``start`` and ``only`` are phase names (``--from``, ``--only``); ``limit`` chooses hosts (see
    ``inventory.selection``), None is every host; ``parallelism`` is the
    maximum number of hosts to work on at once (default: the inventory's). ``keep_settings``, ``purge`` and
    ``force_hosts`` (host names) are for ``reset``; ``deep`` is for ``verify``.
    """

    limit: tuple[str, ...] | None = None
    start: str | None = None
    only: str | None = None
    parallelism: int | None = None
    sudo_password: Secret | None = None
    ssh_password: Secret | None = None
    keep_settings: bool = False
    purge: bool = False
    force_hosts: tuple[str, ...] = ()
    deep: bool = False


def new_run_id() -> str:
    """A sortable id: UTC time and six random hex digits."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


@dataclass(frozen=True)
class Control:
    """How the caller controls one run.

    Set ``stop`` to end the run after the running steps. ``journal`` is the path of the run's journal, for reports.
    ``redactor`` masks the secrets in all events. Secrets that are created during the run are added to it.
    """

    run_id: str = field(default_factory=new_run_id)
    journal: str = ""
    stop: threading.Event = field(default_factory=threading.Event)
    redactor: Redactor = field(default_factory=Redactor)
    timeouts: Timeouts = field(default_factory=Timeouts)
