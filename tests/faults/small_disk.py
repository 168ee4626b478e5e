"""A disk so small that a test fills it.

A tmpfs where we may mount one, else a quota that the library of `tests.faults.faulty_disk` keeps.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.faults.faulty_disk import Control, environment

MIB = 1 << 20
_BLOCK = bytes(1 << 16)


class SmallDisk(ABC):
    """A folder for data, and what else is on its disk.

    Attributes:
        data: the folder.
        env: the environment of a process that has its data there; None for any.
        kind: what it is, in a word.
    """

    data: Path
    env: Mapping[str, str] | None = None
    kind: str

    @abstractmethod
    def fill(self, leave: int) -> None:
        """Leave so many bytes free, or less."""

    @abstractmethod
    def clear(self) -> None:
        """Make room again."""


class Tmpfs(SmallDisk):
    """A mounted file system of its own; the ballast is a file on it."""

    kind = "tmpfs"

    def __init__(self, mounted: Path) -> None:
        self.data = mounted / "data"
        self.data.mkdir()
        self._ballast = mounted / "ballast"

    def fill(self, leave: int) -> None:
        """See `SmallDisk`."""
        with self._ballast.open("ab") as file:
            while shutil.disk_usage(self._ballast).free > leave:
                file.write(_BLOCK)
                file.flush()

    def clear(self) -> None:
        """See `SmallDisk`."""
        self._ballast.unlink()


class Quota(SmallDisk):
    """Any folder; the library counts what a process writes there and says ENOSPC."""

    kind = "quota"

    def __init__(self, folder: Path, control: Control, path: Path, size: int) -> None:
        self.data = folder / "data"
        self.data.mkdir()
        self.env = environment(self.data, control=path)
        self._control = control
        self._size = size
        control.quota = size

    def fill(self, leave: int) -> None:
        """See `SmallDisk`."""
        self._control.quota = self._control.used + leave

    def clear(self) -> None:
        """See `SmallDisk`."""
        self._control.quota = self._control.used + self._size


def can_mount() -> bool:
    """Tell whether this process may mount a file system."""
    if os.geteuid() != 0 or shutil.which("mount") is None:
        return False
    with tempfile.TemporaryDirectory(prefix="small-disk-") as name:
        try:
            with _mounted(Path(name), MIB):
                return True
        except subprocess.CalledProcessError:
            return False


@contextmanager
def _mounted(folder: Path, size: int) -> Iterator[None]:
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True, capture_output=True)


@contextmanager
def small_disk(size: int, *, mount: bool) -> Iterator[SmallDisk]:
    """Give a disk of `size` bytes: a tmpfs, or without `mount` a quota."""
    with tempfile.TemporaryDirectory(prefix="small-disk-") as name:
        folder = Path(name)
        if mount:
            with _mounted(folder, size):
                yield Tmpfs(folder)
        else:
            path = folder / "control"
            with Control(path) as control:
                yield Quota(folder, control, path, size)
