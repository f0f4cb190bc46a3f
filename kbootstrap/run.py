"""The verbs: each opens the hosts, gathers facts, runs a list of phases, and says how it ended.

``plan`` and ``up`` are the same code with another mode; ``check``, ``verify`` and ``status`` run a part of it.
"""

from __future__ import annotations

import getpass
import secrets
import shlex
import socket
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from kbootstrap import facts, kubeconfig_file, phases, script, versions
from kbootstrap.engine import Emit, Engine, Scheduler, Task, failure_of
from kbootstrap.facts import Facts
from kbootstrap.inventory import Host, Inventory
from kbootstrap.journal import state_home
from kbootstrap.model import (
    Context,
    Event,
    Failure,
    HostSummary,
    InventoryError,
    KbootstrapError,
    Mode,
    Notice,
    Phase,
    RunEnded,
    RunStarted,
    Secret,
    State,
    Step,
    StepEnded,
    StepError,
    StepStarted,
    counted,
)
from kbootstrap.phases.opening import FACTS, REQUIREMENTS, SSH
from kbootstrap.phases.reset import staying_master
from kbootstrap.preflight import Finding, findings, reset_findings
from kbootstrap.protocol import Status
from kbootstrap.redact import Redactor
from kbootstrap.session import Item, LockedError, Session
from kbootstrap.transport import SshShared, SshTransport, Transport

View = Callable[[Event], None]

FACTS_S = 60
"""Seconds a host has to tell its facts."""


@dataclass(frozen=True)
class Options:
    """What the command line says beyond the inventory.

    ``start`` and ``only`` are phase names (``--from``, ``--only``); ``limit`` are host names; ``stop`` is set to end
    the run after the running steps; ``journal`` is the path of this run's journal, for the failure report;
    ``keep_settings``, ``purge`` and ``force_hosts`` (names) are for ``reset``.
    """

    limit: tuple[str, ...] = ()
    start: str | None = None
    only: str | None = None
    parallelism: int | None = None
    sudo_password: Secret | None = None
    ssh_password: Secret | None = None
    stop: threading.Event = field(default_factory=threading.Event)
    run_id: str = ""
    journal: str = ""
    keep_settings: bool = False
    purge: bool = False
    force_hosts: tuple[str, ...] = ()


@dataclass(frozen=True)
class NodeStatus:
    """A node as the API server sees it; ``reason`` says why it is not Ready."""

    name: str
    address: str
    role: str
    ready: bool
    version: str
    reason: str = ""


@dataclass(frozen=True)
class ClusterStatus:
    """What ``kbootstrap status`` shows. ``missing`` are inventory hosts that are no nodes."""

    nodes: tuple[NodeStatus, ...]
    missing: tuple[str, ...]
    pods_not_running: tuple[str, ...]

    @property
    def ok(self) -> bool:
        return not self.missing and not self.pods_not_running and all(node.ready for node in self.nodes)


def new_run_id() -> str:
    """A sortable id: UTC time and six random hex digits."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime()) + "-" + secrets.token_hex(3)


def plan(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """What ``up`` would do. Changes nothing on any host."""
    return Run("plan", "plan", inventory, options, view).execute(phases.UP)


def up(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """Bring the cluster to what the inventory says."""
    return Run("up", "apply", inventory, options, view).execute(phases.UP)


def plan_reset(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """What ``reset`` would do. Changes nothing on any host."""
    return Run("reset", "plan", inventory, options, view).execute(phases.RESET)


def reset(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """Take the hosts out of the cluster and put back what was there before."""
    return Run("reset", "apply", inventory, options, view).execute(phases.RESET)


def check(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """Preflight only: every finding about every host, nothing changed."""
    return Run("check", "plan", inventory, options, view).execute(phases.CHECK)


def verify(inventory: Inventory, *, options: Options, view: View) -> RunEnded:
    """Wait until every node is Ready and every system pod runs, or say why not."""
    return Run("verify", "apply", inventory, options, view).execute(phases.VERIFY)


def status(inventory: Inventory, *, options: Options) -> ClusterStatus:
    """Ask the API server through the first control plane host. Raises KbootstrapError when it cannot be asked."""
    run = _on_first_master("status", inventory, options, phases.STATUS)
    found = {node.name: node for node in map(_node_status, _rows(run, "nodes"))}
    ordered = [found.pop(host.name) for host in inventory.hosts if host.name in found]
    names = {node.name for node in ordered}
    return ClusterStatus(
        nodes=(*ordered, *found.values()),
        missing=tuple(host.name for host in inventory.hosts if host.name not in names),
        pods_not_running=tuple(text for line in _rows(run, "pods") if (text := _pod_trouble(line))),
    )


def kubeconfig(inventory: Inventory, *, options: Options) -> str:
    """The cluster's admin kubeconfig, read from the first control plane host."""
    return _value(_on_first_master("kubeconfig", inventory, options, phases.STATUS), "kubeconfig")


