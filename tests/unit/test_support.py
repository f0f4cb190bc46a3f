"""`kbootstrap support-bundle` without hosts: masking, the archive, and what is not there. tests/fleet has the rest."""

from __future__ import annotations

import io
import json
import os
import stat
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.examples import document, written
from support.journals import EVENTS, record
from support.planted import LINES, PLANTED

from kbootstrap.cli import cli
from kbootstrap.redact import Redactor
from kbootstrap.remote import script
from kbootstrap.remote.facts import Facts
from kbootstrap.run.bundle import Bundle, clean, write_archive
from kbootstrap.run.history import find_run
from kbootstrap.run.support import PARTS, HostReport, _Lines
from kbootstrap.secret import Secret


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state/kbootstrap/runs"


def bundle(*arguments: str) -> Result:
    return CliRunner().invoke(cli, ["support-bundle", *arguments], obj=Redactor())


def texts(archive: bytes) -> dict[str, str]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        members = opened.getmembers()
        assert {(member.mode, member.uid, member.uname) for member in members} == {(0o600, 0, "")}
        return {
            member.name.removeprefix("kbootstrap-support/"): found.read().decode()
            for member in members
            if (found := opened.extractfile(member))
        }


def unreachable(folder: Path) -> Path:
    """An inventory whose hosts refuse the connection."""
    data = document()
    for host in data["hosts"]:
        host["internal_address"], host["address"] = host["address"], "127.0.0.1"
        host["ssh"] = {"port": 1 if host["role"] == "control-plane" else 2, "config": None}
    data["cluster"]["name"] = "demo"
    return written(folder, data)


@pytest.mark.parametrize("prefix", ["", "Nov 27 10:00:00 cp1 kubelet[123]: "])
def test_nothing_planted_survives_and_the_rest_stays(prefix: str) -> None:
    text = clean(Redactor(), "\n".join(prefix + line for line in LINES))
    assert [secret for secret in PLANTED if secret in text] == []
    assert text.endswith("harmless: the last line of all")
    assert "from the API server" in text
    assert "registry.example.com/v2/ failed" in text


@pytest.mark.parametrize(
    "text",
    [
        "sha256:" + "0123456789abcdef" * 4,
        "/var/lib/kubelet/pods/0f2c4a9e-0000-4e4e-9a9a-0123456789ab/volumes/kubernetes.io~projected/kube-api-access",
        "kubelet E1124 run.go:72] failed to load kubelet config file, path: /var/lib/kubelet/config.yaml",
        "https://registry.example.com:5000/v2/",
    ],
)
def test_what_a_helper_needs_stays(text: str) -> None:
    assert clean(Redactor(), text) == text


def test_everything_in_the_archive_is_masked(runs: Path) -> None:
    path = record(runs, "20260101T000000-aaaaaa")
    notices = [json.dumps({"event": "Notice", "time": 1, "level": "info", "text": line}) for line in LINES[:9]]
    path.write_text("\n".join([path.read_text().strip(), *notices, "{ torn hunter22"]))
    report = HostReport(Facts(os_name="Some OS hunter22"), {"kubelet": "\n".join(LINES)}, f"hunter22 {LINES[0]}")
    made = Bundle(f"no mistakes {LINES[4]} hunter22", (find_run(),), {"cp1": report})
    file = io.BytesIO()
    write_archive(made, Redactor([Secret("hunter22")]), file)
    found = texts(file.getvalue())
    assert list(found) == [
        "README.txt",
        "versions.json",
        "validate.txt",
        "runs/20260101T000000-aaaaaa.jsonl",
        "hosts/cp1/problem.txt",
        "hosts/cp1/facts.json",
        "hosts/cp1/kubelet.txt",
    ]
    everything = "\n".join(found.values())
    assert [secret for secret in ["hunter22", *PLANTED] if secret in everything] == []
    lines = found["runs/20260101T000000-aaaaaa.jsonl"].splitlines()
    assert [json.loads(line)["event"] for line in lines[:-1]][: len(EVENTS)] == [type(each).__name__ for each in EVENTS]
    assert json.loads(found["hosts/cp1/facts.json"])["os_name"] == "Some OS ***"


def test_hosts_that_do_not_answer_are_named(runs: Path, tmp_path: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    record(runs, "20260102T000000-bbbbbb", EVENTS[1:])
    path = tmp_path / "x.tar.gz"
    before = os.umask(0)
    try:
        done = bundle(str(unreachable(tmp_path)), "--file", str(path))
    finally:
        os.umask(before)
    assert done.exit_code == 0, done.output
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    found = texts(path.read_bytes())
    names = [host["name"] for host in document()["hosts"]]
    for name in names:
        assert f"{name}: not complete: " in done.stderr
        assert "refused" in found[f"hosts/{name}/problem.txt"]
        assert f"  {name}: " in found["README.txt"]
    assert "no mistakes" in found["validate.txt"]
    # The other run has no first line, so nobody knows its cluster.
    assert [name for name in found if name.startswith("runs/")] == ["runs/20260101T000000-aaaaaa.jsonl"]


def test_an_inventory_with_mistakes_is_in_the_bundle_as_what_validate_says(runs: Path, tmp_path: Path) -> None:
    record(runs, "20260101T000000-aaaaaa")
    (tmp_path / "bad.yaml").write_text("cluster: {kubernetes: '1.34'}\nhosts: []\nstrange: 1\n")
    path = tmp_path / "x.tar.gz"
    done = bundle(str(tmp_path / "bad.yaml"), "--run", "last", "--file", str(path))
    assert done.exit_code == 0, done.output
    assert "no host was asked" in done.stderr
    found = texts(path.read_bytes())
    assert "strange" in found["validate.txt"]
    assert "runs/20260101T000000-aaaaaa.jsonl" in found
    assert json.loads(found["versions.json"])["kbootstrap"]


def test_a_file_that_exists_is_not_overwritten(runs: Path, tmp_path: Path) -> None:
    path = tmp_path / "x.tar.gz"
    path.write_text("mine")
    done = bundle(str(unreachable(tmp_path)), "--file", str(path))
    assert "cannot be written: File exists" in str(done.exception)
    assert done.exception.exit_code == 2  # type: ignore[union-attr]
    assert path.read_text() == "mine"


def test_a_run_that_is_not_there_leaves_no_file(runs: Path, tmp_path: Path) -> None:
    done = bundle(str(unreachable(tmp_path)), "--run", "2020", "--file", str(tmp_path / "x.tar.gz"))
    assert "no run has a journal" in str(done.exception)
    assert not (tmp_path / "x.tar.gz").exists()


def test_parts_that_a_host_invents_are_dropped() -> None:
    lines = _Lines()
    for line in ("noise", "=== ../../etc", "x", "=== kubelet", "a", "=== nodes", "b", "=== kubelet", "c", "=== end"):
        lines.keep(script.Output(line))
    assert lines.parts() == {"kubelet": "a\nc\n=== end\n", "nodes": "b\n"}
    assert lines.whole


def test_the_script_prints_only_parts_that_are_known() -> None:
    text = script.support_script()
    printed = {line.split()[1] for line in text.splitlines() if line.strip().startswith("part ")}
    assert printed == PARTS
