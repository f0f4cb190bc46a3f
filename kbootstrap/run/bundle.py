"""The archive of `kbootstrap support-bundle`. Every text in it is masked here, by ``clean``."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import platform
import sys
import tarfile
import time
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, BinaryIO

from kbootstrap import __version__
from kbootstrap.redact import Redactor, mask_credentials
from kbootstrap.run.history import Recorded
from kbootstrap.run.support import HostReport
from kbootstrap.text import counted

FOLDER = "kbootstrap-support"
"""The folder in the archive."""
NEWEST_RUNS = 5
"""Runs whose journals are in a bundle for which none is named."""
_PACKAGES = ("click", "fabric", "paramiko", "pydantic", "PyYAML", "rich", "cryptography")


@dataclasses.dataclass(frozen=True)
class Bundle:
    """What goes into the archive. ``validated`` is what `kbootstrap validate` says of the inventory."""

    validated: str
    runs: tuple[Recorded, ...]
    hosts: Mapping[str, HostReport]

    def files(self, redactor: Redactor) -> Iterator[tuple[str, str]]:
        """The name and the masked text of every file."""
        yield "README.txt", clean(redactor, self._readme())
        yield "versions.json", _json(_versions(), redactor)
        yield "validate.txt", clean(redactor, self.validated + "\n")
        for run in self.runs:
            yield f"runs/{run.run_id}.jsonl", "".join(_journal_lines(run.path, redactor))
        for host, report in self.hosts.items():
            if report.problem:
                yield f"hosts/{host}/problem.txt", clean(redactor, report.problem + "\n")
            if report.facts is not None:
                yield f"hosts/{host}/facts.json", _json(dataclasses.asdict(report.facts), redactor)
            for part, content in sorted(report.parts.items()):
                yield f"hosts/{host}/{part}.txt", clean(redactor, content)

    def _readme(self) -> str:
        now = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
        lines = [
            f"Support bundle of kbootstrap {__version__}, made at {now}.",
            "Passwords, tokens and private keys are masked with ***. Host names and addresses are not.",
            "",
            f"{counted(len(self.hosts), 'host')}:",
            *(f"  {name}: {report.problem or 'complete'}" for name, report in self.hosts.items()),
            f"{counted(len(self.runs), 'run')}:",
            *(f"  {run.run_id}: {run.result}{''.join('; ' + each for each in run.problems)}" for run in self.runs),
        ]
        return "\n".join(lines) + "\n"


def clean(redactor: Redactor, content: str) -> str:
    """The text without known secrets and without what looks like a credential."""
    return mask_credentials(redactor.clean(content))


def _versions() -> dict[str, str]:
    found = {"kbootstrap": __version__, "python": sys.version.split()[0], "system": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed as a package"
    return found


def _journal_lines(path: Path, redactor: Redactor) -> Iterator[str]:
    """The journal with the text of every event masked by itself, so that its lines stay JSON."""
    try:
        lines: Iterable[str] = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return
    for line in lines:
        try:
            yield json.dumps(_clean_values(json.loads(line), redactor), ensure_ascii=False) + "\n"
        except (ValueError, RecursionError):
            yield clean(redactor, line) + "\n"


def _json(value: Any, redactor: Redactor) -> str:
    plain = json.loads(json.dumps(value, default=sorted))
    return json.dumps(_clean_values(plain, redactor), indent=2, ensure_ascii=False) + "\n"


def _clean_values(value: Any, redactor: Redactor) -> Any:
    if isinstance(value, str):
        return clean(redactor, value)
    if isinstance(value, dict):
        return {clean(redactor, key): _clean_values(item, redactor) for key, item in value.items()}
    return [_clean_values(item, redactor) for item in value] if isinstance(value, list) else value


def write_archive(bundle: Bundle, redactor: Redactor, file: BinaryIO) -> None:
    """Write the archive: names in a fixed order, owned by nobody in particular, readable by their owner only."""
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        for name, content in bundle.files(redactor):
            data = content.encode("utf-8", "replace")
            entry = tarfile.TarInfo(f"{FOLDER}/{name}")
            entry.size, entry.mode, entry.mtime = len(data), 0o600, int(time.time())
            archive.addfile(entry, io.BytesIO(data))


def new_file(path: Path) -> BinaryIO:
    """A new file for this user only. Raises OSError where there is something already."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")