BY_HAND = """\
These are the scripts `kbootstrap up` would send to the hosts: a folder per host, a file per phase, in the order of
their numbers. Run one as root on its host:

    sh 02-prepare.sh plan      look: prints what differs, changes nothing
    sh 02-prepare.sh apply     make it so

Run a number on every host before the next number. Two things are born in a run and so are not in these files:
- the join command: on the first control plane host `kubeadm token create --print-join-command`, then what it prints
  on each host that joins (with --control-plane and a certificate key for a control plane host), instead of its join
  script;
- the token to delete afterwards: `kubeadm token delete`.
"""


def write_scripts(inventory: Inventory, directory: Path, *, options: Options, view: View) -> RunEnded:
    """Write the scripts ``up`` would send, one per host and phase; a plan is made for the facts they need."""
    run = Run("plan", "plan", inventory, options, view)
    ended = run.execute(phases.UP)
    for host in inventory.hosts:
        if host.name not in run.context.facts:
            continue
        folder = directory / host.name
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        for number, phase in enumerate(phases.UP, start=1):
            if host in phase.hosts(inventory) and (steps := phase.steps(run.context, host)):
                path = folder / f"{number:02d}-{phase.name}.sh"
                path.touch(mode=0o700)
                path.write_text(script.build(steps, run.context.facts[host.name].family), encoding="utf-8")
                path.chmod(0o700)
    (directory / "README").write_text(BY_HAND, encoding="utf-8")
    return ended


class Tally:
    """Counts step states per host while events pass by; ``running`` is the step each host is at."""

    def __init__(self, hosts: Iterable[str]) -> None:
        self.hosts = {host: HostSummary(counts={}) for host in hosts}
        self.running: dict[str, str] = {}

    def handle(self, event: Event) -> None:
        if isinstance(event, StepStarted):
            self.running[event.host] = f"{event.phase}.{event.step}"
        if not isinstance(event, StepEnded):
            return
        self.running.pop(event.host, None)
        old = self.hosts[event.host]
        counts = {**old.counts, event.state: old.counts.get(event.state, 0) + 1}
        new = replace(old, counts=counts)
        if event.failure is not None and old.failure is None:
            new = replace(new, failed_phase=event.phase, failed_step=event.step, failure=event.failure)
        self.hosts[event.host] = new

    @property
    def counts(self) -> dict[State, int]:
        total: dict[State, int] = {}
        for summary in self.hosts.values():
            for state, number in summary.counts.items():
                total[state] = total.get(state, 0) + number
        return total


