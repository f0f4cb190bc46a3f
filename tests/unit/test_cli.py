"""The command line: help, errors, exit codes, start-up cost."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import resource
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner
from support.examples import admin_conf, document, written

from kbootstrap import cli as kbootstrap_cli
from kbootstrap.cli import cli
from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event, HostSummary, Notice, RunEnded, RunStarted
from kbootstrap.inventory.models import Inventory
from kbootstrap.kubernetes.kubeconfig import keep
from kbootstrap.run.cluster_status import ClusterStatus, NodeStatus
from kbootstrap.state_home import kubeconfigs
from kbootstrap.steps import Mode
from kbootstrap.versions import NEWEST, OLDEST, show
from kbootstrap_lab import LabError, state_dir

HEAVY = ("pydantic", "paramiko", "fabric", "rich", "yaml", "testcontainers", "cryptography")


def kbootstrap(
    *arguments: str, state: Path | None = None, folder: Path | None = None
) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, "XDG_STATE_HOME": str(state or "/nonexistent"), "KBOOTSTRAP_INVENTORY": ""}
    return subprocess.run(
        [sys.executable, "-m", "kbootstrap", *arguments],
        capture_output=True,
        text=True,
        env=env,
        cwd=folder,
        stdin=subprocess.DEVNULL,
    )


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "Turn plain Linux hosts into a Kubernetes cluster"),
        (["--version"], 0, "kbootstrap, version"),
        (["nonsense"], 2, "No such command"),
        (["plan"], 2, "there is no kbootstrap.yaml here"),
        (["up", "--exit-code", "x"], 2, "--exit-code needs --dry-run"),
        (["plan", "-f", "a", "b"], 2, "two inventories are given: b and a"),
        (["validate"], 2, "kbootstrap.yaml"),
        (["plan", "/no/such/file.yaml"], 2, "/no/such/file.yaml"),
        (["up", "--output", "nonsense", "x"], 2, "'nonsense' is not one of"),
        (["explain", "swop"], 2, "Did you mean 'swap'"),
        (["reset"], 2, "there is no kbootstrap.yaml here"),
        (["reset", "/no/such/file.yaml"], 2, "/no/such/file.yaml"),
        (["init"], 2, "user@host"),
        (["lab", "down", "--name", "no-such-lab"], 1, "there is no lab named no-such-lab"),
        (["lab", "up", "--name", "Bad Name"], 1, "is not a lab's name"),
    ],
)
def test_help_and_usage_errors(arguments: list[str], code: int, text: str, tmp_path: Path) -> None:
    done = kbootstrap(*arguments, state=tmp_path, folder=tmp_path)
    assert done.returncode == code, done.stderr
    assert text in done.stdout + done.stderr
    assert "Traceback" not in done.stderr


def test_help_costs_little_cpu() -> None:
    def cpu() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        assert kbootstrap("--help").returncode == 0
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert min(cpu() for _ in range(5)) < 0.150


def test_help_and_completion_import_nothing_heavy() -> None:
    for arguments in (["--help"], ["up", "--help"], ["completion", "bash"]):
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "kbootstrap", *arguments], capture_output=True, text=True
        )
        assert done.returncode == 0
        imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in done.stderr.splitlines()}
        assert "click" in imported
        assert imported & set(HEAVY) == set()


def test_mistakes_in_an_inventory_are_exit_code_2(tmp_path: Path) -> None:
    data = document()
    data["cluster"]["naem"] = "x"
    for verb in ("plan", "up", "check", "verify", "status", "kubeconfig"):
        done = kbootstrap(verb, str(written(tmp_path, data)), state=tmp_path)
        assert done.returncode == 2, done.stderr
        assert "cluster.naem: unknown key; did you mean 'name'?" in done.stderr
        assert done.stdout == ""


def test_no_host_answers_is_exit_code_4_and_json_stays_json(tmp_path: Path) -> None:
    data = document()
    for host in data["hosts"]:
        host["internal_address"], host["address"] = host["address"], "127.0.0.1"
        host["ssh"] = {
            "port": 1 if host["role"] == "control-plane" else 2,
            "user": "nobody",
            "config": str(tmp_path / "none"),
        }
    done = kbootstrap("plan", str(written(tmp_path, data)), "--output", "json", state=tmp_path)
    assert done.returncode == 4
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert lines[-1]["status"] == "failed"
    assert "connection refused" in lines[-1]["hosts"]["cp1"]["failure"]["message"]


def test_init_writes_once_and_never_over_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new.yaml"
    assert kbootstrap("init", "root@10.0.0.1", "root@10.0.0.2", "--file", str(path)).returncode == 0
    assert path.stat().st_mode & 0o777 == 0o600
    before = path.read_text()
    again = kbootstrap("init", "root@10.0.0.9", "--file", str(path))
    assert again.returncode == 2
    assert "already exists" in again.stderr
    assert path.read_text() == before


def test_every_way_to_name_an_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The argument, -f, the variable, the file in this folder: the first that is given."""
    monkeypatch.chdir(tmp_path)
    data = document()
    for number, name in enumerate(("argument.yaml", "option.yaml", "variable.yaml", "kbootstrap.yaml")):
        data["cluster"]["name"] = f"c{number}"
        written(tmp_path, data).rename(tmp_path / name)
    seen: list[str] = []

    def see(inventory: Inventory, **_options: object) -> None:
        seen.append(inventory.cluster.name)
        raise KbootstrapError("seen")

    monkeypatch.setattr("kbootstrap.run.status", see)
    for arguments, variable in (
        (["argument.yaml"], "variable.yaml"),
        (["-f", "option.yaml"], "variable.yaml"),
        ([], "variable.yaml"),
        ([], None),
    ):
        CliRunner(env={"KBOOTSTRAP_INVENTORY": variable}).invoke(cli, ["status", *arguments])
    assert seen == ["c0", "c1", "c2", "c3"]


