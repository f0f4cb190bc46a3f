"""Every run on disk: one JSON object per event, written as it happens, readable by its owner only.

Journals live in ``$XDG_STATE_HOME/kbootstrap/runs/RUN/events.jsonl``; the newest ``KEPT`` runs stay.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from kbootstrap.model import Event, KbootstrapError, Secret
from kbootstrap.redact import Redactor

KEPT = 50


def state_home() -> Path:
    """Where kbootstrap keeps what it remembers on the operator's machine."""
    base = os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state"
    return Path(base) / "kbootstrap"


class Journal:
    """A view that writes every event of a run; everything goes through the redactor once more."""

    def __init__(self, run_id: str, redactor: Redactor, root: Path | None = None) -> None:
        self._folder = (root or state_home() / "runs") / run_id
        self.path = self._folder / "events.jsonl"
        self._redactor = redactor
        self._file: TextIO | None = None

    def __enter__(self) -> Journal:
        try:
            for folder in (self._folder.parent.parent, self._folder.parent, self._folder):
                folder.mkdir(parents=True, mode=0o700, exist_ok=folder is not self._folder)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except (NotADirectoryError, PermissionError) as error:
            raise KbootstrapError(
                f"{self._folder} cannot be written: {error.strerror}", "Runs are kept there; XDG_STATE_HOME moves it."
            ) from None
        self._file = os.fdopen(fd, "w", encoding="utf-8")
        _forget_old(self._folder.parent)
        return self

    def __exit__(self, *details: object) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def handle(self, event: Event) -> None:
        if self._file is None:
            return
        line = {"event": type(event).__name__, **self._plain(event)}
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()

    def _plain(self, value: Any) -> Any:
        """Masked before it becomes JSON, whose escapes would hide a secret from the redactor."""
        if isinstance(value, str):
            return self._redactor.mask(value)
        if value is None or isinstance(value, (int, float)):
            return value
        if isinstance(value, Secret):
            return str(value)
        if hasattr(value, "__dataclass_fields__"):
            return {field: self._plain(getattr(value, field)) for field in value.__dataclass_fields__}
        if isinstance(value, dict):
            return {str(key): self._plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [self._plain(item) for item in value]
        raise TypeError(f"a journal has no {type(value)}")


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a journal, oldest first; a last line that was cut off is left out."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            if line.endswith("\n"):
                yield json.loads(line)


def _forget_old(folder: Path) -> None:
    for old in sorted(path for path in folder.iterdir() if path.is_dir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