class Run:
    """One run of one verb over an inventory."""

    def __init__(self, command: str, mode: Mode, inventory: Inventory, options: Options, view: View) -> None:
        self.command = command
        self.mode = mode
        self.inventory = inventory
        self.options = options
        self._facts: dict[str, Facts] = {}
        leaving = (
            frozenset(options.limit or (host.name for host in inventory.hosts)) if command == "reset" else frozenset()
        )
        self.context = Context(
            inventory, self._facts, leaving=leaving, keep_settings=options.keep_settings, purge=options.purge
        )
        self._run_id = options.run_id or new_run_id()
        self._view = view
        self._sessions: dict[str, Session] = {}
        self._shared = SshShared()
        asked = [secret for secret in (options.ssh_password, options.sudo_password) if secret is not None]
        self._redactor = Redactor([*inventory.secrets(), *asked])
        self._acting = staying_master(inventory, leaving) if command == "reset" else inventory.first_master
        self._selected = _selected_hosts(inventory, options.limit, self._acting)
        _known_hosts("--force-host", inventory, options.force_hosts)
        self._tally = Tally(host.name for host in self._selected)
        self._exit_codes: set[int] = set()
        self._busy: set[str] = set()
        self._scheduler = Scheduler(self._emit, options.parallelism or inventory.parallelism, options.stop)

    def execute(self, wanted: tuple[Phase, ...]) -> RunEnded:
        """Connect, gather facts, look at the requirements, run the phases; always disconnects."""
        began = time.time()
        chosen = _selected_phases(wanted, self.options)
        names = tuple(host.name for host in self._selected)
        self._emit(
            RunStarted(
                began, self._run_id, self.command, self.mode, self.inventory.cluster.name, names, self.options.journal
            )
        )
        try:
            self._open()
            self._require(wanted)
            clean, learn = self._redactor.clean, self._redactor.add
            engine = Engine(self.context, self._sessions, self.mode, self._emit, clean, self._scheduler, learn)
            engine.run([phase for phase in chosen if phase is phases.PREFLIGHT], self._runs_on)
            if wanted is phases.UP:
                self._leave_unfit()
            engine.run([phase for phase in chosen if phase is not phases.PREFLIGHT], self._runs_on)
        except KeyboardInterrupt:
            self._say_what_goes_on()
            raise
        finally:
            self._close()
        if self.command == "up":
            self._keep_kubeconfig()
        ended = self._summary(began)
        self._emit(ended)
        return ended

    # --- events ------------------------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        self._tally.handle(event)
        failed = isinstance(event, StepEnded) and event.state == "failed"
        if failed or (isinstance(event, Notice) and event.level == "error"):
            self._exit_codes.add(1)
        self._view(event)

    def _say_what_goes_on(self) -> None:
        """Scripts run detached from us: leaving at once does not end them."""
        running = [(step, host) for host, step in self._tally.running.items() if host in self._sessions]
        steps = [f"{step} on {host}" for step, host in running if self._sessions[host].detached]
        if self.mode == "apply" and steps:
            text = (
                f"left while steps were running: {', '.join(steps)}. They go on there, and the next run waits for them."
            )
            self._emit(Notice(time.time(), "warning", text))

    def _notice(self, host: str) -> Callable[[str], None]:
        return lambda text: self._view(Notice(time.time(), "warning", self._redactor.clean(text), host))

    def _step(self, emit: Emit, host: str, phase: str, step: Step, work: Callable[[], tuple[str, ...]]) -> bool:
        """Run a step that lives in Python; its result is the lines to show."""
        began = time.time()
        emit(StepStarted(began, host, phase, step.id, step.title))
        failure: Failure | None = None
        lines: tuple[str, ...] = ()
        try:
            lines = tuple(map(self._redactor.clean, work()))
        except KbootstrapError as error:
            self._exit_codes.add(error.exit_code)
            failure = failure_of(error, self._redactor.clean)
        now = time.time()
        state: State = "failed" if failure else "ok"
        emit(StepEnded(now, host, phase, step.id, step.title, state, now - began, lines, failure))
        return failure is None

    # --- hosts -------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        tasks = [self._open_task(host) for host in self._selected]
        self._scheduler.run(tasks)

    def _open_task(self, host: Host) -> Task:
        def work(emit: Emit) -> bool:
            return self._step(emit, host.name, "connect", SSH, lambda: self._connect(host)) and self._step(
                emit, host.name, "facts", FACTS, lambda: self._probe(host)
            )

        return Task(("connect", host.name), lambda: work, lambda: None)

    def _connect(self, host: Host) -> tuple[str, ...]:
        session = Session(
            host.name,
            self._transport(host),
            mode=self.mode,
            run_id=self._run_id,
            owner=f"{getpass.getuser()}@{socket.gethostname()} since {time.strftime('%H:%M:%S %Z')} ({self.command})",
            sudo=host.ssh.sudo,
            sudo_password=self.options.sudo_password or host.ssh.sudo_password,
            notice=self._notice(host.name),
        )
        try:
            session.open(ahead=("facts", script.facts_script()))
        except LockedError:
            self._busy.add(host.name)
            raise
        self._sessions[host.name] = session
        return ()

    def _transport(self, host: Host) -> Transport:
        if self.options.ssh_password is not None:
            ssh = host.ssh.model_copy(update={"password": self.options.ssh_password})
            host = host.model_copy(update={"ssh": ssh})
        return SshTransport(host, self._shared)

    def _probe(self, host: Host) -> tuple[str, ...]:
        lines: list[str] = []

        def keep(item: Item) -> None:
            if isinstance(item, script.Output):
                lines.append(item.line[: 2 * facts.MAX_VALUE])
            if len(lines) > facts.MAX_LINES:
                raise KbootstrapError(f"the host's facts have more than {facts.MAX_LINES} lines", "Look at the host.")

        deadline = time.monotonic() + FACTS_S
        status = self._sessions[host.name].run_inline(
            "facts", script.facts_script(), keep, lambda: time.monotonic() > deadline
        )
        if status != 0:
            text = (
                f"the facts probe did not end within {FACTS_S} s"
                if status == Status.TIMED_OUT
                else "the facts probe failed"
            )
            hint = "Log in and see what hangs or fails there: a file system that is away, a full disk, no memory."
            raise StepError(Failure(text, "facts.sh", status, tuple(lines[-20:]), hint))
        found = facts.parse(lines, received_at=time.time())
        self._facts[host.name] = found
        size = f"{counted(found.cpus, 'CPU')}, {found.memory_mib / 1024:.1f} GiB"
        return (f"{(found.os_name or found.os_id)[:100]} ({found.arch[:20]}, {size})",)

    def _close(self) -> None:
        threads = [threading.Thread(target=session.close, daemon=True) for session in self._sessions.values()]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(timeout=10)
        self._shared.close()

    def _keep_kubeconfig(self) -> None:
        """The administrator's kubeconfig, fetched for the operator."""
        text = self.context.values.get("kubeconfig")
        if not isinstance(text, Secret):
            return
        try:
            path = kubeconfig_file.keep(text.reveal(), state_home() / "kubeconfigs", self.inventory.cluster.name)
        except KbootstrapError as error:
            self._view(Notice(time.time(), "warning", f"{error.message} ({error.hint})"))
            return
        merge = f"kbootstrap kubeconfig {shlex.quote(str(self.inventory.path))} --merge"
        self._view(Notice(time.time(), "info", f"The kubeconfig is {path}; `{merge}` adds it to yours."))

    # --- requirements ------------------------------------------------------------------------------------------------

    def _require(self, wanted: tuple[Phase, ...]) -> None:
        """Everything that can be known to be wrong before the first change, for all hosts at once."""
        self._learn_version()
        if self._busy:
            for name in list(self._sessions):
                self._lose(name)
            text = f"another run is at work on {', '.join(sorted(self._busy))}: this one changes nothing on any host"
            self._emit(Notice(time.time(), "error", text))
            return
        if wanted not in (phases.UP, phases.CHECK, phases.RESET):
            return
        self.context.lost.update({host.name for host in self.inventory.hosts} - set(self._facts))
        if wanted is phases.RESET:
            found = reset_findings(self.inventory, self._facts, self.context.leaving - set(self.options.force_hosts))
        else:
            found = [*findings(self.inventory, self._facts), *self._nothing_to_join(wanted)]
        for host in self._selected:
            if host.name not in self._facts:
                continue
            mine = [finding for finding in found if finding.host == host.name]
            for finding in mine:
                if finding.level == "warning":
                    self._notice(host.name)(finding.text + (f" ({finding.hint})" if finding.hint else ""))
            errors = [finding for finding in mine if finding.level == "error"]
            if not self._step(self._emit, host.name, "preflight", REQUIREMENTS, lambda e=errors: _raise_all(e)):  # type: ignore[misc]
                self._lose(host.name)

    def _leave_unfit(self) -> None:
        """Hosts that do not meet the requirements stay as they are; without the first master, every host does."""
        first = self.inventory.first_master.name
        everyone = first in self.context.lost
        if everyone and self._sessions:
            self._notice("")(f"nothing is changed on any host, because {first} cannot take part")
        for name in list(self._sessions):
            if everyone or name in self.context.lost:
                self._lose(name)

    def _nothing_to_join(self, wanted: tuple[Phase, ...]) -> list[Finding]:
        """A run limited to hosts that would join a cluster which is not there yet."""
        first = self.inventory.first_master.name
        master = self._facts.get(first)
        joins = any(phase.name == "join" for phase in _selected_phases(wanted, self.options))
        if not self.options.limit or first in self.options.limit or not joins:
            return []
        if master is None or master.cluster_state == "member":
            return []
        text = f"there is no cluster to join: {first} is not initialised"
        return [
            Finding(host, "error", text, f"Add {first} to --limit, or run without it.") for host in self.options.limit
        ]

    def _lose(self, host: str) -> None:
        self.context.lost.add(host)
        session = self._sessions.pop(host, None)
        if session is not None:
            session.close()

    def _learn_version(self) -> None:
        """The version is known when the cluster runs or the inventory names it; what a host says must be a version."""
        known = self._facts.get(self.inventory.first_master.name)
        running = versions.exact(known.apiserver_version) if known else None
        version = running or self.inventory.cluster.exact
        if version:
            self.context.values["kubernetes_version"] = version

    def _runs_on(self, phase: Phase, host: str) -> bool:
        if host not in {h.name for h in self._selected}:
            return False
        if phase.for_cluster:
            return self._acting is not None and host == self._acting.name
        return not self.options.limit or host in self.options.limit

    # --- the end -----------------------------------------------------------------------------------------------------

    def _summary(self, began: float) -> RunEnded:
        status: Literal["ok", "failed", "interrupted"] = "ok"
        exit_code = 4 if 4 in self._exit_codes else max(self._exit_codes, default=0)
        if self.options.stop.is_set():
            status, exit_code = "interrupted", 130
        elif exit_code:
            status = "failed"
        ended, path = time.time(), tuple(self._scheduler.path)
        return RunEnded(ended, status, exit_code, ended - began, self._tally.counts, self._tally.hosts, path)


