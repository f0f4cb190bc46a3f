"""The operator's kubeconfig: entries of other clusters stay, and the file is never incomplete."""

from __future__ import annotations

import base64
import hashlib
import os
import pty
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from kbootstrap.errors import KbootstrapError
from kbootstrap.kubernetes import kubeconfig
from kbootstrap.kubernetes.kubeconfig import default_path, discard, keep, save, usable

Entry = dict[str, Any]


def config(ca: str, cluster: str, user: str, token: str, context: str) -> Entry:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": {"server": "https://x:6443", "certificate-authority-data": ca}}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": context, "context": {"cluster": cluster, "user": user}}],
        "current-context": context,
    }


OURS = yaml.safe_dump(config("T1VSUw==", "kubernetes", "kubernetes-admin", "ours", "kubernetes-admin@kubernetes"))
THEIRS = config("VEhFSVJT", "prod", "prod-user", "theirs", "prod")
GARBAGE = [b"\xff\xfe\x00", b"clusters: [null]\n", b"clusters: []\nusers: nonsense\n", b"- a\n", b"clusters: ["]


def test_only_the_kept_kubeconfig_of_the_cluster_that_is_gone_goes(tmp_path: Path) -> None:
    ours, theirs = keep(OURS, tmp_path, "demo"), keep(yaml.safe_dump(THEIRS), tmp_path, "demo")
    other = [tmp_path / f"demo-{number}.yaml" for number in range(len(GARBAGE))]
    for path, content in zip(other, GARBAGE, strict=True):
        path.write_bytes(content)
    assert discard(tmp_path, {hashlib.sha256(b"OURS").hexdigest()}) == [ours]
    assert sorted(tmp_path.iterdir()) == sorted([theirs, *other])
    assert discard(tmp_path, set()) == []
    assert discard(tmp_path / "none", {""}) == []


@pytest.mark.parametrize(
    ("key", "works"),
    [
        ("-----BEGIN RSA PRIVATE KEY-----\nAA==\n", True),
        ("-----BEGIN EC PRIVATE KEY-----\n", True),
        ("of a lab", False),
    ],
)
def test_kubectl_needs_a_private_key(key: str, works: bool) -> None:
    user = {"user": {"client-key-data": base64.b64encode(key.encode()).decode()}}
    assert usable(yaml.safe_dump({"users": [user]})) is works


def test_merging_keeps_every_other_entry_and_the_current_context(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump({**THEIRS, "preferences": {"colors": True}}))
    save(OURS, path, "demo", merge=True)
    merged = yaml.safe_load(path.read_text())
    for section in ("clusters", "users", "contexts"):
        assert merged[section][0] == THEIRS[section][0]
        assert len(merged[section]) == 2
    assert merged["current-context"] == "prod"
    assert merged["preferences"] == {"colors": True}
    save(OURS, path, "demo", merge=True)
    assert yaml.safe_load(path.read_text()) == merged


@pytest.mark.parametrize(
    "taken",
    [config("VEhFSVJT", "prod", "demo-admin", "theirs", "prod"), config("VEhFSVJT", "prod", "prod-user", "x", "demo")],
    ids=["user", "context"],
)
def test_a_user_or_context_of_another_cluster_is_never_overwritten(tmp_path: Path, taken: Entry) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(taken))
    with pytest.raises(KbootstrapError):
        save(OURS, path, "demo", merge=True)
    assert yaml.safe_load(path.read_text()) == taken


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """Configuration files are often links into a repository."""
    (tmp_path / "real").write_text("")
    (tmp_path / "config").symlink_to(tmp_path / "real")
    save(yaml.safe_dump(config("QQ==", "kubernetes", "u", "t", "c")), tmp_path / "config", "test", merge=True)
    assert (tmp_path / "config").is_symlink()
    assert "test-admin" in (tmp_path / "real").read_text()


