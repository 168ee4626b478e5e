"""Whether this shard's disk takes writes: sound, full, or failed.

Laws: after a write, a sync or a rename has failed with an I/O error, nothing is written any more
until the process ends. Linux marks the pages of a failed fsync clean, so that a second one would
report success for data that is lost; only a restart reads what is really there. A full disk is no
failure: writes are refused with the figures, and taken again when there is room. Searches do not
ask here.
"""

from __future__ import annotations

import errno
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from fanlight.errors import Corruption, FanlightError, NotReady, Overloaded
from fanlight_server.storage.filesystem import LOCAL_FILES, FileSystem, Space
from fanlight_server.storage.settings import StorageConfig

_log = logging.getLogger(__name__)

# Between two looks at the free space while there is enough. A look takes 2 us, and
# `free_bytes_min` covers what may come in between.
_LOOK_S = 0.1
_RETRY_AFTER_S = 10.0
_FULL = {errno.ENOSPC, errno.EDQUOT}
# What a disk, its driver or its file system says when it does not work. Linux makes one read-only
# (EROFS) when it fails. What else a call may say (no such file, too many open) is not the disk's.
_FAILED = {
    errno.EIO,
    errno.EROFS,
    errno.ENXIO,
    errno.ENODEV,
    errno.EREMOTEIO,
    errno.ESTALE,
    errno.EUCLEAN,
}
# SQLite's primary codes for the same.
_SQLITE_FAILURES = {sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY}
_SQLITE_NO_MEMORY = sqlite3.SQLITE_IOERR_NOMEM
# The one I/O error of SQLite's that a full disk brings about: it cannot make a page of its shared
# memory. It was that when less than this is free.
_SQLITE_NO_PAGE = sqlite3.SQLITE_IOERR_SHMSIZE
_PAGE_BYTES = 1 << 16


