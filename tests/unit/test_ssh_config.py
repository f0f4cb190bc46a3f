"""What we read in an ssh_config, with ``ssh -G`` and without the program ssh; and whose files may run programs."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from kbootstrap.errors import ConnectError
from kbootstrap.remote.ssh import config_files, config_reader
from kbootstrap.remote.ssh.client_config import ClientConfig, Query, SshProgram
from kbootstrap.remote.ssh.shared import SshShared

needs_ssh = pytest.mark.skipif(shutil.which("ssh") is None, reason="needs OpenSSH's client")

Read = Callable[..., ClientConfig]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without an ssh_config, on a machine without one."""
    (tmp_path / "home/.ssh").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config_reader, "SYSTEM", tmp_path / "no-ssh_config")
    return tmp_path / "home"


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """The function takes the program ssh away."""
    return lambda: monkeypatch.setattr(SshProgram, "probe", lambda *_: None)


@pytest.fixture
def read(home: Path, tmp_path: Path) -> Read:
    def made(text: str, address: str = "short", trusted: bool = False, **query: Any) -> ClientConfig:
        path = tmp_path / "ssh_config"
        path.write_text(text)
        return SshShared(trusted=trusted).client_config(path, Query(address, **query))

    return made


def wanted(settings: ClientConfig, names: dict[str, Any]) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in names}


ODD: list[tuple[str, dict[str, Any]]] = [
    ("Port 2200 # the new one\n", {"port": 2200}),
    ("port=2200\r\nUSER = ann\r\n", {"port": 2200, "user": "ann"}),
    ('HostName "10.0.0.1" # quoted\n', {"host": "10.0.0.1"}),
    ("HostName %h.example.com\n", {"host": "short.example.com"}),
    ("Host other short # hosts\n  Port 1\nHost *\n  Port 2\n", {"port": 1}),
    ("Host !short *\n  Port 1\nHost *\n  Port 2\n", {"port": 2}),
    ("Match host short\n  Port 1\n", {"port": 1}),
    ("Match host=short\n  Port 1\n", {"port": 1}),
    ("Match host other\n  Port 1\n", {"port": None}),
    ("Match !host other\n  Port 1\n", {"port": 1}),
    ("Match originalhost short,other user ann\n  Port 1\n", {"port": None}),
    ("User ann\nMatch originalhost short,other user ann\n  Port 1\n", {"port": 1}),
    ("HostName 10.0.0.1\nMatch host 10.0.0.*\n  Port 1\n", {"port": 1}),
    ("Match final\n  Port 1\nHost *\n  Port 2\n", {"port": 2}),
    ("Match final\n  Port 1\n", {"port": 1}),
    ("Match canonical\n  Port 1\n", {"port": None}),
    ("Match all\n  Port 1\n", {"port": 1}),
    ("IdentityFile ~/.ssh/one\nIdentityFile ~/.ssh/two\n", {"identity_files": ("~/.ssh/one", "~/.ssh/two")}),
    ("IdentityFile none\nIdentitiesOnly yes\n", {"identity_files": (), "identities_only": True}),
    ("IdentityAgent none\n", {"identity_agent": "none"}),
    ("IdentityAgent $AGENT\n", {"identity_agent": "$AGENT"}),
    ("CertificateFile ~/.ssh/one-cert.pub\n", {"certificate_files": ("~/.ssh/one-cert.pub",)}),
    ("HostKeyAlias the-alias\n", {"host_key_alias": "the-alias"}),
    ("UserKnownHostsFile /a/known /b/known\n", {"known_hosts": (Path("/a/known"), Path("/b/known"))}),
    ("UserKnownHostsFile none\n", {"known_hosts": ()}),
    ("GlobalKnownHostsFile /c/known\n", {"global_known_hosts": (Path("/c/known"),)}),
    ("ProxyJump ann@jump:2200,other\n", {"proxy_jump": "ann@jump:2200,other"}),
    ("ProxyJump none\nHost *\n  ProxyJump jump\n", {"proxy_jump": ""}),
    ("ProxyCommand none\nHost *\n  ProxyCommand nc %h\n", {"proxy_command": ""}),
    ("ProxyCommand nc -X 5 %h %p # no comment\n", {"proxy_command": "nc -X 5 %h %p # no comment"}),
    ('Match exec "test %h = short" host short\n  Port 1\n', {"port": 1}),
    ('Match host short exec "test %h = other"\n  Port 1\n', {"port": None}),
    ("# only\n\n\t# comments\n", {"port": None, "host": "short"}),
]