def _raise_all(errors: list[Finding]) -> tuple[str, ...]:
    if len(errors) == 1:
        raise StepError(Failure(errors[0].text, hint=errors[0].hint))
    if errors:
        texts = tuple(f"{finding.text}{' - ' + finding.hint if finding.hint else ''}" for finding in errors)
        raise StepError(Failure(f"{len(errors)} requirements are not met", output=texts))
    return ()


def _selected_hosts(inventory: Inventory, limit: tuple[str, ...], acting: Host | None) -> list[Host]:
    """The hosts of a run: those of ``--limit``, and the control plane host that acts for the cluster."""
    _known_hosts("--limit", inventory, limit)
    return [host for host in inventory.hosts if not limit or host.name in limit or host == acting]


def _known_hosts(option: str, inventory: Inventory, given: tuple[str, ...]) -> None:
    names = {host.name for host in inventory.hosts}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InventoryError(
            f"{option} names hosts that are not in the inventory: {', '.join(unknown)}",
            f"The inventory has: {', '.join(sorted(names))}",
        )


def _selected_phases(wanted: tuple[Phase, ...], options: Options) -> tuple[Phase, ...]:
    """The phases of a run after ``--from`` and ``--only``. A join always brings its token with it."""
    names = [phase.name for phase in wanted]
    for name in (options.start, options.only):
        if name is not None and name not in names:
            raise InventoryError(f"there is no phase {name!r}", f"The phases are: {', '.join(names)}")
    if options.start is not None and options.only is not None:
        raise InventoryError("--from and --only are given together", "Give one of them.")
    if options.only in ("token", "untoken"):
        raise InventoryError("a token is made and deleted by the same run", "Use --only join.")
    if options.only is not None:
        keep = {options.only}
    elif options.start is not None:
        keep = set(names[names.index(options.start) :])
    else:
        keep = set(names)
    if "join" in keep:
        keep |= {"token", "untoken"}
    return tuple(phase for phase in wanted if phase.name in keep)


