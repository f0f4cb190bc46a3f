"""The kubeconfig in a user's home, on a machine with two users: what the user puts in the way of root is not followed.

The home, /etc, /var/lib and /run are folders of the test, seen through a mount namespace.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kbootstrap.remote.script import build, runner, shell_file
from kbootstrap.steps import Step

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be two users")

UID = 61234
ADMIN = "apiVersion: v1\nkind: Config\n# the administrator's\n"
MINE = "apiVersion: v1\nkind: Config\n# my own\n"
SECRET = "root only\n"
UP = Step("up", "U", "kubeconfig/user.sh", "W.", libraries=("home", "state"), outputs=("kubeconfig",))
DOWN = Step("down", "D", "reset/kubeconfig.sh", "W.", libraries=("home", "state"))
BOUND = ("etc", "home", "var/lib", "run")


class Machine:
    def __init__(self, root: Path, shell: str) -> None:
        self.root, self.shell = root, shell
        self.home = root / "home/victim"
        for path in ("home/victim", "var/lib", "run"):
            (root / path).mkdir(parents=True)
        (root / "etc/kubernetes").mkdir(parents=True)
        for name in ("passwd", "group", "nsswitch.conf", "pam.d", "login.defs", "alternatives", "security"):
            self._copy(name)
        with (root / "etc/passwd").open("a") as file:
            file.write(f"victim:x:{UID}:{UID}::/home/victim:/usr/sbin/nologin\n")
        (root / "etc/kubernetes/admin.conf").write_text(ADMIN)
        (root / "etc/secret").write_text(SECRET)
        (root / "etc/secret").chmod(0o600)
        (root / "etc/private").mkdir(mode=0o700)
        os.chown(self.home, UID, UID)

    def _copy(self, name: str) -> None:
        source = Path("/etc", name)
        if source.is_dir():
            shutil.copytree(source, self.root / "etc" / name, symlinks=True)
        elif source.exists():
            shutil.copy(source, self.root / "etc" / name)

    def run(self, script: str, *arguments: str, timeout: float = 300) -> str:
        mounts = "".join(f"mount --bind {self.root}/{path} /{path}\n" for path in BOUND)
        inside = f'set -e\n{mounts}exec "$@"'
        done = subprocess.run(
            ["unshare", "--mount", "sh", "-c", inside, "sh", self.shell, "-s", *arguments],
            input=script,
            capture_output=True,
            text=True,
            timeout=timeout,
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SUDO_USER": "victim"},
            check=False,
        )
        return done.stdout + done.stderr

    def step(self, mode: str, step: Step) -> tuple[str, str]:
        """The state a step ends in, and all it said."""
        said = self.run(build([step], "debian"), mode)
        ends = re.findall(r"^@kbootstrap end \S+ (\S+)", said, re.M)
        assert len(ends) == 1, said
        return ends[0], said

    def as_user(self, commands: str) -> None:
        subprocess.run(["sh", "-c", commands], cwd=self.home, user=UID, group=UID, extra_groups=[], check=True)

    def files(self) -> dict[str, tuple[str, int, int]]:
        """Every file in the home: what it holds or leads to, its mode and owner."""
        found = {}
        for path in sorted(self.home.rglob("*")):
            status = path.lstat()
            holds = os.readlink(path) if path.is_symlink() else path.read_text() if path.is_file() else ""
            found[str(path.relative_to(self.home))] = (holds, status.st_mode & 0o777, status.st_uid)
        return found

    def nothing_of_root_has_changed(self) -> None:
        status = (self.root / "etc/secret").stat()
        assert (status.st_mode & 0o777, status.st_uid) == (0o600, 0)
        assert (self.root / "etc/secret").read_text() == SECRET
        private = (self.root / "etc/private").stat()
        assert (private.st_mode & 0o777, private.st_uid) == (0o700, 0)
        assert list((self.root / "etc/private").iterdir()) == []
        for path in self.home.rglob("*"):
            assert path.lstat().st_uid == UID, f"{path} belongs to root"
            if path.is_file() and not path.is_symlink() and ADMIN in path.read_text():
                assert not path.stat().st_mode & 0o77
        for path in (self.root / "var/lib").rglob("*"):
            assert not path.is_file() or SECRET not in path.read_text(), f"{path} has a copy of root's file"


@pytest.fixture(params=["dash", "bash"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Machine]:
    made = Machine(tmp_path, request.param)
    yield made
    made.nothing_of_root_has_changed()


def test_a_kubeconfig_comes_and_goes(machine: Machine) -> None:
    assert machine.step("plan", UP)[0] == "change"
    assert machine.files() == {}, "a check writes nothing"
    assert machine.step("apply", UP)[0] == "changed"
    assert machine.files() == {".kube": ("", 0o700, UID), ".kube/config": (ADMIN, 0o600, UID)}
    assert machine.step("apply", UP)[0] == "ok"
    assert machine.step("plan", DOWN)[0] == "change"
    assert machine.step("apply", DOWN)[0] == "changed"
    assert machine.files() == {}


def test_the_users_own_file_comes_back_and_a_newer_one_stays(machine: Machine) -> None:
    machine.as_user(f"mkdir .kube; printf '%s' '{MINE}' >.kube/config; chmod 640 .kube/config; touch .kube/cache")
    before = machine.files()
    assert machine.step("apply", UP)[0] == "changed"
    assert machine.files()[".kube/config"] == (ADMIN, 0o600, UID)
    assert machine.step("apply", DOWN)[0] == "changed"
    assert machine.files() == before
    machine.step("apply", UP)
    machine.as_user("echo '# more' >>.kube/config")
    state, said = machine.step("apply", DOWN)
    assert state == "ok"
    assert "/home/victim/.kube/config was changed since kbootstrap wrote it, and stays" in said
    assert machine.files()[".kube/config"][0] == ADMIN + "# more\n"


def test_what_an_interrupted_run_left_is_removed(machine: Machine) -> None:
    """Killed after the folder was made, and after the new file was begun."""
    machine.step("apply", UP)
    machine.as_user("mv .kube/config .kube/config.kbAbCdEf")
    state, said = machine.step("plan", DOWN)
    assert state == "change"
    assert "- /home/victim/.kube/config.kbAbCdEf" in said
    machine.step("apply", DOWN)
    assert machine.files() == {}


@pytest.mark.parametrize(
    ("obstacle", "says"),
    [
        ("mkdir .kube; ln -s /etc/secret .kube/config", "is a symbolic link; move it away"),
        ("mkdir .kube; ln -s /nothing .kube/config", "is a symbolic link; move it away"),
        ("mkdir .kube; mkfifo .kube/config", "is not a plain file; move it away"),
        ("mkdir -p .kube/config", "is not a plain file; move it away"),
        ("ln -s /nothing .kube", "is below a broken symbolic link; move it away"),
        ("ln -s /etc/private .kube", "Permission denied"),
        ("echo >.kube", "Not a directory"),
        ("mkdir -m 500 .kube", "Permission denied"),
    ],
)
def test_an_obstacle_is_named_and_not_followed(machine: Machine, obstacle: str, says: str) -> None:
    machine.as_user(obstacle)
    before = machine.files() if "fifo" not in obstacle else None
    planned = machine.step("plan", UP)[1]
    state, said = machine.step("apply", UP)
    assert state == "failed"
    assert says.replace("Not a directory", "File exists") in planned + said or says in planned + said
    if before is not None:
        assert machine.files() == before
    assert machine.step("apply", DOWN)[0] == "ok"


SWAPS = r"""
cd /home/victim
while [ ! -e /home/end ]; do
    rm -rf .kube; mkdir .kube; ln -s /etc/secret .kube/config
    mv .kube .moved; ln -s /etc/private .kube
    rm -rf .kube .moved; mkdir .kube; mkfifo .kube/config
    rm -f .kube/config; mkdir .kube/config
    rm -rf .kube; ln -s /etc .kube
    rm -f .kube; mkdir .kube; echo mine >.kube/config
    for new in .kube/config.kb*; do ln -sf /etc/secret "$new"; done
    rm -f .kube/config; ln .kube/config.kb* .kube/config
