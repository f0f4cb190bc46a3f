"""The operator's kubeconfig: validated, written atomically with mode 0600, never over another cluster's entry.

A kubeconfig can make kubectl run programs and connect to any server, and this one comes from a host. So we keep only
the CA, a certificate and its key, for the server in the inventory.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import errno
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import yaml

from kbootstrap.errors import KbootstrapError
from kbootstrap.plain_file import make_private, read_plain
from kbootstrap.secret import Secret
from kbootstrap.state_home import home

Entry = dict[str, Any]
_SECTIONS = {"clusters": "cluster", "users": "user", "contexts": "context"}
_DELETE = {"clusters": "delete-cluster", "users": "delete-user", "contexts": "delete-context"}
_CA = "certificate-authority-data"
_CERTIFICATE, _KEY = "client-certificate-data", "client-key-data"
MAX_BYTES = 64 * 1024
"""An admin.conf has about 6 KiB."""
MOST_EXISTING = 16 * 1024 * 1024
"""The largest kubeconfig to merge into, in bytes."""
LOCK_S = 10
"""Wait for the lock of another kubectl, in seconds."""
NOT_FOR_KUBECTL = "kubectl cannot use this kubeconfig (its key is no private key): simulated hosts have no API server"
_LINE = re.compile(r" *(- )?[A-Za-z][A-Za-z-]*:( [^\s\[\]{}&*!|>?-].*| \{\})?\Z")
"""The lines that kubeadm writes. Nested, repeated or self-referencing YAML can keep a parser busy for hours."""


def checked(text: str, cluster: str, endpoint: str) -> str:
    """The kubeconfig from a host, rebuilt with our own names from validated values only.

    Raises ValueError when it is not an admin.conf for the server ``endpoint``.
    """
    if len(text) > MAX_BYTES:
        raise ValueError(f"a kubeconfig is smaller than {MAX_BYTES // 1024} KiB")
    if not all(map(_LINE.match, text.removesuffix("\n").split("\n"))):
        raise ValueError("it has lines that no admin.conf has")
    try:
        # This loader creates only text, lists and maps.
        data = yaml.BaseLoader(text).get_single_data()
    except (yaml.YAMLError, RecursionError):
        raise ValueError("it is not YAML") from None
    server, user = _only(data, "clusters"), _only(data, "users")
    _exactly(server, {"server", _CA}, "cluster")
    _exactly(user, {_CERTIFICATE, _KEY}, "user")
    address = server["server"]
    if not isinstance(address, str) or address.lower() != f"https://{endpoint}".lower():
        raise ValueError(
            f"its server is {str(address)[:200]}, but the inventory's endpoint is {endpoint}"
            " (cluster.control_plane_endpoint)"
        )
    for key, value in (*server.items(), *user.items()):
        if key != "server":
            _base64(key, value)
    return yaml.safe_dump(_under_our_names(server, user, cluster), sort_keys=False)


def client_key(text: str) -> Secret:
    """The private key, as text, of a kubeconfig from ``checked``."""
    return Secret(yaml.safe_load(text)["users"][0]["user"][_KEY])


def usable(text: str) -> bool:
    """Whether kubectl can load the credentials of a kubeconfig from ``checked``: those of simulated hosts it cannot."""
    return b"PRIVATE KEY-----" in base64.b64decode(client_key(text).reveal())


def _only(data: Any, section: str) -> Entry:
    entries = data.get(section) if isinstance(data, dict) else None
    inner = _SECTIONS[section]
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        raise ValueError(f"it does not have exactly one {inner}")
    entry = entries[0].get(inner)
    if not isinstance(entry, dict):
        raise ValueError(f"it does not have exactly one {inner}")
    return entry


def _exactly(entry: Entry, wanted: set[str], what: str) -> None:
    """Refuse any other key: exec, auth-provider, proxy-url, insecure-skip-tls-verify, file names ..."""
    if set(entry) != wanted:
        shown = ", ".join(sorted(str(key) for key in entry))[:200]
        raise ValueError(f"its {what} has {shown or 'nothing'}; an admin.conf has {', '.join(sorted(wanted))}")


def _base64(key: str, value: Any) -> None:
    try:
        good = isinstance(value, str) and base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        good = b""
    if not good:
        raise ValueError(f"its {key} is not base64")


def default_path() -> Path:
    """The file kubectl writes to: the first of ``$KUBECONFIG``, else ``~/.kube/config``."""
    first = next(filter(None, os.environ.get("KUBECONFIG", "").split(os.pathsep)), "")
    return Path(first) if first else home() / ".kube" / "config"


def save(text: str, path: Path, cluster: str, *, merge: bool) -> None:
    """Write the kubeconfig ``text`` of ``cluster`` to ``path``.

    With ``merge`` the file's other entries and its current context are kept, value for value. Raises KbootstrapError
    when an entry of that name belongs to another cluster, when the file is not a kubeconfig, when kubectl has locked
    it, and when it cannot be read or written.
    """
    ours = _named(_parse(text, "the control plane's answer"), cluster)
    new = yaml.safe_dump(ours, sort_keys=False)
    try:
        # A symbolic link is kept, and its target is replaced.
        path = path.resolve()
        make_private(path.parent)
        with _locked(path):
            there = read_plain(path, MOST_EXISTING).decode("utf-8") if path.exists() else ""
            if there.strip():
                _refuse_foreign(_parse(there, str(path)), ours, path, merge)
                new = _merged(there, new)
            _write(path, new)
    except UnicodeDecodeError:
        raise _no_kubeconfig(str(path)) from None
    except OSError as error:
        raise KbootstrapError(
            f"{path} cannot be written: {error.strerror}", "Choose another file with --file. [kubeconfig-file]"
        ) from None


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """kubectl's own lock: a file beside the kubeconfig (client-go, tools/clientcmd/config.go, lockFile)."""
    lock = path.with_name(path.name + ".lock")
    deadline = time.monotonic() + LOCK_S
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            if time.monotonic() > deadline:
                raise KbootstrapError(
                    f"{path} is locked by another kubectl or kbootstrap",
                    f"If none is at work on it, remove {lock} and try again. [kubeconfig-file]",
                ) from None
            time.sleep(0.05)
    try:
        yield
    finally:
        lock.unlink(missing_ok=True)