@needs_ssh
@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
@pytest.mark.parametrize(("text", "settings"), ODD, ids=[text.replace("\n", "|") for text, _ in ODD])
def test_odd_files_are_read_as_openssh_reads_them(
    read: Read, offline: Callable[[], None], reader: str, text: str, settings: dict[str, Any]
) -> None:
    if reader == "paramiko":
        offline()
    found = wanted(read(text, trusted=True), settings)
    # ssh itself prints its default, 22, for no port.
    assert {**found, "port": None if found.get("port") == 22 else found.get("port")} == {"port": None, **settings}


UNKNOWN = ["localnetwork 0.0.0.0/0", "tagged x", "version OpenSSH_*", "sessiontype shell", "!tagged x", "nonsense x"]


@pytest.mark.parametrize("criterion", UNKNOWN)
def test_a_criterion_that_paramiko_does_not_know_is_never_true(
    read: Read, offline: Callable[[], None], criterion: str
) -> None:
    offline()
    text = f"Match {criterion}\n  Port 1\nMatch host short {criterion}\n  Port 1\nHost *\n  Port 2\n"
    assert read(text).port == 2


@needs_ssh
def test_the_inventory_counts_more_and_decides_match(read: Read, offline: Callable[[], None]) -> None:
    text = "Match user ann\n  HostName 10.0.0.1\nHost *\n  User bob\n  Port 1\n"
    for _ in range(2):
        found = read(text, user="ann", port=2)
        assert (found.host, found.user, found.port) == ("10.0.0.1", "ann", 2)
        assert (read(text).user, read(text).port, read(text).host) == ("bob", 1, "short")
        offline()


@needs_ssh
@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
def test_includes(read: Read, home: Path, offline: Callable[[], None], reader: str) -> None:
    if reader == "paramiko":
        offline()
    (home / ".ssh/conf.d").mkdir()
    for name, text in {"b.conf": "Port 3\nHost short\n  User ann\n", "a.conf": "Host short\n  Port 1\n"}.items():
        (home / ".ssh/conf.d" / name).write_text(text)
    absolute = home / ".ssh/conf.d"
    found = read(f"Include {absolute}/*.conf {absolute}/missing\nUser bob\nHost *\n  Port 2\n")
    assert (found.user, found.port) == ("ann", 1)
    inside = f"Host other\n  Include {absolute}/b.conf\nHost *\n  Port 2\n"
    if reader == "ssh":
        assert (read(inside).port, read(inside).user) == (2, read("Port 2\n").user)
    else:
        with pytest.raises(ConnectError, match="before the first Host or Match"):
            read(inside)


def test_a_file_that_says_nothing_of_interest_starts_no_program(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SshProgram, "probe", None)
    assert read("Host *\n  SendEnv LANG\n  HashKnownHosts yes\n") == ClientConfig("short", "short")
    assert read("") == ClientConfig("short", "short")
    assert SshShared().client_config(None, Query("short", "ann", 1)) == ClientConfig("short", "short", "ann", 1)


# --- programs --------------------------------------------------------------------------------------------------------

RUNS = [
    "Match exec {touch}\n",
    'Match exec="{touch}"\n',
    'MATCH !EXEC "{touch}"\n',
    'Match host "a"ex"ec" "{touch}"\n',
    'Match "exec" "{touch}"\n',
    'Match host "short"exec "{touch}"\n',
    '"Match" exec "{touch}"\n',
    'Match=exec "{touch}"\n',
    'Ma"tch" exec "{touch}"\n',
    '  \tMatch\texec\t"{touch}"\n',
    'Match all\r\nMatch exec "{touch}"\r\n',
    "#" + "x" * 1022 + 'Match exec "{touch}"\n',
    'Port 22\x0bMatch exec "{touch}"\n',
    'Match host short,exec exec "{touch}"\n',
    "ProxyCommand {touch}\n",
    'proxycommand="{touch}"\n',
    "Host other\n  ProxyCommand {touch}\n",
]


