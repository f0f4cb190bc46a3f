"""One run of one workflow over an inventory: connect, gather facts, check the requirements, run the phases."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Literal

from kbootstrap import versions
from kbootstrap.errors import Failure, InventoryError, KbootstrapError, StepError
from kbootstrap.events import Event, NetworkTested, Notice, RunEnded, RunStarted, StepEnded
from kbootstrap.inventory.models import Host, Inventory
from kbootstrap.inventory.selection import select
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.phases import verify
from kbootstrap.phases.builtin import REQUIREMENTS
from kbootstrap.phases.phase import Context, Phase
from kbootstrap.phases.preflight.finding import Finding
from kbootstrap.run.engine import Engine
from kbootstrap.run.hosts import Hosts, builtin_step
from kbootstrap.run.options import Control, Options
from kbootstrap.run.redaction import clean_event
from kbootstrap.run.scheduler import Scheduler
from kbootstrap.run.state import RunState, StepCounts
from kbootstrap.run.workflow import Workflow
from kbootstrap.state_home import kubeconfigs
from kbootstrap.steps import Mode

View = Callable[[Event], None]


class Run:
    """One run. ``view`` gets every event, with secrets masked, in the thread that calls ``execute``."""

    def __init__(
        self, workflow: Workflow, mode: Mode, inventory: Inventory, options: Options, control: Control, view: View
    ) -> None:
        self.command = workflow.command(mode)
        self.mode = mode
        self.inventory = inventory
        if options.limit is not None:
            options = replace(options, limit=select(inventory, options.limit))
        self._workflow = workflow.selected(options)
        self._options = options
        self._control = control
        self._view = view
        leaving = workflow.leaving(inventory, options)
        self.state = RunState(
            Context(
                inventory,
                {},
                leaving=leaving,
                keep_settings=options.keep_settings,
                purge=options.purge,
                deep=options.deep,
                retest=control.run_id if workflow.tests_again else "",
            )
        )
        self._acting = workflow.acting(inventory, leaving)
        self._selected = self._selected_hosts(workflow.observed(inventory, leaving))
        _check_host_names("--force-host", inventory, options.force_hosts)
        for secret in (*inventory.secrets(), options.ssh_password, options.sudo_password):
            if secret is not None:
                control.redactor.add(secret)
        self._counts = StepCounts(host.name for host in self._selected)
        self._exit_codes: set[int] = set()
        self._hosts = Hosts(self.command, mode, options, control, self.state)
        self._hosts.check_keys(self._selected)
        self._nodes_ready: int | None = None
        self._kubectl_works = True
        self._scheduler = Scheduler(
            self._emit, options.parallelism or inventory.parallelism, control.stop, on_poll=self._show_life
        )

    def execute(self) -> RunEnded:
        """Run the workflow. Always disconnects at the end."""
        began = time.time()
        names = tuple(host.name for host in self._selected)
        cluster = self.inventory.cluster
        started = RunStarted(
            began,
            self._control.run_id,
            self.command,
            self.mode,
            cluster.name,
            names,
            self._control.journal,
            str(self.inventory.path),
            tuple(host.address for host in self._selected),
            f"Kubernetes {cluster.kubernetes}, {cluster.runtime.name}, {cluster.network.name.capitalize()}",
        )
        self._emit(started)
        try:
            self._scheduler.run([self._hosts.open_task(host, self._scheduler.post) for host in self._selected])
            self._require()
            engine = Engine(
                self.state, self._hosts.sessions, self.mode, self._emit, self._control.redactor, self._scheduler
            )
            engine.run(self._workflow.before, self._runs_on)
            if self._workflow.needs_first_control_plane:
                self._lose_failed_hosts()
            engine.run(self._workflow.phases, self._runs_on)
        except KeyboardInterrupt:
            self._report_running_scripts()
            raise
        finally:
            self._hosts.close()
        self._scheduler.drain()
        self._report_connections()
        if self._workflow.hands_out_kubeconfig and self.mode == "apply":
            self._keep_kubeconfig()
        if self._cluster_is_gone():
            self._discard_kubeconfigs()
        ended = self._summary(began)
        self._emit(ended)
        return ended

    # --- events ------------------------------------------------------------------------------------------------------

    def _emit(self, event: Event) -> None:
        event = clean_event(self._control.redactor, event)
        self._counts.handle(event)
        if isinstance(event, StepEnded) and event.state in ("change", "changed"):
            self.state.test_again(self._control.run_id)
        failed = isinstance(event, StepEnded) and event.state == "failed"
        if failed or (isinstance(event, Notice) and event.level == "error"):
            self._exit_codes.add(1)
        if isinstance(event, StepEnded) and (event.phase, event.step, event.state) == ("verify", "nodes", "ok"):
            self._nodes_ready = len(verify.expected(self.state.context()))
        self._view(event)

    def _show_life(self) -> None:
        for sign in self._counts.signs_of_life(time.time()):
            self._emit(sign)

    def _warn(self, text: str, host: str = "") -> None:
        self._emit(Notice(time.time(), "warning", text, host))

    def _report_running_scripts(self) -> None:
        """Warn about detached scripts, which continue to run after kbootstrap ends."""
        sessions = self._hosts.sessions
        running = [(step.name, host) for host, step in self._counts.running.items() if host in sessions]
        steps = [f"{step} on {host}" for step, host in running if sessions[host].detached]
        if self.mode == "apply" and steps:
            self._warn(f"these steps are still running: {', '.join(steps)}. The next run waits for them.")

    # --- requirements ------------------------------------------------------------------------------------------------

    def _require(self) -> None:
        """Report all known problems of all hosts, before the first change."""
        self._learn_version()
        if self._hosts.busy:
            for name in list(self._hosts.sessions):
                self._hosts.lose(name)
            text = f"another run is active on {', '.join(sorted(self._hosts.busy))}: this run changes nothing"
            self._emit(Notice(time.time(), "error", text))
            return
        if self._workflow.requirements is None:
            return
        self.state.lost.update({host.name for host in self.inventory.hosts} - set(self.state.facts))
        found = self._workflow.requirements(self.state.context(), self._workflow.phases, self._options)
        for host in self._selected:
            if host.name in self.state.facts:
                self._report(host.name, [finding for finding in found if finding.host == host.name])

    def _report(self, host: str, found: list[Finding]) -> None:
        for finding in found:
            if finding.level == "warning":
                self._warn(finding.text + (f" ({finding.hint})" if finding.hint else ""), host)
        errors = [finding for finding in found if finding.level == "error"]
        if builtin_step(self._scheduler.post, host, "preflight", REQUIREMENTS, lambda: _raise_all(errors)):
            self._hosts.lose(host)
        self._scheduler.drain()

    def _lose_failed_hosts(self) -> None:
        """Drop the hosts that failed so far. If the first control plane host failed, drop all hosts."""
        first = self.inventory.first_control_plane.name
        everyone = first in self.state.lost
        if everyone and self._hosts.sessions:
            self._warn(f"no host is changed, because {first} failed")
        for name in list(self._hosts.sessions):
            if everyone or name in self.state.lost:
                self._hosts.lose(name)

    def _learn_version(self) -> None:
        """Learn the version from a running cluster, or from the inventory if it has an exact version."""
        known = self.state.facts.get(self.inventory.first_control_plane.name)
        running = versions.exact(known.apiserver_version) if known else None
        version = running or self.inventory.cluster.exact
        if version:
            self.state.know_version(version)

    def _runs_on(self, phase: Phase, host: str) -> bool:
        if host not in {selected.name for selected in self._selected}:
            return False
        if phase.cluster_scoped:
            return self._acting is not None and host == self._acting.name
        return self._in_limit(host)

    def _in_limit(self, host: str) -> bool:
        return self._options.limit is None or host in self._options.limit

    def _selected_hosts(self, observed: frozenset[str]) -> list[Host]:
        """The hosts of --limit, the control plane host that acts for the cluster, and those that are only observed."""
        return [
            host
            for host in self.inventory.hosts
            if self._in_limit(host.name) or host == self._acting or host.name in observed
        ]

    # --- the end -----------------------------------------------------------------------------------------------------

    def _report_connections(self) -> None:
        found = self.state.outputs.connections
        if found is not None and self._acting is not None:
            self._emit(NetworkTested(time.time(), self._acting.name, found))

    def _keep_kubeconfig(self) -> None:
        """Save the administrator's kubeconfig for the operator."""
        text = self.state.outputs.kubeconfig
        if text is None:
            return
        try:
            path = kubeconfig.keep(text.reveal(), kubeconfigs(), self.inventory.cluster.name)
        except KbootstrapError as error:
            self._warn(f"{error.message} ({error.hint})")
            return
        self._emit(Notice(time.time(), "info", f"The administrator's kubeconfig is {path}"))
        self._kubectl_works = kubeconfig.usable(text.reveal())
        if not self._kubectl_works:
            self._emit(Notice(time.time(), "info", kubeconfig.NOT_FOR_KUBECTL))

    def _cluster_is_gone(self) -> bool:
        """Whether this run has removed every host of the inventory from the cluster."""
        everyone = {host.name for host in self.inventory.hosts}
        failed = self._exit_codes or self._hosts.exit_codes or self._control.stop.is_set()
        return self.mode == "apply" and self.state.given.leaving == everyone and not failed

    def _discard_kubeconfigs(self) -> None:
        """Remove the kubeconfig that an earlier ``up`` kept. A host of --force-host was in a cluster of its own."""
        own = [facts for name, facts in self.state.facts.items() if name not in self._options.force_hosts]
        try:
            gone = kubeconfig.discard(kubeconfigs(), {facts.ca_sha256 for facts in own} - {""})
        except KbootstrapError as error:
            self._warn(f"{error.message} ({error.hint})")
            return
        for path in gone:
            self._emit(Notice(time.time(), "info", f"Removed {path}, the kubeconfig of this cluster"))

    def _summary(self, began: float) -> RunEnded:
        codes = self._exit_codes | self._hosts.exit_codes
        status: Literal["ok", "failed", "interrupted"] = "ok"
        exit_code = 4 if 4 in codes else max(codes, default=0)
        if self._control.stop.is_set():
            status, exit_code = "interrupted", 130
        elif exit_code:
            status = "failed"
        ended, path = time.time(), tuple(self._scheduler.path)
        total, nodes = self._counts.total, len(self.inventory.hosts)
        hosts = self._counts.hosts
        return RunEnded(
            ended, status, exit_code, ended - began, total, hosts, path, self._nodes_ready, nodes, self._kubectl_works
        )


def _raise_all(errors: list[Finding]) -> tuple[str, ...]:
    if len(errors) == 1:
        raise StepError(Failure(errors[0].text, hint=errors[0].hint))
    if errors:
        texts = tuple(f"{finding.text}{' - ' + finding.hint if finding.hint else ''}" for finding in errors)
        raise StepError(Failure(f"{len(errors)} requirements are not met", output=texts))
    return ()


def _check_host_names(option: str, inventory: Inventory, given: tuple[str, ...]) -> None:
    names = {host.name for host in inventory.hosts}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InventoryError(
            f"{option} has hosts that are not in the inventory: {', '.join(unknown)}",
            f"The inventory has: {', '.join(sorted(names))} [host-selection]",
        )