class Disk:
    """The state of the disk that one data directory is on. Safe for many threads.

    Attributes:
        files: the file system that everything stands on.
        config: see `StorageConfig`.
    """

    def __init__(
        self,
        directory: Path,
        config: StorageConfig = StorageConfig(),
        files: FileSystem = LOCAL_FILES,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """Take the disk of a directory, which must be there when the first write comes."""
        # constant after construction
        self.files = files
        self.config = config
        self._directory = directory
        self._now = now
        # guarded by _lock; read without it
        self._lock = threading.Lock()
        self._failed_kind: str | None = None
        self._shortage: Space | None = None
        self._look_at = now()
        self._on_failure: list[Callable[[], object]] = []

    # --- asking -------------------------------------------------------------------------------

    @property
    def refusal(self) -> FanlightError | None:
        """Tell why writes are refused (NotReady, Overloaded); None when they are taken."""
        if self._failed_kind is None and (self._shortage or self._now() >= self._look_at):
            self._look()
        if self._failed_kind is not None:
            return _failure(self._failed_kind)
        shortage = self._shortage
        return None if shortage is None else self._short_of(shortage)

    def check_writable(self) -> None:
        """Refuse a write that the disk cannot take now.

        Raises:
            NotReady: the disk has failed.
            Overloaded: it is full; tells how much is free and how much has to be.
        """
        refusal = self.refusal
        if refusal is not None:
            raise refusal

    def room(self) -> int:
        """Tell how many bytes are free now."""
        return self.files.space(self._directory).free

    def no_room(self, kind: str, wanted: int) -> Overloaded:
        """Make the error for something that does not fit, though single writes would."""
        space = self.files.space(self._directory)
        return Overloaded(
            f"the shard's disk is full: {space.free} bytes of {space.total} are free, the next {kind} "
            f"needs {wanted}",
            field="disk",
            expected=f"{wanted} bytes free",
            got=str(space.free),
            retry_after_s=_RETRY_AFTER_S,
        )

    def on_failure(self, call: Callable[[], object]) -> None:
        """Have `call` called once when the disk fails, from any thread; at once if it has."""
        with self._lock:
            if self._failed_kind is None:
                self._on_failure.append(call)
                return
        call()

    # --- writing ------------------------------------------------------------------------------

    @contextmanager
    def writing(self, kind: str, name: str) -> Iterator[None]:
        """Write with files or SQLite, and note what their errors say of the disk.

        Args:
            kind: what is written, for people: "items", "segment", "catalog".
            name: of the database, for the message about a damaged one.

        Raises:
            NotReady: the disk fails, or has failed before; then nothing is begun.
            Overloaded: it is full.
            Corruption: the database is damaged.
        """
        if self._failed_kind is not None:
            raise _failure(self._failed_kind)
        try:
            yield
        except sqlite3.Error as error:
            raise self._judged(kind, name, error) from error
        except OSError as error:
            if error.errno in _FULL:
                raise self._filled(error) from error
            if error.errno in _FAILED:
                raise self._failed(kind, error) from error
            raise

    def _judged(self, kind: str, name: str, error: sqlite3.Error) -> FanlightError:
        code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
        no_page = code == _SQLITE_NO_PAGE and self.files.space(self._directory).free < _PAGE_BYTES
        if code == sqlite3.SQLITE_FULL or no_page:
            return self._filled(error)
        if code & 0xFF in _SQLITE_FAILURES and code != _SQLITE_NO_MEMORY:
            return self._failed(kind, error)
        return Corruption(f"{name}: the database cannot be read or written")

    def _failed(self, kind: str, error: Exception) -> NotReady:
        """Take no writes from now on; the first failure is the one that callers are told."""
        with self._lock:
            first = self._failed_kind is None
            self._failed_kind = self._failed_kind or kind
            calls, self._on_failure = self._on_failure, []
        if first:
            what = "the disk failed at writing the %s: no writes until a restart, searches go on"
            _log.error(what, kind, exc_info=error)
        for call in calls:
            call()
        return _failure(self._failed_kind)

    # --- room ---------------------------------------------------------------------------------

    def _filled(self, error: Exception) -> Overloaded:
        """Take no writes until a look finds room."""
        space = self.files.space(self._directory)
        with self._lock:
            if self._shortage is None:
                _log.warning("the disk is full, writes are refused until there is room: %s", error)
            self._shortage = space
        return self._short_of(space)

    def _look(self) -> None:
        """Compare what is free with what has to be."""
        try:
            space = self.files.space(self._directory)
        except OSError as error:
            if error.errno in _FAILED:
                self._failed("directory", error)
            return
        with self._lock:
            self._look_at = self._now() + _LOOK_S
            before = self._shortage
            needed = self._needed(space) if before is None else self._needed_again(space)
            self._shortage = space if space.free < needed else None
        if before is None and self._shortage is not None:
            _log.warning("writes are refused: %s", self._short_of(space).message)
        if before is not None and self._shortage is None:
            _log.info("the disk has room: writes are taken again")

    def _needed(self, space: Space) -> int:
        return max(self.config.free_bytes_min, int(self.config.free_share_min * space.total))

    def _needed_again(self, space: Space) -> int:
        return int(self._needed(space) * (1 + self.config.free_margin))

    def _short_of(self, space: Space) -> Overloaded:
        needed = self._needed(space)
        return Overloaded(
            f"the shard's disk is full: {space.free} bytes of {space.total} are free, writes need "
            f"{needed} (storage.free_bytes_min, storage.free_share_min) and are taken again from "
            f"{self._needed_again(space)}",
            field="disk",
            expected=f"{needed} bytes free",
            got=str(space.free),
            retry_after_s=_RETRY_AFTER_S,
        )


def _failure(kind: str) -> NotReady:
    return NotReady(
        f"the shard's disk failed at writing its {kind}: it answers searches, and takes no writes "
        "until it is restarted on a sound disk",
        field="disk",
    )
