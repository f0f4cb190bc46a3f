"""Files of the operator's machine: plain ones of a bounded size are read, and folders are made private."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path


def read_plain(path: Path, most: int, *, pipes: bool = False, null: bool = False) -> bytes:
    """The content of a plain file of at most ``most`` bytes; with ``pipes`` also of a pipe (``<(sops -d ...)``).

    With ``null``, the null device is an empty file. Raises OSError, also when the file is larger (EFBIG) or of another
    kind (EINVAL).
    """
    fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(fd, "rb", buffering=0) as file:
        mode = os.fstat(fd).st_mode
        if null and path == Path(os.devnull):
            return b""
        if pipes and stat.S_ISFIFO(mode):
            os.set_blocking(fd, True)
        elif not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, "it is not a plain file")
        parts, size = [], 0
        while size <= most and (part := file.read(min(1 << 20, most + 1 - size))):
            parts.append(part)
            size += len(part)
    if size > most:
        raise OSError(errno.EFBIG, f"it is larger than {_shown(most)}")
    return b"".join(parts)


def make_private(folder: Path) -> None:
    """Make the folder and those above it, where they are missing, for this user only, whatever the umask."""
    if not folder.is_dir():
        make_private(folder.parent)
        folder.mkdir(mode=0o700, exist_ok=True)


def _shown(size: int) -> str:
    return f"{size >> 20} MiB" if size >= 1 << 20 else f"{size >> 10} KiB"