@pytest.mark.parametrize("included", [False, True])
@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
@pytest.mark.parametrize("text", RUNS)
def test_a_file_of_the_inventory_runs_no_program(
    read: Read, tmp_path: Path, offline: Callable[[], None], text: str, reader: str, included: bool
) -> None:
    if reader == "paramiko":
        offline()
    program = tmp_path / "program"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    program.chmod(0o755)
    text = "Port 2200\n" + text.format(touch=program)
    if included:
        (tmp_path / "more").write_text(text)
        text = f"Port 2200\nInclude {tmp_path}/mor[e]\n"
    with pytest.raises(ConnectError) as refused:
        read(text)
    assert "trust-inventory" in refused.value.hint or "is not KEYWORD VALUE" in refused.value.message
    assert not (tmp_path / "ran").exists()


_STARTS = st.sampled_from(
    ["Match ", "Match ", "Match=", '"Match" ', "\tmatch\t", 'Ma"tch" ', "Include {more} #", "#\x0bMatch "]
)
_PIECES = st.sampled_from(
    ["exec", "EXEC", "exec", "!", '"', " ", "=", "\t", "host short ", 'host "a"', "all ", "\\", "'", "#"]
)
_LINES = st.tuples(
    _STARTS, st.lists(_PIECES, max_size=4).map("".join), st.sampled_from([' "{touch}"', " {touch}", "={touch}"])
)


@needs_ssh
@settings(max_examples=100, deadline=None, phases=[Phase.explicit, Phase.generate], derandomize=True)
@given(lines=st.lists(_LINES.map("".join), min_size=1, max_size=2))
def test_no_text_runs_a_program(lines: list[str]) -> None:
    """Either it is refused, or ssh reads it and runs nothing."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "touch").write_text(f"#!/bin/sh\ntouch {folder}/ran\n")
        (folder / "touch").chmod(0o755)
        text = "\n".join(["Port 1", *lines]).replace("{touch}", f"{folder}/touch").replace("{more}", f"{folder}/more")
        (folder / "config").write_text(text)
        (folder / "more").write_text(f"Match exec {folder}/touch\n")
        with contextlib.suppress(ConnectError):
            SshShared().client_config(folder / "config", Query("short"))
        assert not (folder / "ran").exists()


def test_what_was_checked_is_what_ssh_reads(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that change between the check and ``ssh -G``."""
    (tmp_path / "more").write_text("Port 1\n")
    probe = SshProgram.probe

    def change(path: str, timeout: float) -> SshProgram | None:
        for name in ("more", "ssh_config"):
            (tmp_path / name).write_text(f'Match exec "touch {tmp_path}/ran"\n  Port 2\n')
        return probe(path, timeout)

    monkeypatch.setattr(SshProgram, "probe", change)
    assert read(f"Include {tmp_path}/more\n").port == 1
    assert not (tmp_path / "ran").exists()


def test_hosts_with_exec_in_their_names_are_no_programs(read: Read) -> None:
    assert read("Match host exec-1,my.exec.example,short\n  Port 1\n").port == 1


