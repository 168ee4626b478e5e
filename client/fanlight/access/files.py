"""Values that are read from files, and read again when these change.

Laws: a reading that fails changes nothing; the last good value stays, and it is tried again. A
value is taken only when its files were the same before and after they were read, and, unless it
is the first, have stayed so since the last look: whoever replaces several files is given the time
to finish. Files are followed through symbolic links, which is how Kubernetes replaces a volume.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Generic, TypeAlias, TypeVar

from fanlight.errors import InvalidRequest

T = TypeVar("T")
_State: TypeAlias = tuple[tuple[int, int, int, int], ...]
# Others than owner and group may not read a secret, nor write what decides who gets in.
_OTHERS = stat.S_IRWXO
# Whoever replaces files is done within one reading or two.
_FIRST_TRIES = 5


class BadFile(InvalidRequest):
    """A file of keys or certificates cannot be used; the message names it, never what it holds."""


def read_file(path: str | Path, *, secret: bool = False) -> bytes:
    """Read a file.

    Args:
        path: the file.
        secret: whether to refuse one that every user of the machine can get at.

    Raises:
        BadFile: it cannot be read, or is open to everybody.
    """
    try:
        with open(path, "rb") as file:
            if secret and os.fstat(file.fileno()).st_mode & _OTHERS:
                raise BadFile(
                    f"{path}: expected a file that is closed to other users (chmod 600 or 640), "
                    f"got mode {stat.S_IMODE(os.fstat(file.fileno()).st_mode):o}"
                )
            return file.read()
    except OSError as error:
        raise BadFile(f"{path}: cannot be read: {error.strerror}") from None


class Reloaded(Generic[T]):
    """A value and the files that it is read from.

    One thread at a time may refresh it; any may read `value`.

    Attributes:
        value: as last read.
        version: grows with every new value.
    """

    def __init__(self, paths: Sequence[str | Path], read: Callable[[], T]) -> None:
        """Read it for the first time, again if the files change meanwhile.

        Raises:
            BadFile: what `read` raises.
        """
        self._paths = tuple(paths)
        self._read = read
        self.value = self._read_first()
        self.version = 1

    def _read_first(self) -> T:
        for _ in range(_FIRST_TRIES):
            self._taken = self._seen = self._state()
            with suppress(BadFile):
                value = self._read()
                if self._state() == self._taken:
                    return value
            if self._state() == self._taken:
                break  # nobody changes them: they are bad
        return self._read()

    @property
    def names(self) -> str:
        """Name the files."""
        return ", ".join(map(str, self._paths))

    def refresh(self, *, settled: bool = True) -> bool:
        """Look at the files, and read them if they have changed and rest.

        Args:
            settled: whether to wait until two looks have seen the same files.

        Returns:
            Whether there is a new value.

        Raises:
            BadFile: they cannot be used; the old value stays, and the next look tries again.
        """
        before = self._state()
        if before == self._taken:
            self._seen = before
            return False
        rests, self._seen = before == self._seen, before
        if settled and not rests:
            return False
        value = self._read()
        if self._state() != before:
            return False
        self._taken, self.value = before, value
        self.version += 1
        return True

    def _state(self) -> _State:
        return tuple(_state_of(path) for path in self._paths)


def _state_of(path: str | Path) -> tuple[int, int, int, int]:
    try:
        found = os.stat(path)
    except OSError:
        return (0, 0, 0, 0)
    return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns)
