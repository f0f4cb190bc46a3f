"""The result of `verify --deep` on the screen and as JSON, and which two nodes `up` tests."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from support.examples import EL9, context, inventory

from kbootstrap.events import Connection, NetworkTested
from kbootstrap.phases.verify import PHASE
from kbootstrap.phases.verify.connections import CLEAN_UP_S, packet_step
from kbootstrap.redact import Redactor
from kbootstrap.run.redaction import clean_event
from kbootstrap.run.state import RunState
from kbootstrap.secret import Secret
from kbootstrap.ui import Style, choose_view
from kbootstrap.ui.connections import connection_lines
from kbootstrap.ui.jsonlines import as_object


def network(count: int, *broken: tuple[int, int]) -> NetworkTested:
    """All connections of some nodes; those between the pairs of ``broken`` failed."""
    names = [f"n{number}" for number in range(1, count + 1)]
    found = [
        Connection("pod", names[one], names[other], "failed", "no answer within 5 s", "A firewall.")
        if (one + 1, other + 1) in broken
        else Connection("pod", names[one], names[other], "ok")
        for one in range(count)
        for other in range(count)
        if one != other
    ]
    found += [Connection(kind, name, "", "ok") for name in names for kind in ("service", "dns")]
    found += [Connection("node-port", "n1", name, "ok") for name in names]
    return NetworkTested(1.0, "n1", tuple(found))


def shown(event: NetworkTested) -> list[str]:
    return list(connection_lines(Style(io.StringIO()), event))


def test_a_few_nodes_are_a_matrix() -> None:
    assert shown(network(3, (1, 3))) == [
        "",
        "FROM \\ TO  n1  n2  n3      Service  DNS  NodePort",
        "n1         -   ok  FAILED  ok       ok   ok",
        "n2         ok  -   ok      ok       ok   ok",
        "n3         ok  ok  -       ok       ok   ok",
        "5 of 6 pod to pod, 3 of 3 Service, 3 of 3 DNS, 3 of 3 NodePort",
    ]


def test_a_node_without_a_pod_is_said() -> None:
    some = (
        Connection("node", "n2", "", "failed", "ImagePullBackOff"),
        Connection("pod", "n1", "n3", "ok"),
        Connection("pod", "n3", "n1", "untested", "no time was left"),
    )
    said = shown(NetworkTested(1.0, "n1", some))
    assert any(line.startswith("n2(no pod)") for line in said)
    assert any(line.startswith("n3") and "?" in line for line in said)
    assert said[-1] == "1 of 2 pod to pod, 1 node not tested"


def test_many_nodes_are_the_failing_pairs_and_counts() -> None:
    assert shown(network(13, (1, 2), (2, 1))) == [
        "",
        "FAILED  n1 -> n2, pod to pod: no answer within 5 s",
        "FAILED  n2 -> n1, pod to pod: no answer within 5 s",
        "154 of 156 pod to pod, 13 of 13 Service, 13 of 13 DNS, 13 of 13 NodePort",
    ]
    said = shown(
        network(
            13,
            *((1, other) for other in range(2, 14)),
            *((2, other) for other in range(1, 14)),
            *((3, other) for other in range(1, 14)),
            *((4, other) for other in range(1, 14)),
        )
    )
    assert len(said) == 43
    assert said[-2] == "... and 8 more (-o json has all of them)"


@pytest.mark.parametrize("output", ["lines", "live"])
def test_both_views_show_the_matrix(output: str) -> None:
    stream = io.StringIO()
    with choose_view(output, stream=stream) as view:
        view.handle(network(2, (2, 1)))
    assert "n2         FAILED  -" in stream.getvalue()


def test_json_has_every_pair() -> None:
    line = as_object(network(13, (1, 2)))
    assert line is not None
    assert (line["type"], line["host"], line["ok"], len(line["connections"])) == ("network", "n1", False, 195)
    assert line["connections"][0] == {
        "kind": "pod",
        "from": "n1",
        "to": "n2",
        "state": "failed",
        "detail": "no answer within 5 s",
        "cause": "A firewall.",
    }


def test_what_a_pod_says_is_masked_and_has_no_escapes() -> None:
    redactor = Redactor()
    redactor.add(Secret("hunter22"))
    event = NetworkTested(1.0, "n1", (Connection("pod", "n1", "n2", "failed", "\033[31mhunter22", "hunter22"),))
    cleaned = clean_event(redactor, event)
    assert isinstance(cleaned, NetworkTested)
    assert "hunter22" not in repr(cleaned)
    assert "\033" not in cleaned.connections[0].detail


def test_up_tests_the_control_plane_host_and_a_node_that_joins_in_this_run(tmp_path: Path) -> None:
    made = context(inventory(tmp_path, workers=3))
    member = replace(EL9, kubelet_conf=True, manifests=True)
    first, hosts = made.inventory.first_control_plane, made.inventory.hosts

    def nodes(new: str = "", only: str = "") -> list[str]:
        facts = {host.name: EL9 if host.name == new else member for host in hosts}
        expected = [host for host in hosts if only in ("", host.name)]
        step = packet_step(replace(made, facts=facts), first, expected)
        return [line.split()[0] for line in str(step.params["TESTED"]).splitlines()]

    assert facts_of(member) == "member"
    assert nodes() == ["cp1", "w1"]
    assert nodes(new="w3") == ["cp1", "w3"]
    assert nodes(only="cp1") == ["cp1"]


def facts_of(found: object) -> str:
    return str(getattr(found, "cluster_state"))  # noqa: B009


def test_the_test_ends_before_the_limit_of_its_step(tmp_path: Path) -> None:
    made = context(inventory(tmp_path, workers=1))
    host = made.inventory.first_control_plane
    for deep in (False, True):
        step = PHASE.steps(replace(made, deep=deep), host)[-1]
        assert int(str(step.params["TIMEOUT"])) + CLEAN_UP_S == step.timeout
    short = host.model_copy(update={"ssh": host.ssh.model_copy(update={"command_timeout": 100})})
    assert packet_step(made, short, made.inventory.hosts).params["TIMEOUT"] == "40"


def test_a_change_in_the_run_makes_an_earlier_test_worthless(tmp_path: Path) -> None:
    state = RunState(context(inventory(tmp_path)))
    assert state.context().retest == ""
    state.test_again("run-1")
    assert state.context().retest == "run-1"
