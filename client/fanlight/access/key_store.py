"""Changes to a file of keys: whole or not at all, one at a time."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fanlight.access.files import BadFile
from fanlight.access.keys import KeyRecord, dump_keys, read_keys

_HEADER = (
    "# API keys, as hashes. `fanlight keys` writes this file; servers read it when it changes.\n"
)
# Its owner writes it; servers may run as members of its group.
_MODE = 0o600

Change = Callable[[tuple[KeyRecord, ...]], tuple[KeyRecord, ...]]


def change_keys(path: Path, change: Change) -> tuple[KeyRecord, ...]:
    """Replace the keys of a file, which is made when it is not there.

    Args:
        path: the file.
        change: makes the new keys from the old ones.

    Returns:
        The new keys, which are on disk.

    Raises:
        BadFile: it cannot be read or written; nothing was changed.
    """
    path = path.resolve()  # a link stays one
    try:
        with _alone(path):
            changed = change(read_keys(str(path)) if path.exists() else ())
            _write(path, _HEADER + dump_keys(changed))
            return changed
    except OSError as error:
        raise BadFile(f"{path}: cannot be written: {error.strerror}") from None


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the folder, since the file itself is replaced."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


def _write(path: Path, text: str) -> None:
    """Write a file so that a reader sees all of it or none; its mode and its group stay."""
    before = path.stat() if path.exists() else None
    part = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, _MODE)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            if before is not None:
                os.fchown(file.fileno(), -1, before.st_gid)
                os.fchmod(file.fileno(), before.st_mode & 0o660)
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