def test_init_writes_the_inventory_that_the_other_commands_read(tmp_path: Path) -> None:
    done = kbootstrap("init", "root@10.0.0.1", "root@10.0.0.2", folder=tmp_path)
    assert done.stderr.endswith("wrote kbootstrap.yaml; next: kbootstrap plan\n")
    checked = kbootstrap("validate", folder=tmp_path)
    assert (checked.returncode, checked.stderr) == (0, "")
    assert checked.stdout == f"kbootstrap.yaml: no mistakes (2 hosts, Kubernetes {show(NEWEST)})\n"
    shown = kbootstrap("init", "root@10.0.0.1", "-f", "-", "--kubernetes", "1.20", folder=tmp_path)
    assert 'kubernetes: "1.20"' in shown.stdout
    assert "has had no security fixes since 2022-02-28" in shown.stderr


def test_validate_needs_no_connection_and_no_password(tmp_path: Path) -> None:
    data = document()
    data["ssh"] = {"password": "${env:KB_NOT_SET}"}
    data["cluster"]["kubernetes"] = "1.28"
    good = written(tmp_path, data).rename(tmp_path / "good.yaml")
    data["hosts"][0]["role"] = "boss"
    bad = written(tmp_path, data).rename(tmp_path / "bad.yaml")
    done = kbootstrap("validate", str(good), state=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "good.yaml: warning: Kubernetes 1.28 has had no security fixes since 2024-10-22" in done.stderr
    data["hosts"][0]["role"] = "chief"
    worse = written(tmp_path, data).rename(tmp_path / "worse.yaml")
    done = kbootstrap("validate", str(bad), str(worse), str(good), state=tmp_path)
    assert done.returncode == 2
    assert [name in done.stderr for name in ("bad.yaml:", "worse.yaml:")] == [True, True]
    assert "good.yaml: no mistakes" in done.stdout


def test_version_for_people_and_programs() -> None:
    said = json.loads(kbootstrap("version", "-o", "json").stdout)
    assert said["kubernetes"] == {"oldest": show(OLDEST), "newest": show(NEWEST)}
    assert f"kbootstrap {said['kbootstrap']} (Python 3." in kbootstrap("version").stdout


def test_explain_shows_why_and_the_shell() -> None:
    said = kbootstrap("explain", "swap").stdout
    for part in ("prepare.swap", "Turn swap off", "kubelet", "check() {", "apply() {"):
        assert part in said
    assert "shell/lib/wait.sh" in kbootstrap("explain", "verify.pods").stdout


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        (
            "prepare",
            ["prepare  Prepare the host", "swap  ", "firewall  ", "firewall off, or: Open the ports"],
        ),
        ("labels", ["labels  Label the nodes", "labels.labels-NODE", "apply() {"]),
        ("labels-web7", ["labels.labels-NODE", "apply() {"]),
        ("labels.labels-web7", ["labels.labels-NODE", "apply() {"]),
        ("connect", ["connect.ssh", "Every step runs as root"]),
        ("facts.facts", ["facts.facts", "shell/facts.sh"]),
        ("requirements", ["preflight.requirements", "run.py"]),
        ("restore/swap", ["restore.swap", "reset/swap.sh"]),
    ],
)
def test_everything_a_run_names_can_be_explained(name: str, parts: list[str]) -> None:
    done = CliRunner().invoke(cli, ["explain", name])
    assert done.exit_code == 0
    for part in parts:
        assert part in done.stdout
    assert name != "restore/swap" or "prepare.swap" not in done.stdout


