"""The functions of the runner, in dash and in bash: their reports, and the files that they leave."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from support.shell import SHELLS, sh, step

from kbootstrap.remote.script import PACKAGE, build
from kbootstrap.steps import Step

pytestmark = pytest.mark.parametrize("shell", SHELLS)


def test_a_step_that_holds_is_ok_in_both_modes(shell: str) -> None:
    for mode in ("plan", "apply"):
        assert sh(shell, step("true", "echo never"), mode) == ["@m begin s", "@m end s ok", "status 0"]


def test_plan_stops_after_the_check(shell: str) -> None:
    assert sh(shell, step("echo differs; return 1", "echo never"), "plan") == [
        "@m begin s",
        "differs",
        "@m end s change",
        "status 0",
    ]
    assert "@m end s unknown" in sh(shell, step("return 2"), "plan")
    assert "@m end s unknown" in sh(shell, step("return 1", waits=1), "plan")


def test_apply_is_verified(shell: str, tmp_path: Path) -> None:
    done = sh(shell, step(f"[ -e {tmp_path}/done ]", f": >{tmp_path}/done"))
    assert done == ["@m begin s", "@m apply s", "@m verify s", "@m end s changed", "status 0"]
    lying = sh(shell, step("echo still wrong; return 1", "true"))
    assert lying[-2:] == ["@m end s unverified 1", "status 1"]


def test_a_script_leaves_the_ssh_session_before_its_first_change_and_not_for_checks(shell: str, tmp_path: Path) -> None:
    """The cluster tier tests this with systemd. Here the bus is a stand-in that refuses."""
    bus = 'exec 3>&1\ntimeout() { shift; "$@"; }\nbusctl() { echo "$*" >&3; return 1; }\n'
    bus += "KB_SCOPE=kb-x.scope\necho $PPID $$\n"
    looks = [
        sh(shell, bus + step("true", "true"), folder=tmp_path),
        sh(shell, bus + step("return 1"), "plan", tmp_path),
    ]
    assert "StartTransientUnit" not in "".join(looks[0] + looks[1])
    pids, *said = sh(shell, bus + step("return 1", "true") + step("return 1", "true"), folder=tmp_path)
    (call,) = [line for line in said if "StartTransientUnit" in line]
    assert re.search(rf" kb-x.scope fail 1 PIDs au 2 {pids} 0$", call)
    assert said.index(call) < said.index("@m apply s")


def test_the_first_failing_command_ends_apply(shell: str, tmp_path: Path) -> None:
    said = sh(shell, step("return 1", f"run false 'a b'\n: >{tmp_path}/never"))
    assert said == ["@m begin s", "@m apply s", "@m command false a b", "@m end s failed 1", "status 1"]
    assert not (tmp_path / "never").exists()


def test_an_unset_variable_is_an_error(shell: str) -> None:
    said = sh(shell, step("return 1", 'echo "$NOT_SET"'))
    assert [line for line in said if re.match(r"@m end s failed (1|2|127)$", line)]


def test_fail_gives_a_message_and_a_hint(shell: str) -> None:
    said = sh(shell, step("return 1", "fail 'no disk' 'buy one'"))
    assert said[2:] == ["no disk", "@m hint buy one", "@m end s failed 64", "status 1"]


def test_retries_wait_longer_each_time(shell: str, tmp_path: Path) -> None:
    script = "sleep() { echo slept $1; }\n" + step(
        f"[ -e {tmp_path}/x3 ]",
        f"if [ -e {tmp_path}/x2 ]; then : >{tmp_path}/x3; fi\nif [ -e {tmp_path}/x1 ]; then : >{tmp_path}/x2; fi\n"
        f": >{tmp_path}/x1\n[ -e {tmp_path}/x3 ]",
        retries=3,
    )
    said = sh(shell, script)
    assert [line for line in said if line.startswith(("@m retry", "slept"))] == [
        "@m retry s 2",
        "slept 2",
        "@m retry s 4",
        "slept 4",
    ]
    assert "@m end s changed" in said


def test_a_waiting_step_is_never_a_change(shell: str, tmp_path: Path) -> None:
    assert "@m end s ok" in sh(shell, step(f"[ -e {tmp_path}/x ]", f": >{tmp_path}/x", waits=1))


def test_a_stop_is_seen_before_the_next_step(shell: str, tmp_path: Path) -> None:
    stopped = sh(shell, step(f": >{tmp_path}/stop", following="t"), folder=tmp_path)
    assert stopped == ["@m begin s", "@m end s ok", "status 75"]
    assert sh(shell, step("true"), folder=tmp_path) == ["status 75"]


@pytest.mark.parametrize(("check", "mode", "state"), [("true", "plan", "ok"), ("return 1", "plan", "change")])
def test_the_next_step_begins_in_the_write_that_ends_one(shell: str, check: str, mode: str, state: str) -> None:
    assert sh(shell, step(check, following="t"), mode)[-3:-1] == [f"@m end s {state}", "@m begin t"]
    traced = f"printf() {{ command printf \"$@\"; command printf 'written\\n'; }}\n{step(check, following='t')}"
    assert sh(shell, traced, mode)[-4:] == [f"@m end s {state}", "@m begin t", "written", "status 0"]


def test_no_step_begins_after_one_that_failed(shell: str) -> None:
    assert sh(shell, step("return 1", "false", following="t"))[-2:] == ["@m end s failed 1", "status 1"]


def test_no_program_sees_a_parameter_even_where_the_environment_has_its_name(shell: str, tmp_path: Path) -> None:
    (tmp_path / "s.sh").write_text("check() { [ -n \"$TOKEN\" ] && ! env | grep -q '^TOKEN='; }\n")
    path = os.path.relpath(tmp_path / "s.sh", PACKAGE / "phases")
    script = build([Step("s", "S", path, "W.", {"TOKEN": "secret"})], "debian")
    env = {"KB_MODE": "plan", "KB_MARKER": "@m", "PATH": "/usr/bin:/bin", "TOKEN": "theirs"}
    done = subprocess.run([shell, "-c", script], capture_output=True, text=True, env=env)
    assert "@m end s ok" in done.stdout, done.stdout + done.stderr


def test_steps_read_nothing_of_the_script(shell: str) -> None:
    assert sh(shell, step("cat", ":") + "echo after\n") == ["@m begin s", "@m end s ok", "after", "status 0"]


def test_put_file_replaces_in_one_move_and_keeps_the_original(shell: str, tmp_path: Path) -> None:
    target = tmp_path / "etc" / "conf"
    target.parent.mkdir()
    target.write_text("as found\n")
    reader = target.open()
    for text in ("one", "two\nlines with 'quotes' and \\backslashes"):
        value = "'" + text.replace("'", "'\\''") + "'"
        assert sh(shell, f"put_file {target} 640 {value}", folder=tmp_path) == ["status 0"]
        assert target.read_text() == text + "\n"
        assert sh(shell, f"file_is {target} {value}; echo $?", folder=tmp_path)[0] == "0"
    assert target.stat().st_mode & 0o777 == 0o640
    with reader:
        assert reader.read() == "as found\n", "who has the old file open keeps all of it"
    assert (tmp_path / f"state/before{target}").read_text() == "as found\n"
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    assert [path.name for path in target.parent.iterdir()] == ["conf"]


def test_file_is_shows_the_difference_and_writes_nothing(shell: str, tmp_path: Path) -> None:
    target = tmp_path / "conf"
    assert sh(shell, f"file_is {target} x; echo $?")[:2] == [f"+ {target} (new file)", "1"]
    target.write_text("old\nsame\n")
    said = sh(shell, f"file_is {target} 'new\nsame'; echo $?")
    assert {"-old", "+new", " same"} <= set(said)
    assert [path.name for path in tmp_path.iterdir()] == ["conf"]


def test_values_travel_in_base64(shell: str) -> None:
    (report, *_) = sh(shell, "value name 'two\nlines'")
    word, name, text = report.removeprefix("@m ").split(" ")
    assert (word, name) == ("value", "name")
    import base64

    assert base64.b64decode(text) == b"two\nlines"
