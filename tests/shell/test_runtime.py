"""The steps of the runtime, in dash and in bash: containerd's version, its config, its mirrors, and what CRI says."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.shell import SHELLS, sh

from kbootstrap.remote.script import quote, shell_file

pytestmark = pytest.mark.parametrize("shell", SHELLS)

CONFIG = shell_file("phases/runtime/config.sh")
PACKAGE = shell_file("phases/runtime/package.sh")
MIRRORS = shell_file("phases/runtime/mirrors.sh")
CRI = shell_file("phases/images/cri.sh")

GRPC = 'plugins."io.containerd.grpc.v1.cri"'
OPERATORS = """\
version = 2
root = "/data/containerd"
disabled_plugins = [
  "cri",
  "io.containerd.internal.v1.opt",
]

[plugins]
  [plugins.'io.containerd.grpc.v1.cri']
    sandbox_image = 'k8s.gcr.io/pause:3.1'
    [plugins.'io.containerd.grpc.v1.cri'.cni]
      bin_dir = "/usr/lib/cni"
    [plugins.'io.containerd.grpc.v1.cri'.containerd]
      default_runtime_name = "nvidia"
      [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia]
        runtime_type = "io.containerd.runc.v2"
        [plugins.'io.containerd.grpc.v1.cri'.containerd.runtimes.nvidia.options]
          BinaryName = "/usr/bin/nvidia-container-runtime"
          SystemdCgroup = false
    [plugins.'io.containerd.grpc.v1.cri'.registry]
      config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"
      [plugins.'io.containerd.grpc.v1.cri'.registry.configs."r.example".auth]
        username = "u"
"""
PACKAGED = '#   Copyright 2018-2022 Docker Inc.\n\ndisabled_plugins = ["cri"]\n\n#root = "/var/lib/containerd"\n'


def config(shell: str, folder: Path, before: str | None, major: int) -> str:
    """The config that the step wants; ``before`` is what is there."""
    if before is not None:
        (folder / "config.toml").write_text(before)
    given = f"CONFIG={folder}/config.toml\nPAUSE_IMAGE=r/pause:3.10\nCRI_SOCKET=s\nHOSTS=0\n"
    lines = sh(
        shell, f"{CONFIG}{given}major() {{ echo {major}; }}\noom_restricted() {{ false; }}\ntext\n", folder=folder
    )
    assert lines.pop() == "status 0"
    return "\n".join(lines) + "\n"


def test_a_new_config_has_the_version_of_the_containerd(shell: str, tmp_path: Path) -> None:
    two, three = config(shell, tmp_path, None, 1), config(shell, tmp_path, None, 2)
    assert "version = 2\n" in two
    assert f'[{GRPC}]\n  sandbox_image = "r/pause:3.10"\n' in two
    assert "version = 3\n" in three
    assert '[plugins."io.containerd.cri.v1.images".pinned_images]\n  sandbox = "r/pause:3.10"\n' in three
    assert 'bin_dirs = ["/opt/cni/bin"]' in three
    assert "bin_dir =" not in three


@pytest.mark.parametrize("before", [None, PACKAGED, OPERATORS, "", 'version = 3\n[plugins."x".cni]\n  a = 1\n'])
@pytest.mark.parametrize("major", [1, 2])
def test_a_config_of_ours_is_not_changed_again(shell: str, tmp_path: Path, before: str | None, major: int) -> None:
    once = config(shell, tmp_path, before, major)
    assert config(shell, tmp_path, once, major) == once
    assert once.count("SystemdCgroup = true") >= 1
    assert '"cri"' not in once


@pytest.mark.parametrize("major", [1, 2])
def test_what_the_operator_wrote_stays(shell: str, tmp_path: Path, major: int) -> None:
    """Only our keys are set: other runtimes, root and credentials belong to the operator."""
    made = config(shell, tmp_path, OPERATORS, major)
    for kept in (
        'root = "/data/containerd"',
        'default_runtime_name = "nvidia"',
        'BinaryName = "/usr/bin/nvidia-container-runtime"',
        'config_path = "/etc/containerd/certs.d:/etc/docker/certs.d"',
        'username = "u"',
        '"io.containerd.internal.v1.opt"',
    ):
        assert made.count(kept) == 1, kept
    assert "SystemdCgroup = false" not in made
    assert 'sandbox_image = "r/pause:3.10"' in made
    assert 'bin_dir = "/opt/cni/bin"' in made
    assert made.count("[plugins.'io.containerd.grpc.v1.cri']") == 1
    assert f"[{GRPC}]" not in made, "the same table twice is an error"


def test_docker_s_packaged_config_gets_cri(shell: str, tmp_path: Path) -> None:
    made = config(shell, tmp_path, PACKAGED, 2)
    assert "Copyright 2018-2022 Docker Inc." in made
    assert "disabled_plugins = []" in made
    assert made.startswith("version = 3\n")


@pytest.mark.parametrize("before", ['[plugins.cri]\n  sandbox_image = "x"\n', "version = 3\n[plugins.'x']\n"])
def test_a_config_that_this_containerd_cannot_read_is_replaced(shell: str, tmp_path: Path, before: str) -> None:
    """Names of version 1, or version 3 for a containerd 1.x. The original is kept for reset, as of every file."""
    made = config(shell, tmp_path, before, 1)
    assert made.startswith("# written by kbootstrap\nversion = 2\n")
    assert made.count("[plugins") == made.count(f"[{GRPC}")


def test_bin_dirs_of_the_operator_get_ours(shell: str, tmp_path: Path) -> None:
    table = 'plugins."io.containerd.cri.v1.runtime".cni'
    before = f'version = 3\n[{table}]\n  bin_dir = "/x"\n  bin_dirs = ["/usr/libexec/cni"]\n'
    made = config(shell, tmp_path, before, 2)
    assert 'bin_dirs = ["/opt/cni/bin", "/usr/libexec/cni"]' in made
    assert "bin_dir =" not in made, "containerd refuses both"


def test_own_mirrors_in_the_config_and_those_of_the_inventory_do_not_go_together(shell: str, tmp_path: Path) -> None:
    before = f'version = 2\n[{GRPC}.registry.mirrors."docker.io"]\n  endpoint = ["https://m"]\n'
    assert "config_path" not in config(shell, tmp_path, before, 1), "containerd would refuse it beside mirrors"
    given = f"CONFIG={tmp_path}/config.toml\nPAUSE_IMAGE=p\nCRI_SOCKET=s\nHOSTS=1\nmajor() {{ echo 1; }}\n"
    said = sh(shell, f"{CONFIG}{given}kb_load() {{ :; }}\nhave() {{ :; }}\nkb_step s 0 0\n", folder=tmp_path)
    assert "@m end s failed 64" in said
    assert any("refuses those together" in line for line in said)
    assert (tmp_path / "config.toml").read_text() == before


# --- the package -----------------------------------------------------------------------------------------------------


def package(shell: str, folder: Path, runs: str, mode: str = "plan", **given: str) -> list[str]:
    """The step on a host whose containerd says this version; ``packaged`` is that of the package containerd.io."""
    params = {
        "VERSION": "",
        "MAJOR": "",
        "MINIMUM": "1.7.28 2.1.5",
        "ADVISED": "",
        "packaged": "",
        "held": "yes",
        **given,
    }
    words = "".join(f"{name}={quote(value)}\n" for name, value in params.items())
    host = f"""