def test_variables_of_the_operator_stay_here(read: Read, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    monkeypatch.setenv("KB_PLACE", "place")
    text = "UserKnownHostsFile /known/${%s}\n"
    if shutil.which("ssh"):
        assert read(text % "KB_PLACE").known_hosts == (Path("/known/place"),)
        with pytest.raises(ConnectError) as refused:
            read(text % "SECRET")
        assert "hunter2" not in refused.value.message


@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
def test_match_exec_does_not_read_our_input(
    read: Read, tmp_path: Path, offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    if reader == "paramiko":
        offline()
    ends = os.pipe()
    os.write(ends[1], b"yes\n")
    os.close(ends[1])
    saved = os.dup(0)
    os.dup2(ends[0], 0)
    monkeypatch.setattr(sys, "stdin", open(0, closefd=False))  # noqa: SIM115
    try:
        assert read('Match exec "read -r answer"\n  Port 1\nHost *\n  Port 2\n', trusted=True).port == 2
        assert os.read(0, 10) == b"yes\n"
    finally:
        os.dup2(saved, 0)
        os.close(saved)
        os.close(ends[0])


@pytest.mark.parametrize("name", ["$(touch x)", "a;b", "a b", "-oProxyCommand=x", "`x`", "a\\"])
def test_no_shell_acts_on_a_name_of_the_inventory(read: Read, name: str) -> None:
    text = 'Match exec "test %r = x"\n  Port 1\nHost *\n  ProxyCommand nc %h\n'
    with pytest.raises(ConnectError, match="a shell would act"):
        read(text, trusted=True, user=name)
    with pytest.raises(ConnectError, match="a shell would act"):
        read(text, trusted=True).proxy(name, 22)
    assert read(text, trusted=True, user="DOM\\ann.o@example.com").user == "DOM\\ann.o@example.com"


def test_tokens() -> None:
    settings = ClientConfig("short", "10.0.0.1", proxy_command="nc %h %p %r %n %% %%h", host_key_alias="alias")
    assert settings.proxy("ann", 2200) == "nc 10.0.0.1 2200 ann short % %h"
    assert settings.expand("%k %d", "ann", 22) == f"alias {Path.home()}"


def test_errors_name_the_file_and_the_line(read: Read, tmp_path: Path, offline: Callable[[], None]) -> None:
    (tmp_path / "more").write_text("\nPort many\n")
    for text in ("Port many\n", f"Port 22\nInclude {tmp_path}/more\n"):
        with pytest.raises(ConnectError) as refused:
            read(text)
        assert str(tmp_path / ("more" if "Include" in text else "ssh_config")) in refused.value.message
        assert "kbootstrap-ssh-" not in refused.value.message
        assert "ssh.config" in refused.value.hint
    offline()
    with pytest.raises(ConnectError, match="cannot be read"):
        read("Port many\n")


@pytest.mark.parametrize(
    ("text", "words"),
    [("Include {path}\n", "too many files"), ("Include /dev/zero\nPort 1\n", "not a plain file")],
)
def test_files_without_end(read: Read, tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConnectError, match=words):
        read(text.format(path=tmp_path / "ssh_config"))


def test_a_directory_of_many_files(tmp_path: Path) -> None:
    for number in range(config_files.MAX_FILES + 1):
        (tmp_path / f"{number}.conf").write_text("Port 1\n")
    (tmp_path / "main").write_text(f"Include {tmp_path}/*.conf\n")
    with pytest.raises(ConnectError, match="too many files"):
        config_files.read_config(tmp_path / "main")


# --- the operator's own file -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("reader", ["ssh", "paramiko"])
def test_your_own_file_may_run_programs_and_has_that_of_the_system_behind_it(
    home: Path, tmp_path: Path, offline: Callable[[], None], monkeypatch: pytest.MonkeyPatch, reader: str
) -> None:
    if reader == "paramiko":
        offline()
        (tmp_path / "system").write_text("Host *\n  Port 3\n  User carl\n")
        monkeypatch.setattr(config_reader, "SYSTEM", tmp_path / "system")
    own = home / ".ssh/config"
    own.write_text('Match exec "test %h = short"\n  Port 1\n  ProxyCommand nc %h %p\n')
    found = SshShared().client_config(own, Query("short"))
    assert (found.port, found.proxy_command) == (1, "nc %h %p")
    if reader == "paramiko":
        assert found.user == "carl"


@needs_ssh
def test_many_hosts_ask_at_once_and_each_once(read: Read, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    reading = SshProgram.read

    def count(program: SshProgram, query: Query, *rest: Any) -> ClientConfig:
        asked.append(query.address)
        return reading(program, query, *rest)

    monkeypatch.setattr(SshProgram, "read", count)
    path = tmp_path / "ssh_config"
    path.write_text("Host h*\n  User ann\n  HostName %h.example.com\n")
    shared = SshShared()
    names = [f"h{number}" for number in range(50)]
    for _ in range(2):
        with ThreadPoolExecutor(8) as threads:
            found = list(threads.map(lambda name: shared.client_config(path, Query(name)), names))
        assert [each.host for each in found] == [f"{name}.example.com" for name in names]
    assert sorted(asked) == sorted(names)
