"""The seam to the file system: every file operation of the shard's own code goes through it.

SQLite works on its files by itself; what goes wrong there reaches `disk` as SQLite's error codes.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

Chunk: TypeAlias = bytes | memoryview


@dataclass(frozen=True, slots=True)
class Space:
    """Room on a file system.

    Attributes:
        free: bytes that this process may still write.
        total: bytes that it has.
    """

    free: int
    total: int


class FileSystem(Protocol):
    """What the shard does with files. Safe for many threads; every method raises OSError."""

    def write(self, path: Path, chunks: Iterable[Chunk]) -> None:
        """Make a file of chunks, and make its content durable (not yet its name)."""
        ...

    def rename(self, source: Path, target: Path) -> None:
        """Give a file another name, in the place of a file that has it."""
        ...

    def unlink(self, path: Path) -> None:
        """Take a file's name away; no error if there is none."""
        ...

    def remove_tree(self, path: Path) -> None:
        """Remove a directory and what is in it; no error if there is none."""
        ...

    def make_directory(self, path: Path) -> None:
        """Make one directory; no error if it is there."""
        ...

    def sync_directory(self, path: Path) -> None:
        """Make the names in a directory durable."""
        ...

    def space(self, path: Path) -> Space:
        """Tell how much room there is where `path` is."""
        ...


class LocalFiles:
    """The operating system's own files."""

    def write(self, path: Path, chunks: Iterable[Chunk]) -> None:
        """Write and fsync; see `FileSystem`."""
        with path.open("wb") as file:
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())

    def rename(self, source: Path, target: Path) -> None:
        """See `FileSystem`."""
        source.rename(target)

    def unlink(self, path: Path) -> None:
        """See `FileSystem`."""
        path.unlink(missing_ok=True)

    def remove_tree(self, path: Path) -> None:
        """See `FileSystem`."""
        if path.exists():
            shutil.rmtree(path)

    def make_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        path.mkdir(exist_ok=True)

    def sync_directory(self, path: Path) -> None:
        """See `FileSystem`."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    def space(self, path: Path) -> Space:
        """See `FileSystem`; a share that is kept for root counts as used."""
        found = os.statvfs(path)
        return Space(found.f_bavail * found.f_frsize, found.f_blocks * found.f_frsize)


LOCAL_FILES = LocalFiles()
