"""Writing the operator's kubeconfig: 0600, in one move, never over another cluster's entry."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from kbootstrap.model import KbootstrapError

Entry = dict[str, Any]


def save(text: str, path: Path, cluster: str, *, merge: bool) -> None:
    """Write the kubeconfig ``text`` of ``cluster`` to ``path``.

    With ``merge`` the file's other entries stay, and the current context stays too when there is one. Raises
    KbootstrapError when an entry of that name belongs to another cluster, or when the file is no kubeconfig.
    """
    ours = _named(_parse(text, "the cluster"), cluster)
    existing = _parse(path.read_text(encoding="utf-8"), str(path)) if path.exists() else {}
    if existing:
        _refuse_foreign(existing, ours, path)
    if merge and existing:
        ours = _merged(existing, ours)
    _write(path, yaml.safe_dump(ours, sort_keys=False))


def _parse(text: str, where: str) -> Entry:
    try:
        data = yaml.safe_load(text)
    except yaml.YAMLError:
        data = None
    if not isinstance(data, dict) or not isinstance(data.get("clusters"), list):
        raise KbootstrapError(f"{where} has no kubeconfig in it", "Choose another file with --file.")
    return data


def _named(config: Entry, cluster: str) -> Entry:
    """The same credentials under names of our own: kubeadm calls every user kubernetes-admin."""
    user = f"{cluster}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": config["clusters"][0]["cluster"]}],
        "users": [{"name": user, "user": config["users"][0]["user"]}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }


def _refuse_foreign(existing: Entry, ours: Entry, path: Path) -> None:
    """The CA tells clusters apart; a cluster may get another address."""
    name = ours["clusters"][0]["name"]
    mine = ours["clusters"][0]["cluster"]
    for entry in existing["clusters"]:
        theirs = entry.get("cluster", {})
        ca = "certificate-authority-data"
        if entry.get("name") == name and theirs.get(ca) != mine.get(ca):
            raise KbootstrapError(
                f"{path} has another cluster named {name!r}, at {theirs.get('server')}: it is left as it is",
                "Give the cluster another name in the inventory, use --file, or remove the old entry:"
                f" kubectl config delete-cluster {name}",
            )


def _merged(existing: Entry, ours: Entry) -> Entry:
    merged = dict(existing)
    for section in ("clusters", "users", "contexts"):
        new = ours[section][0]
        others = [entry for entry in existing.get(section) or [] if entry.get("name") != new["name"]]
        merged[section] = [*others, new]
    merged["current-context"] = existing.get("current-context") or ours["current-context"]
    return merged


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    fd, new = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        Path(new).replace(path)
    except BaseException:
        Path(new).unlink(missing_ok=True)
        raise