def _on_first_master(command: str, inventory: Inventory, options: Options, wanted: tuple[Phase, ...]) -> Run:
    run = Run(command, "plan", inventory, replace(options, limit=(inventory.first_master.name,)), lambda _event: None)
    ended = run.execute(wanted)
    summary = ended.hosts[inventory.first_master.name]
    if summary.failure is not None:
        error = KbootstrapError(summary.failure.message, summary.failure.hint)
        error.exit_code = ended.exit_code
        raise error
    return run


def _value(run: Run, name: str) -> str:
    value = run.context.values.get(name)
    if not isinstance(value, Secret):
        master = run.inventory.first_master.name
        raise KbootstrapError(
            f"{master}: there is no API server that answers (no {name})",
            "Is there a cluster yet (kbootstrap up)? Otherwise see journalctl -u kubelet and crictl ps -a there.",
        )
    return value.reveal()


MAX_ROWS = 20_000
MAX_FIELD = 300
"""Longest field of a table that is shown; a node's name has at most 253 characters."""


def _rows(run: Run, name: str) -> list[str]:
    return [row for row in _value(run, name).split("\n", MAX_ROWS)[:MAX_ROWS] if row]


def _fields(line: str, count: int) -> list[str]:
    """The tab-separated fields of a line from the host, exactly ``count`` of them."""
    clean = Redactor().clean
    fields = [clean(field)[:MAX_FIELD] for field in line.split("\t", count - 1)]
    return fields + [""] * (count - len(fields))


def _node_status(line: str) -> NodeStatus:
    """A line of ``nodes`` in shell/lib/cluster.sh."""
    name, ready, version, address, labels, reason = _fields(line, 6)
    master = any(f"node-role.kubernetes.io/{role}" in labels for role in ("control-plane", "master"))
    return NodeStatus(
        name=name,
        address=address,
        role="control plane" if master else "worker",
        ready=ready == "True",
        version=version,
        reason="" if ready == "True" else reason or "the node reports nothing",
    )


def _pod_trouble(line: str) -> str:
    """Why a pod (a line of ``pods`` in shell/lib/cluster.sh) does not run, or nothing."""
    namespace, name, phase, ready, owner, reason, message = _fields(line, 7)
    if phase == "Succeeded" or (phase == "Running" and ("false" not in ready or owner == "Node")):
        return ""
    return f"{namespace}/{name}: {phase}, {reason or 'not ready'}" + (f": {message}" if message else "")
