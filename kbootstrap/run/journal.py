"""The journal of a run: one JSON object per event, written immediately, readable only by its owner.

A journal is in ``$XDG_STATE_HOME/kbootstrap/runs/RUN/events.jsonl``; the newest ``KEPT`` journals are kept.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path
from typing import Any, TextIO

from kbootstrap.errors import KbootstrapError
from kbootstrap.events import Event
from kbootstrap.plain_file import make_private
from kbootstrap.secret import Secret
from kbootstrap.state_home import state_home

KEPT = 50


def runs_folder() -> Path:
    """The folder with a folder for every run."""
    return state_home() / "runs"


def journal_of(folder: Path) -> Path:
    """The journal in the folder of a run."""
    return folder / "events.jsonl"


class Journal:
    """A view that writes every event of a run. Secrets in the events are already masked.

    A run that ended before its first event leaves no journal.
    """

    def __init__(self, run_id: str, root: Path | None = None) -> None:
        self._folder = (root or runs_folder()) / run_id
        self.path = journal_of(self._folder)
        self._begun = False
        self._file: TextIO | None = None

    def __enter__(self) -> Journal:
        try:
            make_private(self._folder.parent)
            self._folder.mkdir(mode=0o700)
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
        except OSError as error:
            raise KbootstrapError(
                f"{self._folder} cannot be written: {error.strerror}",
                "The journals of runs are kept there; set XDG_STATE_HOME to use another folder. [state-folder]",
            ) from None
        self._file = os.fdopen(fd, "w", encoding="utf-8")
        _forget_old(self._folder.parent)
        return self

    def __exit__(self, *details: object) -> None:
        if self._file is not None:
            with contextlib.suppress(OSError):
                self._file.close()
            if not self._begun:
                shutil.rmtree(self._folder, ignore_errors=True)
            self._file = None

    def handle(self, event: Event) -> None:
        """Write the event. Raises OSError once, when it cannot; after that the journal ignores every event."""
        if self._file is None:
            return
        self._begun = True
        line = {"event": type(event).__name__, **self._plain(event)}
        try:
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError:
            self.__exit__()
            raise

    def _plain(self, value: Any) -> Any:
        """The value as JSON data."""
        if value is None or isinstance(value, (str, int, float)):
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


def _forget_old(folder: Path) -> None:
    for old in sorted(path for path in folder.iterdir() if path.is_dir())[:-KEPT]:
        shutil.rmtree(old, ignore_errors=True)