def keep(text: str, folder: Path, cluster: str) -> Path:
    """Write the kubeconfig to its own file in ``folder`` and return the path.

    The file name contains the cluster's name and a hash of its CA, so that clusters with the same name have different
    files. Raises KbootstrapError.
    """
    config = _named(_parse(text, "the control plane's answer"), cluster)
    ca = str(config["clusters"][0]["cluster"].get(_CA))
    path = folder / f"{cluster}-{hashlib.sha256(ca.encode()).hexdigest()[:8]}.yaml"
    save(text, path, cluster, merge=False)
    return path


def discard(folder: Path, authorities: Collection[str]) -> list[Path]:
    """Remove the files of ``keep`` whose cluster is gone, and return their paths. Raises KbootstrapError.

    ``authorities`` are the SHA-256 hashes of the CA files (ca.crt) of that cluster.
    """
    gone = [path for path in sorted(folder.glob("*.yaml")) if _authority(path) in authorities]
    for path in gone:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise KbootstrapError(
                f"{path} cannot be removed: {error.strerror}", "Remove it by hand. [kubeconfig-file]"
            ) from None
    return gone


def _authority(path: Path) -> str:
    """The hash of the CA in a kubeconfig; empty for a file that is none."""
    try:
        config = _parse(read_plain(path, MOST_EXISTING).decode("utf-8"), str(path))
        ca = base64.b64decode(config["clusters"][0]["cluster"][_CA], validate=True)
    except (KbootstrapError, OSError, ValueError, LookupError, TypeError):
        return ""
    return hashlib.sha256(ca).hexdigest()


def _parse(text: str, where: str) -> Entry:
    """The file as data whose sections are lists of named entries; an empty file is an empty kubeconfig."""
    try:
        # This loader creates only text, lists and maps: no value is read as a number or a date.
        data = yaml.BaseLoader(text).get_single_data() if text.strip() else {"clusters": []}
    except (yaml.YAMLError, RecursionError):
        data = None
    if not isinstance(data, dict) or "clusters" not in data:
        raise _no_kubeconfig(where)
    for section, inner in _SECTIONS.items():
        entries = data.get(section) or []
        if entries == "null":
            entries = []
        good = isinstance(entries, list) and all(
            isinstance(entry, dict) and isinstance(entry.get("name"), str) and isinstance(entry.get(inner), dict)
            for entry in entries
        )
        if not good:
            raise _no_kubeconfig(where)
        data[section] = entries
    return data


