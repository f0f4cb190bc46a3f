"""The events of a run. ``time`` is in seconds since the epoch, ``seconds`` is a duration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from kbootstrap.errors import Failure
from kbootstrap.steps import Mode, State


@dataclass(frozen=True)
class RunStarted:
    """First event of a run. ``log`` is the path of its journal; empty when there is none.

    ``addresses`` are the SSH addresses of ``hosts``, in their order. ``inventory`` is the path of the inventory, and
    ``software`` what it asks for: ``Kubernetes 1.34, containerd, Flannel``.
    """

    time: float
    run_id: str
    command: str
    mode: Mode
    cluster: str
    hosts: tuple[str, ...]
    log: str = ""
    inventory: str = ""
    addresses: tuple[str, ...] = ()
    software: str = ""


@dataclass(frozen=True)
class HostWaits:
    """The next phase of a host waits for a phase of another host."""

    time: float
    host: str
    phase: str
    for_host: str
    for_phase: str


@dataclass(frozen=True)
class PhaseStarted:
    """A phase begins on a host; ``steps`` are the (id, title) pairs that will follow."""

    time: float
    host: str
    phase: str
    steps: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class StepStarted:
    """A step begins on a host."""

    time: float
    host: str
    phase: str
    step: str
    title: str


@dataclass(frozen=True)
class StepOutput:
    """One line that a running step printed, with secrets masked and terminal escapes removed."""

    time: float
    host: str
    phase: str
    step: str
    line: str


@dataclass(frozen=True)
class StepRunning:
    """A sign of life of a step that has run for ``seconds``. ``line`` is the last line that it printed."""

    time: float
    host: str
    phase: str
    step: str
    seconds: float
    line: str


@dataclass(frozen=True)
class StepEnded:
    """How a step ended. ``diff`` is what ``check`` printed: the difference that ``plan`` shows."""

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
    """A message for the user that is not a step: a warning, a reconnect, a finding."""

    time: float
    level: Literal["info", "warning", "error"]
    text: str
    host: str = ""


@dataclass(frozen=True)
class Connection:
    """One connection that a test of the pod network tried.

    ``kind`` is what was reached from the node ``source``: "pod" (the pod of the node ``target``), "service" (its
    ClusterIP), "dns" (the Service by its name) or "node-port" (a NodePort at the address of ``target``). "node" stands
    for the test's own pod on ``source``. ``detail`` is what the client said, ``cause`` the likely cause.
    """

    kind: Literal["node", "pod", "service", "dns", "node-port"]
    source: str
    target: str
    state: Literal["ok", "failed", "untested"]
    detail: str = ""
    cause: str = ""


@dataclass(frozen=True)
class NetworkTested:
    """The result of ``verify --deep``: every connection that was tried, by the control plane host ``host``."""

    time: float
    host: str
    connections: tuple[Connection, ...]


@dataclass(frozen=True)
class HostSummary:
    """Counts of step states on one host, and the first failure with its phase and step."""

    counts: Mapping[State, int]
    failed_phase: str = ""
    failed_step: str = ""
    failure: Failure | None = None


@dataclass(frozen=True)
class PathSegment:
    """A phase on a host, as a part of the critical path."""

    phase: str
    host: str
    seconds: float


@dataclass(frozen=True)
class RunEnded:
    """Last event of a run. ``exit_code`` follows the table in docs/architecture.md.

    ``critical_path`` is the chain of phases, each waiting for the previous one, that determined the run's duration.
    ``nodes_ready`` is how many of ``nodes`` this run has seen Ready; None when it has not looked. ``kubectl_works`` is
    False when the run got a kubeconfig that kubectl cannot use: that of simulated hosts.
    """

    time: float
    status: Literal["ok", "failed", "interrupted"]
    exit_code: int
    seconds: float
    counts: Mapping[State, int]
    hosts: Mapping[str, HostSummary]
    critical_path: tuple[PathSegment, ...] = ()
    nodes_ready: int | None = None
    nodes: int = 0
    kubectl_works: bool = True


Event = (
    RunStarted
    | HostWaits
    | PhaseStarted
    | StepStarted
    | StepOutput
    | StepRunning
    | StepEnded
    | PhaseEnded
    | Notice
    | NetworkTested
    | RunEnded
)