def test_phases_belong_to_their_commands() -> None:
    said = CliRunner().invoke(cli, ["phases"]).stdout
    up, status, reset = said.index("kbootstrap up"), said.index("kbootstrap status"), said.index("kbootstrap reset")
    assert said.index("  connect ") < said.index("  verify ") < status < said.index("Read the cluster") < reset
    assert up == 0
    assert said[:status].count("\n    firewall ") == 1


def test_schema_is_json() -> None:
    assert "cluster" in json.loads(kbootstrap("schema").stdout)["properties"]


def test_a_reader_that_goes_away_is_no_error() -> None:
    command = f"{sys.executable} -m kbootstrap explain containerd-config | head -n 1"
    done = subprocess.run(["sh", "-c", command], capture_output=True, text=True)
    assert "containerd-config" in done.stdout
    assert done.stderr == ""


def test_no_core_dumps_and_no_secret_in_the_report_of_a_bug(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    _, hard = resource.getrlimit(resource.RLIMIT_CORE)
    resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))

    def broken(**_options: object) -> None:
        assert resource.getrlimit(resource.RLIMIT_CORE) == (0, hard)
        raise RuntimeError("token abcdef.0123456789abcdef \x1b[31m")

    monkeypatch.setattr(kbootstrap_cli.cli, "main", broken)
    monkeypatch.setattr(kbootstrap_cli.streams, "protect", lambda: None)
    with pytest.raises(SystemExit) as ended:
        kbootstrap_cli.main()
    assert ended.value.code == 1
    report = tmp_path / "kbootstrap" / "last-bug.txt"
    assert stat.S_IMODE(report.stat().st_mode) == 0o600
    for text in (capsys.readouterr().err, report.read_text()):
        assert "token ***" in text
        assert "\x1b" not in text


@pytest.mark.parametrize(
    ("options", "exports"),
    [
        ([], []),
        (["--password", "pw-1"], ["KB_SSH_PASSWORD"]),
        (["--password", "pw-1", "--sudo-password", "pw-2"], ["KB_SSH_PASSWORD", "KB_SUDO_PASSWORD"]),
    ],
)
def test_a_lab_with_passwords_says_what_to_export_first(
    monkeypatch: pytest.MonkeyPatch, options: list[str], exports: list[str]
) -> None:
    monkeypatch.setattr("kbootstrap_lab.simulated.up", lambda *_arguments, **_options: None)
    said = CliRunner().invoke(cli, ["lab", "up", "--inventory", "my lab.yaml", *options]).stderr
    assert re.findall(r"export (\w+)=", said) == exports
    assert "kbootstrap plan 'my lab.yaml'" in said.splitlines()[-1]
    assert "pw-" not in said