def _no_kubeconfig(where: str) -> KbootstrapError:
    return KbootstrapError(f"{where} is not a kubeconfig", "Choose another file with --file. [kubeconfig-file]")


def _named(config: Entry, cluster: str) -> Entry:
    """The same credentials under our own names, because kubeadm names every user kubernetes-admin."""
    if not config["clusters"] or not config["users"] or not config["clusters"][0]["cluster"].get("server"):
        raise _no_kubeconfig("the control plane's answer")
    return _under_our_names(config["clusters"][0]["cluster"], config["users"][0]["user"], cluster)


def _under_our_names(server: Entry, credentials: Entry, cluster: str) -> Entry:
    user = f"{cluster}-admin"
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": cluster, "cluster": server}],
        "users": [{"name": user, "user": credentials}],
        "contexts": [{"name": cluster, "context": {"cluster": cluster, "user": user}}],
        "current-context": cluster,
    }


def _refuse_foreign(existing: Entry, ours: Entry, path: Path, merge: bool) -> None:
    """Refuse to overwrite entries of another cluster. The CA identifies a cluster, not its address.

    Entries with our names are ours if the file's cluster entry has the same CA.
    """
    name, mine = ours["clusters"][0]["name"], ours["clusters"][0]["cluster"]
    known = {entry["name"]: entry["cluster"] for entry in existing.get("clusters", [])}
    if name in known and known[name].get(_CA) == mine.get(_CA):
        taken = []
    else:
        names = {section: ours[section][0]["name"] for section in _SECTIONS}
        taken = [s for s in _SECTIONS for entry in existing.get(s, []) if entry["name"] == names[s]]
    if taken:
        raise KbootstrapError(
            f"{path} has entries for another cluster named {name!r} ({', '.join(taken)}): the file is not changed",
            "Give the cluster another name in the inventory, use --file, or remove the old entries: "
            + "; ".join(
                f"kubectl config {_DELETE[section]} {ours[section][0]['name']}" for section in dict.fromkeys(taken)
            )
            + " [kubeconfig-file]",
        )
    if not merge and set(known) - {name}:
        raise KbootstrapError(
            f"{path} contains other clusters: the file is not changed",
            "Use --merge, or another --file. [kubeconfig-file]",
        )


def _merged(existing: str, ours: str) -> str:
    """The existing file with our entries. Works on YAML's nodes, which keep every value as it is written."""
    root: Any = yaml.compose(existing, yaml.SafeLoader)
    new: Any = yaml.compose(ours, yaml.SafeLoader)
    there = {key.value: index for index, (key, _value) in enumerate(root.value)}
    for key, value in new.value:
        if key.value not in there:
            root.value.append((key, value))
        elif key.value in _SECTIONS:
            old_key, old = root.value[there[key.value]]
            kept = old.value if isinstance(old, yaml.SequenceNode) else []
            mine = _name_of(value.value[0])
            entries = [entry for entry in kept if _name_of(entry) != mine] + value.value
            root.value[there[key.value]] = (old_key, yaml.SequenceNode("tag:yaml.org,2002:seq", entries))
        elif key.value == "current-context" and root.value[there[key.value]][1].value in ("", "null", "~"):
            root.value[there[key.value]] = (key, value)
    merged: str = yaml.serialize(root, Dumper=yaml.SafeDumper, allow_unicode=True, width=float("inf"))
    return merged


def _name_of(entry: yaml.MappingNode) -> str:
    """The entry's name; of two keys the last one counts, as for the loader that has checked the entry."""
    return next((str(value.value) for key, value in reversed(entry.value) if key.value == "name"), "")


def _write(path: Path, text: str) -> None:
    """Write the file atomically. Only a plain file is ever replaced: root must not rename over /dev/null."""
    if path.exists() and not path.is_file():
        raise OSError(errno.EINVAL, "it is not a plain file")
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