def test_the_file_kubectl_writes_to(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("KUBECONFIG", f":{tmp_path / 'one'}:{tmp_path / 'two'}")
    assert default_path() == tmp_path / "one"
    monkeypatch.delenv("KUBECONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert default_path() == tmp_path / ".kube" / "config"


def test_a_file_with_other_clusters_is_not_replaced_as_a_whole(tmp_path: Path) -> None:
    """`kubeconfig --file ~/.kube/config` without --merge."""
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    with pytest.raises(KbootstrapError):
        save(OURS, path, "demo", merge=False)
    assert yaml.safe_load(path.read_text()) == THEIRS


@pytest.mark.parametrize(
    "emptied", ["", "apiVersion: v1\nkind: Config\nclusters: null\ncontexts: null\nusers: null\ncurrent-context: ''\n"]
)
def test_an_emptied_kubeconfig_is_filled_again(tmp_path: Path, emptied: str) -> None:
    """`kubectl config delete-cluster`, which our hint names, leaves the second one after the last cluster."""
    path = tmp_path / "config"
    path.write_text(emptied)
    save(OURS, path, "demo", merge=True)
    written = yaml.safe_load(path.read_text())
    assert [entry["name"] for entry in written["clusters"]] == ["demo"]
    assert written["current-context"] == "demo"


@pytest.mark.parametrize("garbage", GARBAGE)
def test_an_invalid_file_is_left_alone(tmp_path: Path, garbage: bytes) -> None:
    path = tmp_path / "config"
    path.write_bytes(garbage)
    with pytest.raises(KbootstrapError):
        save(OURS, path, "demo", merge=True)
    assert path.read_bytes() == garbage


@pytest.mark.parametrize(
    "said", ["", "clusters: []\n", "clusters: [{name: a, cluster: {}}]\n", "clusters: [x]\nusers: [y]\n", "\x00"]
)
def test_a_kubeconfig_from_a_host_is_not_trusted(tmp_path: Path, said: str) -> None:
    with pytest.raises(KbootstrapError):
        save(said, tmp_path / "config", "demo", merge=True)
    assert list(tmp_path.iterdir()) == []


def test_a_path_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(KbootstrapError):
        save(OURS, tmp_path / "file" / "config", "demo", merge=False)


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises((KbootstrapError, OSError)):
        save(OURS, path, "demo", merge=True)
    assert yaml.safe_load(path.read_text()) == THEIRS
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_others_could_read_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text(yaml.safe_dump(THEIRS))
    path.chmod(0o644)
    save(OURS, path, "demo", merge=True)
    assert path.stat().st_mode & 0o777 == 0o600


ODD = """\
apiVersion: v1
clusters:
- name: 12:34:56
  cluster: {server: 'https://y:6443', insecure-skip-tls-verify: true, tls-server-name: 0o17}
users:
- name: &who on
  user:
    token: 2026-01-01
    exec: {command: 1_000, args: [~, null, 1e3, 'yes', "no", .5], interactiveMode: Never}
contexts:
- name: 0x1F
  context: {cluster: 12:34:56, user: *who}
current-context: 0x1F
preferences: {}
"""


def test_every_other_value_stays_as_it_was_written(tmp_path: Path) -> None:
    """YAML 1.1 reads 12:34:56 as 45296 and `on` as true."""
    path = tmp_path / "config"
    path.write_text(ODD)
    save(OURS, path, "demo", merge=True)
    was, now = yaml.BaseLoader(ODD).get_single_data(), yaml.BaseLoader(path.read_text()).get_single_data()
    for section in ("clusters", "users", "contexts"):
        assert now[section][:1] == was[section]
        assert len(now[section]) == 2
    for key in ("current-context", "preferences", "apiVersion"):
        assert now[key] == was[key]
    typed = yaml.safe_load(path.read_text())
    assert typed["clusters"][0]["cluster"]["insecure-skip-tls-verify"] is True
    assert typed["users"][0]["user"]["exec"]["args"] == yaml.safe_load(ODD)["users"][0]["user"]["exec"]["args"]


def test_merges_side_by_side_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "config"
    names = [f"cluster{n}" for n in range(9)]
    for _round in range(5):
        path.unlink(missing_ok=True)
        together = threading.Barrier(len(names))

        def merge(name: str, together: threading.Barrier = together) -> None:
            together.wait()
            save(OURS, path, name, merge=True)

        with ThreadPoolExecutor(len(names)) as pool:
            list(pool.map(merge, names))
        assert {entry["name"] for entry in yaml.safe_load(path.read_text())["clusters"]} == set(names)
    assert [file.name for file in tmp_path.iterdir()] == ["config"]


def test_the_lock_of_kubectl_is_respected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "config"
    (tmp_path / "config.lock").touch()
    monkeypatch.setattr(kubeconfig, "LOCK_S", 0.1)
    with pytest.raises(KbootstrapError) as locked:
        save(OURS, path, "demo", merge=True)
    assert f"{path} is locked" in locked.value.message
    assert f"remove {path}.lock" in locked.value.hint
    assert not path.exists()
    assert (tmp_path / "config.lock").exists()


@pytest.mark.parametrize("merge", [True, False])
@pytest.mark.parametrize("kind", ["a terminal", "fifo", "folder"])
def test_only_a_plain_file_is_replaced(tmp_path: Path, kind: str, merge: bool) -> None:
    master, terminal = pty.openpty()
    path = Path(os.ttyname(terminal)) if kind == "a terminal" else tmp_path / kind
    if kind == "fifo":
        os.mkfifo(path)
    if kind == "folder":
        path.mkdir()
    before = path.stat().st_mode
    with pytest.raises(KbootstrapError) as refused:
        save(OURS, path, "demo", merge=merge)
    assert str(path) in refused.value.message
    assert path.stat().st_mode == before
    assert not list(tmp_path.glob("*.lock"))
    os.close(master)
    os.close(terminal)


def test_an_entry_with_two_names_is_the_one_of_the_last(tmp_path: Path) -> None:
    path = tmp_path / "config"
    path.write_text("clusters: []\nusers:\n- name: demo-admin\n  user: {token: keep}\n  name: other\n")
    save(OURS, path, "demo", merge=True)
    assert "token: keep" in path.read_text()
    assert len(yaml.safe_load(path.read_text())["users"]) == 2