runs={quote(runs)}
have() {{ [ "$1" != containerd ] || [ -n "{runs}" ]; }}
containerd() {{ echo "containerd github.com/containerd/containerd v{runs} abc"; }}
pkg_version() {{ echo "$packaged"; }}
pkg_newest() {{ case $2 in 2) echo 2.2.1 ;; 1) echo 1.7.29 ;; esac; }}
pkg_install() {{ echo "install $1"; }}
save_unit_state() {{ :; }}
pkg_hold() {{ echo "hold $1"; }}
pkg_is_held() {{ [ -n "$held" ] || {{ echo "$1 is not held"; return 1; }}; }}
"""
    return sh(shell, f"{words}{host}{PACKAGE}kb_load() {{ :; }}\nkb_step s 0 0\n", mode=mode, folder=folder)


def test_the_package_is_held_and_an_installed_one_is_not_installed_again(shell: str, tmp_path: Path) -> None:
    lines = package(shell, tmp_path, "2.2.0", packaged="2.2.0", held="")
    assert "containerd.io is not held" in lines
    assert "@m end s change" in lines
    lines = package(shell, tmp_path, "2.2.0", "apply", packaged="2.2.0", held="")
    assert "hold containerd.io" in lines
    assert not any(line.startswith("install") for line in lines)
    assert "@m end s ok" in package(shell, tmp_path, "2.2.0", packaged="2.2.0")
    assert "@m end s ok" in package(shell, tmp_path, "2.2.0", packaged="", held=""), "there is no package to hold"


@pytest.mark.parametrize(
    ("runs", "state"),
    [("1.6.33", "change"), ("1.7.27", "change"), ("1.7.28", "ok"), ("1.7.29", "ok"), ("2.0.9", "change"),
     ("2.1.5", "ok"), ("2.2.0", "ok"), ("3.0.0", "ok"), ("1.7.28~ds1", "ok"), ("", "change")],
)  # fmt: skip
def test_a_containerd_that_is_too_old_is_replaced(shell: str, tmp_path: Path, runs: str, state: str) -> None:
    """Also one without a package: its version is what it says itself."""
    assert f"@m end s {state}" in package(shell, tmp_path, runs)


def test_an_old_package_is_replaced_by_a_named_version(shell: str, tmp_path: Path) -> None:
    """Without a version, a package manager takes the installed package for good enough."""
    assert "install containerd.io=2.2.1" in package(shell, tmp_path, "1.6.33", "apply", packaged="1.6.33")
    assert "install containerd.io=1.7.29" in package(shell, tmp_path, "2.1.0", "apply", MAJOR="1", MINIMUM="")
    assert "install containerd.io" in package(shell, tmp_path, "", "apply")


def test_an_old_containerd_in_front_of_the_package_is_named(shell: str, tmp_path: Path) -> None:
    said = package(shell, tmp_path, "1.6.33", "apply")
    assert any(
        "is 1.6.33, and not of the package containerd.io: this Kubernetes needs at least 1.7.28" in s for s in said
    )


def test_a_repository_without_a_fitting_containerd_is_final(shell: str, tmp_path: Path) -> None:
    said = package(shell, tmp_path, "1.6.33", "apply", MINIMUM="9.0.0")
    assert "@m end s failed 64" in said
    assert any("no containerd.io that fits" in line for line in said)


def test_an_older_containerd_than_advised_is_a_warning(shell: str, tmp_path: Path) -> None:
    said = package(shell, tmp_path, "1.7.29", ADVISED="2.2.0")
    assert "@m end s ok" in said
    assert any("warning" in line and "1.7.29 is older than 2.2.0" in line for line in said)
    assert not any("warning" in line for line in package(shell, tmp_path, "2.2.0", ADVISED="2.2.0"))


def test_only_repositories_that_are_there_are_asked_for_the_newest(shell: str, tmp_path: Path) -> None:
    """containerd comes before the repository of Kubernetes. dnf ends with `Unknown repo` where one is not there."""
    dnf = """
