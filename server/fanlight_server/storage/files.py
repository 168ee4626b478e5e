"""Durable publication of files, and the lock of a data directory."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from fanlight.errors import FanlightError
from fanlight_server.storage.filesystem import LOCAL_FILES, Chunk, FileSystem


class DirectoryInUse(FanlightError):
    """Another process owns the data directory."""


def sync_directory(path: Path, files: FileSystem = LOCAL_FILES) -> None:
    """Make the entries of a directory durable."""
    files.sync_directory(path)


def make_directory(path: Path, files: FileSystem = LOCAL_FILES) -> None:
    """Create a directory and its parents, durably."""
    missing = [p for p in (path, *path.parents) if not p.exists()]
    for absent in reversed(missing):
        files.make_directory(absent)
        files.sync_directory(absent.parent)


def publish(path: Path, chunks: Iterable[Chunk], files: FileSystem = LOCAL_FILES) -> None:
    """Write a file so that it is there whole or not at all, even after a loss of power.

    Temporary file, fsync, rename, fsync of the directory: the protocol that LevelDB uses.
    """
    temporary = path.with_name(path.name + ".tmp")
    try:
        files.write(temporary, chunks)
        files.rename(temporary, path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell; a start removes the file
            files.unlink(temporary)
        raise
    files.sync_directory(path.parent)


class DirectoryLock:
    """Exclusive ownership of a data directory; released when the process ends, however."""

    def __init__(self, directory: Path) -> None:
        """Take the lock.

        Raises:
            DirectoryInUse: names the directory and the owner's pid.
        """
        path = directory / "LOCK"
        self._file = path.open("a+")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._file.seek(0)
            owner = self._file.read().strip() or "unknown"
            self._file.close()
            raise DirectoryInUse(f"data: {directory} is in use by process {owner}") from None
        self._file.truncate(0)
        self._file.write(f"{os.getpid()}\n")
        self._file.flush()

    def release(self) -> None:
        """Give the directory up."""
        self._file.close()
