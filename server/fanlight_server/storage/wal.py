"""Copies SQLite's write-ahead log into its database, and tells when it is time.

SQLite would do that by itself after a commit, but then it hides the errors of the disk
(`sqlite3WalDefaultHook` drops them) and tries again: after a failed fsync nothing may be.
"""

from __future__ import annotations

import os
import sqlite3
import struct
from pathlib import Path

_HEADER_BYTES = 32
# In the header of the log: page size at 8, two salts at 16. In that of a frame: the same salts at 8.
# See https://www.sqlite.org/fileformat2.html#walformat
_HEADER = struct.Struct(">8xI4x8s")
_FRAME_BYTES = 24
_FRAME_SALTS = 8


class Checkpoints:
    """The checkpoints of one database in WAL mode. For one thread."""

    def __init__(self, db: sqlite3.Connection, path: Path, wal_bytes: int) -> None:
        """Take over from SQLite.

        Args:
            db: the connection that writes; others must have `wal_autocheckpoint` at 0 too.
            path: of the database.
            wal_bytes: length of the log past which it is copied.
        """
        db.execute("PRAGMA wal_autocheckpoint = 0")
        self._db = db
        self._gauge = WalGauge(path.with_name(path.name + "-wal"))
        self._wal_bytes = wal_bytes

    def run_if_due(self) -> None:
        """Copy the log if it is long; the next write begins it anew, unless somebody reads in it.

        Raises:
            sqlite3.Error: a write or a sync failed. The log is as it was.
        """
        if self._gauge.used_bytes() >= self._wal_bytes:
            self._db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


class WalGauge:
    """Measures how much of a log is in use. For one thread.

    The frames of the present round come first and carry the salts of the log's header; those after
    them are left from an earlier round. So a few looks find where they end.
    """

    def __init__(self, path: Path) -> None:
        """Take the path of the log, which need not exist yet."""
        self._path = path
        self._salts = b""
        self._frames = 0

    def used_bytes(self) -> int:
        """Tell how many bytes are in use; takes some microseconds.

        SQLite holds no lock on this file, so closing it gives none of them up.
        """
        try:
            handle = os.open(self._path, os.O_RDONLY)
        except FileNotFoundError:
            return 0
        try:
            return self._measured(handle)
        finally:
            os.close(handle)

    def _measured(self, handle: int) -> int:
        head = os.pread(handle, _HEADER.size, 0)
        if len(head) < _HEADER.size:
            return 0
        page_bytes: int
        salts: bytes
        page_bytes, salts = _HEADER.unpack(head)
        stride = _FRAME_BYTES + page_bytes
        if salts != self._salts:
            self._salts, self._frames = salts, 0

        def is_used(frame: int) -> bool:
            at = _HEADER_BYTES + (frame - 1) * stride + _FRAME_SALTS
            return os.pread(handle, len(salts), at) == salts

        step = 1
        while is_used(self._frames + step):
            self._frames += step
            step *= 2
        while step > 1:
            step //= 2
            if is_used(self._frames + step):
                self._frames += step
        return self._frames * stride