have() { [ "$1" = dnf ]; }
repo_file() { echo "$1.repo"; }
dnf() {
    case $* in
        *--enablerepo=kubernetes*) echo "Error: Unknown repo: 'kubernetes'" >&2; return 1 ;;
        *--enablerepo=docker*) echo 'containerd.io.x86_64 1.6.20-1.el9 docker' ;;
    esac
}
"""
    (tmp_path / "docker.repo").touch()
    script = f"cd {tmp_path}\n{shell_file('shell/os/el.sh')}{dnf}pkg_newest containerd.io 1\n"
    assert sh(shell, script, folder=tmp_path) == ["1.6.20", "status 0"]


# --- mirrors ---------------------------------------------------------------------------------------------------------


def hosts_toml(shell: str, registry: str, mirrors: str, insecure: str = "") -> list[str]:
    words = f"MIRRORS={quote(mirrors)}\nINSECURE={quote(insecure)}\n"
    return [line.strip() for line in sh(shell, f"{words}{MIRRORS}text {registry}\n")][1:-1]


@pytest.mark.parametrize(
    ("url", "host", "override"),
    [
        ("https://m.example", "https://m.example", False),
        ("https://m.example:5000/", "https://m.example:5000", False),
        ("https://harbor.example/v2/proxy", "https://harbor.example/v2/proxy", True),
        ("https://m.example/docker/v2", "https://m.example/docker/v2", True),
        ("https://m.example/docker", "https://m.example/docker/v2", True),
    ],
)
def test_the_path_of_a_mirror_is_used_as_it_is(shell: str, url: str, host: str, override: bool) -> None:
    lines = hosts_toml(shell, "docker.io", f"docker.io {url}")
    assert lines[0] == f'[host."{host}"]'
    assert ("override_path = true" in lines) == override


def test_an_insecure_registry_is_asked_with_tls_first(shell: str) -> None:
    lines = hosts_toml(shell, "r.lan:5000", "r.lan:5000 https://m.lan\nr.lan:5000 https://n.lan", "r.lan:5000 m.lan")
    assert lines == [
        '[host."https://m.lan"]',
        'capabilities = ["pull", "resolve"]',
        "skip_verify = true",
        '[host."https://n.lan"]',
        'capabilities = ["pull", "resolve"]',
        '[host."https://r.lan:5000"]',
        'capabilities = ["pull", "resolve"]',
        "skip_verify = true",
        '[host."http://r.lan:5000"]',
        'capabilities = ["pull", "resolve"]',
    ]


# --- CRI -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("info", "status", "problem"),
    [
        (
            '{"status": {"conditions": []}, "config": {"runtimes": {"runc": {"options": {"SystemdCgroup": true}}}}}',
            0,
            "",
        ),
        ('{"status": {"conditions": []}, "config": {"options": {"SystemdCgroup":\n false}}}', 0, "systemd's cgroups"),
        ('{"status": {"conditions": []}, "config": {}}', 0, "systemd's cgroups"),
        ("FATA[0000] unknown service runtime.v1.RuntimeService", 1, "unknown service runtime.v1.RuntimeService"),
    ],
)
def test_what_the_runtime_says_itself_decides(shell: str, tmp_path: Path, info: str, status: int, problem: str) -> None:
    host = f"crictl() {{ printf '%s\\n' {quote(info)}; return {status}; }}\nsystemctl() {{ :; }}\nsleep() {{ :; }}\n"
    script = f"CONFIG_FILE=c.toml\n{host}{CRI}kb_load() {{ :; }}\nkb_step s 0 1\n"
    said = sh(shell, script, folder=tmp_path)
    if not problem:
        assert "@m end s ok" in said
        return
    assert "@m end s failed 64" in said
    assert any(problem in line for line in said)
    assert any("c.toml" in line for line in said if line.startswith("@m"))