def test_a_kubeconfig_in_another_file_is_named_to_kubectl(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    key = base64.b64encode(b"-----BEGIN RSA PRIVATE KEY-----").decode()
    monkeypatch.setattr("kbootstrap.run.kubeconfig", lambda *_arguments, **_options: admin_conf(key))
    usual, other = tmp_path / "usual", tmp_path / "my config"
    words = ["kubeconfig", str(written(tmp_path, document())), "--file"]
    said = [
        CliRunner(env={"KUBECONFIG": str(usual)}).invoke(cli, [*words, str(path)]).stderr for path in (usual, other)
    ]
    assert said[0].endswith("next: kubectl --context test get nodes\n")
    assert said[1].endswith(f"next: kubectl --kubeconfig '{other}' --context test get nodes\n")


@pytest.mark.parametrize("options", [[], ["--file", "config"]], ids=["printed", "written"])
def test_a_kubeconfig_of_simulated_hosts_is_not_for_kubectl(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, options: list[str]
) -> None:
    monkeypatch.setattr("kbootstrap.run.kubeconfig", lambda *_arguments, **_options: admin_conf())
    inventory = str(written(tmp_path, document()))
    monkeypatch.chdir(tmp_path)
    said = CliRunner().invoke(cli, ["kubeconfig", inventory, *options]).stderr
    assert said.startswith("kubectl cannot use this kubeconfig (its key is no private key): simulated hosts have no")
    assert "next:" not in said


def test_lab_down_removes_the_kept_kubeconfig_of_its_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    kept, other = (keep(admin_conf(ca), kubeconfigs(), "demo") for ca in ("Q0E=", "T1RIRVI="))
    (state_dir("demo")).mkdir(parents=True)
    (state_dir("demo") / "backend").write_text("simulated\n")
    hosts = [SimpleNamespace(name="cp1"), SimpleNamespace(name="cp2")]
    monkeypatch.setattr("kbootstrap_lab.simulated.status", lambda _name: SimpleNamespace(hosts=hosts))
    monkeypatch.setattr("kbootstrap_lab.simulated.down", lambda _name: None)

    def answer(_name: str, host: str, *_command: str, **_options: float) -> SimpleNamespace:
        if host == "cp1":
            raise LabError("cp1 is off")
        return SimpleNamespace(returncode=0, stdout=f"{hashlib.sha256(b'CA').hexdigest()}  -\n")

    monkeypatch.setattr("kbootstrap_lab.simulated.run", answer)
    assert CliRunner().invoke(cli, ["lab", "down"]).stderr == f"removed {kept}\nlab demo is gone\n"
    assert list(kubeconfigs().iterdir()) == [other]


def test_a_lab_never_overwrites_an_inventory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    started: list[str] = []
    monkeypatch.setattr("kbootstrap_lab.simulated.up", lambda name, *_arguments, **_options: started.append(name))
    for path in (tmp_path / "mine.yaml", tmp_path / "link.yaml"):
        path.write_text("mine") if path.name == "mine.yaml" else path.symlink_to(tmp_path / "nowhere")
        done = CliRunner().invoke(cli, ["lab", "up", "--inventory", str(path)])
        assert "already exists" in str(done.exception)
    assert (started, (tmp_path / "mine.yaml").read_text()) == ([], "mine")


def test_status_counts_the_hosts_of_the_inventory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nodes = tuple(NodeStatus(name, "", "worker", True, "v1.34.2") for name in ("cp1", "w1"))
    nodes += (NodeStatus("stranger", "", "worker", False, "v1.34.2", "no disk", in_inventory=False),)
    state = ClusterStatus(nodes, missing=("cp2",), pods_not_running=("kube-system/x: Pending",))
    monkeypatch.setattr("kbootstrap.run.status", lambda *_arguments, **_options: state)
    said = CliRunner().invoke(cli, ["status", str(written(tmp_path, document(control_planes=2)))]).stdout
    assert re.split("  +", said.splitlines()[-4])[-1] == "not in the inventory; no disk"
    assert re.split("  +", said.splitlines()[-3])[-3:] == ["control plane", "192.168.1.11", "not a node of the cluster"]
    assert said.splitlines()[-2] == "pod kube-system/x: Pending"
    path = str(written(tmp_path, document(control_planes=2)))
    as_yaml = yaml.safe_load(CliRunner().invoke(cli, ["status", path, "-o", "yaml"]).stdout)
    assert [node["in_inventory"] for node in as_yaml["nodes"]] == [True, True, False]
    assert "KERNEL" in CliRunner().invoke(cli, ["status", path, "-o", "wide"]).stdout.splitlines()[0]
    assert said.splitlines()[-1] == "2 of 3 nodes Ready, 1 pod not running, 1 node not in the inventory (1 NotReady)"


@pytest.fixture
def a_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Run `plan` and `up` of an inventory with one change, without any connection."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))

    def whole(command: str, mode: Mode) -> Callable[..., RunEnded]:
        def verb(_inventory: object, *, view: Callable[[Event], None], **_options: object) -> RunEnded:
            end = RunEnded(2.0, "ok", 0, 1.0, {"change": 1}, {"cp1": HostSummary({"change": 1})})
            view(RunStarted(1.0, "id", command, mode, "test", ("cp1", "w1")))
            view(Notice(1.5, "warning", "a word to people"))
            view(end)
            return end

        return verb

    monkeypatch.setattr("kbootstrap.run.plan", whole("plan", "plan"))
    monkeypatch.setattr("kbootstrap.run.up", whole("up", "apply"))
    return written(tmp_path, document())


def test_json_lines_of_up_are_those_of_one_run(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kbootstrap.cli.runs.require_terminal", lambda _instead: None)
    asked = CliRunner().invoke(cli, ["up", str(a_run), "-o", "json"], input="y\n", standalone_mode=False)
    given = CliRunner().invoke(cli, ["up", str(a_run), "-o", "json", "--yes"], standalone_mode=False)
    for done in (asked, given):
        assert done.return_value == 0, done.output
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        assert [(line["type"], line.get("command")) for line in lines] == [("run", "up"), ("result", None)]
    assert "Plan for test: 2 hosts" in asked.stderr
    assert "Apply to 1 host? [y/N]" in asked.stderr
    refused = CliRunner().invoke(cli, ["up", str(a_run), "-o", "json"], input="n\n", standalone_mode=False)
    assert refused.stdout == ""
    assert refused.stderr.splitlines()[-1] == "Nothing was changed."
    dry = CliRunner().invoke(cli, ["up", str(a_run), "-o", "json", "--dry-run"], standalone_mode=False)
    assert [json.loads(line)["type"] for line in dry.stdout.splitlines()] == ["run", "result"]


def test_up_without_a_question_shows_the_totals_of_the_plan(a_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def say(*options: str) -> str:
        done = CliRunner().invoke(cli, ["up", str(a_run), "--yes", *options], standalone_mode=False)
        assert done.return_value == 0, done.output
        return done.stdout

    said = say("-o", "lines").splitlines()
    assert said[:2] == ["Plan for test: 2 hosts", "Plan: 1 to change, 0 already right."]
    assert sum("a word to people" in line for line in said) == 1
    assert "Plan:" in say()
    assert "Plan" not in say("-o", "json")

    def right(*_arguments: object, **_options: object) -> RunEnded:
        return RunEnded(2.0, "ok", 0, 1.0, {"ok": 5}, {"cp1": HostSummary({"ok": 5})})

    def changes(*_arguments: object, **_options: object) -> None:
        raise AssertionError("there is nothing to change")

    monkeypatch.setattr("kbootstrap.run.plan", right)
    monkeypatch.setattr("kbootstrap.run.up", changes)
    done = CliRunner().invoke(cli, ["up", str(a_run), "--yes"], standalone_mode=False)
    assert (done.return_value, done.stderr.splitlines()[-1:]) == (0, ["Nothing to do."])


@pytest.mark.parametrize("output", ["json", "lines", "auto"])
@pytest.mark.parametrize("verb", ["up", "reset"])
def test_nobody_to_ask_is_known_before_anything_connects(
    a_run: Path, monkeypatch: pytest.MonkeyPatch, verb: str, output: str
) -> None:
    def connects(*_arguments: object, **_options: object) -> None:
        raise AssertionError("nothing may connect")

    for name in ("plan", "up", "plan_reset", "reset"):
        monkeypatch.setattr(f"kbootstrap.run.{name}", connects)
    done = CliRunner().invoke(cli, [verb, str(a_run), "-o", output])
    assert done.exit_code == 2
    assert "cannot ask for confirmation without a terminal; give --yes" in done.stderr
    assert done.stdout == ""
