"""The vocabulary of kbootstrap: steps, phases and the events a run emits.

Plain frozen dataclasses and one exception tree; nothing here imports anything heavy, opens a file or talks to a host.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from kbootstrap.facts import Facts
    from kbootstrap.inventory import Host, Inventory

Mode = Literal["plan", "apply"]
"""The only difference between ``plan`` and ``up``: the word handed to the script on the host."""

State = Literal["ok", "change", "unknown", "changed", "failed", "skipped"]
"""How a step ended. ``plan`` gives ok, change or unknown; ``up`` gives ok, changed, failed or skipped."""


class Secret:
    """A text that must never be shown: every way of printing it gives ``***``. ``reveal()`` is the only way in."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return format("***", spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)

    def __reduce__(self) -> str | tuple[Any, ...]:
        raise TypeError("a Secret is not pickled")


Param = str | Secret


def counted(number: int, noun: str) -> str:
    """``1 host``, ``2 hosts``."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


@dataclass(frozen=True)
class Step:
    """One thing that must hold on a host: a shell file with ``check`` and ``apply``, and the values it reads.

    ``shell`` is the file's path below ``kbootstrap/phases``; ``params`` become shell variables (names in capitals);
    ``timeout`` is in seconds and covers ``apply``; ``retries`` is how often a failed ``apply`` is tried again;
    ``libraries`` are the files below ``kbootstrap/shell/lib`` whose functions it calls; ``waits`` marks a step
    that only waits for something (its success is ``ok``, never ``changed``); ``gives`` names the values it may hand
    over: a host that hands over any other is not believed; ``about`` is the host a step on the control plane is about,
    without which there is nothing to do.
    """

    id: str
    title: str
    shell: str
    why: str
    params: Mapping[str, Param] = field(default_factory=dict)
    timeout: int = 300
    retries: int = 0
    waits: bool = False
    libraries: tuple[str, ...] = ()
    gives: tuple[str, ...] = ()
    about: str = ""


@dataclass(frozen=True)
class Context:
    """What phases turn into steps.

    ``facts`` has every host that answered; ``values`` are born during the run (a join token); ``lost`` are the hosts
    that failed so far, or take no part in this run. ``leaving`` are the hosts a reset takes out of the cluster; with
    ``keep_settings`` it leaves what ``prepare`` changed, with ``purge`` it removes the packages that came.
    """

    inventory: Inventory
    facts: Mapping[str, Facts]
    values: dict[str, Param] = field(default_factory=dict)
    lost: set[str] = field(default_factory=set)
    leaving: frozenset[str] = frozenset()
    keep_settings: bool = False
    purge: bool = False


@dataclass(frozen=True)
class Phase:
    """An ordered list of steps per host.

    ``hosts`` names the hosts it runs on; ``steps`` is pure: facts and inventory in, steps out. A phase always follows
    the previous phase of its own host; ``needs`` adds (phase, host) pairs on other hosts that must have succeeded,
    ``after`` pairs that must only have ended. A phase ``for_cluster`` runs on the one control plane host that acts on
    behalf of all, so ``--limit`` never leaves it out.
    """

    name: str
    title: str
    why: str
    hosts: Callable[[Inventory], list[Host]]
    steps: Callable[[Context, Host], list[Step]]
    needs: Callable[[Inventory, Host], list[tuple[str, str]]] = lambda _inventory, _host: []
    after: Callable[[Inventory, Host], list[tuple[str, str]]] = lambda _inventory, _host: []
    for_cluster: bool = False


# --- what went wrong -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Failure:
    """Why a step or a host failed: everything a person needs at 2 a.m."""

    message: str
    command: str = ""
    exit_status: int | None = None
    output: tuple[str, ...] = ()
    hint: str = ""


class KbootstrapError(Exception):
    """A mistake of the user, a host or the network. Shown as text, never as a traceback."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class InventoryError(KbootstrapError):
    """The inventory, an option or a file given by the user is wrong."""

    exit_code = 2


class ConnectError(KbootstrapError):
    """A host cannot be reached, refuses the login, or shows the wrong key."""

    exit_code = 4


class HostKeyError(ConnectError):
    """A host shows a key that is not the one we know: nothing to try again."""


class StepError(KbootstrapError):
    """A step failed on a host."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message, failure.hint)
        self.failure = failure


# --- what a run tells its viewers ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class RunStarted:
    """First event of a run. ``time`` is seconds since the epoch, here and in every other event."""

    time: float
    run_id: str
    command: str
    mode: Mode
    cluster: str
    hosts: tuple[str, ...]
    log: str = ""
    """Path of the journal of this run; empty when there is none."""


@dataclass(frozen=True)
class PhaseStarted:
    """A phase begins on a host; ``steps`` are the (id, title) pairs that will follow."""

    time: float
    host: str
    phase: str
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StepStarted:
    time: float
    host: str
    phase: str
    step: str
    title: str


@dataclass(frozen=True)
class StepOutput:
    """One line a running step printed (already redacted and free of terminal escapes)."""

    time: float
    host: str
    phase: str
    step: str
    line: str


@dataclass(frozen=True)
class StepEnded:
    """How a step ended. ``diff`` is what ``check`` printed: the difference ``plan`` shows."""

    time: float
    host: str
    phase: str
    step: str
    title: str
    state: State
    seconds: float
    diff: tuple[str, ...] = ()
    failure: Failure | None = None


@dataclass(frozen=True)
class PhaseEnded:
    """A phase ended on a host. ``ok`` is False when one of its steps failed or the host was lost."""

    time: float
    host: str
    phase: str
    ok: bool
    seconds: float


@dataclass(frozen=True)
class Notice:
    """Something a person should know that is not a step: a warning, a reconnect, a finding."""

    time: float
    level: Literal["info", "warning", "error"]
    text: str
    host: str = ""


@dataclass(frozen=True)
class HostSummary:
    """Counts of step states on one host, and the first failure with its place."""

    counts: Mapping[State, int]
    failed_phase: str = ""
    failed_step: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class Stretch:
    """A phase on a host, as a part of the critical path."""

    phase: str
    host: str
    seconds: float


@dataclass(frozen=True)
class RunEnded:
    """Last event of a run. ``exit_code`` follows the table in docs/architecture.md.

    ``critical_path`` is the chain of phases, each waiting for the one before, that decided how long the run took.
    """

    time: float
    status: Literal["ok", "failed", "interrupted"]
    exit_code: int
    seconds: float
    counts: Mapping[State, int]
    hosts: Mapping[str, HostSummary]
    critical_path: tuple[Stretch, ...] = ()


Event = RunStarted | PhaseStarted | StepStarted | StepOutput | StepEnded | PhaseEnded | Notice | RunEnded