done
"""
ROUNDS = 1000 if os.environ.get("KBOOTSTRAP_FUZZ") == "full" else 60


def test_swaps_while_the_steps_run(tmp_path: Path) -> None:
    """The user changes everything at ~/.kube all the time, while root gives the kubeconfig and takes it back."""
    machine = Machine(tmp_path, "dash")
    functions = runner() + shell_file("shell/lib/state.sh") + shell_file("shell/lib/home.sh")
    script = f"""{functions}
KB_STATE=/var/lib/kbootstrap KB_DIR=/run KB_MARKER=@m kb_home_timeout=1
up() (
{shell_file("phases/kubeconfig/user.sh")}
apply )
down() (
{shell_file("phases/reset/kubeconfig.sh")}
apply )
runuser -u victim -- sh -s </home/swaps >/dev/null 2>&1 &
rounds=0
while [ $rounds -lt {ROUNDS} ]; do
    up >/dev/null 2>&1
    down >/dev/null 2>&1
    rounds=$((rounds + 1))
done
touch /home/end
wait
echo "$rounds rounds"
"""
    (tmp_path / "home/swaps").write_text(SWAPS)
    assert f"{ROUNDS} rounds" in machine.run(script, timeout=240 + 2 * ROUNDS)
    machine.nothing_of_root_has_changed()
