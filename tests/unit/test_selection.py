"""--limit: names, patterns and roles; and nothing that is empty ever means everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from support.examples import document, inventory, written

from kbootstrap import cli
from kbootstrap.cli import runs
from kbootstrap.errors import InventoryError, KbootstrapError
from kbootstrap.events import HostSummary, RunEnded
from kbootstrap.inventory.selection import select
from kbootstrap.run import reset
from kbootstrap.run.options import Options


@pytest.mark.parametrize(
    ("given", "chosen"),
    [
        (["w1"], "w1"),
        (["w2,w1"], "w1 w2"),
        (["w2", "w1", "w1"], "w1 w2"),
        ([" w1 , cp1 "], "cp1 w1"),
        (["w*"], "w1 w2 w3"),
        (["w[13]"], "w1 w3"),
        (["?p1"], "cp1"),
        (["*"], "cp1 cp2 w1 w2 w3"),
        (["role=worker"], "w1 w2 w3"),
        (["role=control-plane"], "cp1 cp2"),
        (["role=master"], "cp1 cp2"),
        (["role=control-plane,w3"], "cp1 cp2 w3"),
    ],
)
def test_hosts_are_chosen(tmp_path: Path, given: list[str], chosen: str) -> None:
    assert " ".join(select(inventory(tmp_path, control_planes=2, workers=3), given)) == chosen


@pytest.mark.parametrize("given", [[""], [","], ["w1,"], [",w1"], ["w1,,w2"], [" "], ["w1", ""], []])
def test_an_empty_name_never_means_every_host(tmp_path: Path, given: list[str]) -> None:
    made = inventory(tmp_path)
    with pytest.raises(InventoryError, match="empty name"):
        select(made, given)
    with pytest.raises(InventoryError, match="empty name"):
        reset(made, options=Options(limit=tuple(given)))


@pytest.mark.parametrize("given", ["w9", "x*", "role=", "role=etcd", "rolle=worker", "W1", "w1 w2", "-w1"])
def test_what_chooses_no_host_is_a_mistake(tmp_path: Path, given: str) -> None:
    with pytest.raises(InventoryError) as caught:
        select(inventory(tmp_path), ["cp1", given])
    assert f"--limit has hosts that are not in the inventory: {given}" in str(caught.value)


@pytest.mark.parametrize("command", [["plan"], ["up", "--yes"], ["up", "--dry-run"], ["check"], ["reset", "--yes"]])
@pytest.mark.parametrize("limit", ["", ",", "w1,"])
def test_every_command_refuses_an_empty_limit(tmp_path: Path, command: list[str], limit: str) -> None:
    done = CliRunner().invoke(cli.cli, [*command, "--limit", limit, str(written(tmp_path, document()))])
    assert isinstance(done.exception, InventoryError)
    assert done.exception.exit_code == 2
    assert "--limit has an empty name" in done.exception.message


@pytest.mark.parametrize(
    ("limit", "says"),
    [
        (None, "This destroys the cluster test on cp1, w1: every object in it"),
        (("*",), "This destroys the cluster test on cp1, w1: every object in it"),
        (("role=worker", "cp1"), "This destroys the cluster test on cp1, w1: every object in it"),
        (("w1",), "This removes w1 from the cluster test: their pods end"),
    ],
)
def test_the_confirmation_of_a_reset_says_what_is_lost(
    tmp_path: Path, limit: tuple[str, ...] | None, says: str, capsys: pytest.CaptureFixture[str], monkeypatch: Any
) -> None:
    made = inventory(tmp_path)
    touched = made.hosts if limit is None else [made.host(name) for name in select(made, limit)]
    hosts = {host.name: HostSummary(counts={"change": 3}) for host in touched}
    planned = RunEnded(0, "ok", 0, 1, {"change": 3}, hosts)
    monkeypatch.setattr("click.prompt", lambda *_words, **_options: "test")
    assert runs.confirm_reset(planned, made, Options(limit=limit))
    assert says in capsys.readouterr().err
    monkeypatch.setattr("click.prompt", lambda *_words, **_options: "tset")
    with pytest.raises(KbootstrapError, match="nothing was changed"):
        runs.confirm_reset(planned, made, Options(limit=limit))
