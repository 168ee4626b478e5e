"""The items of one collection on one shard, in SQLite: the truth that all else derives from.

Laws: a change is durable when `write` returns. Every row read is compared with its checksum.
Sequence numbers only grow. See docs/format.md. No thread but the collection's writer calls
`write`; everything else may be called from any thread.
"""

from __future__ import annotations

import queue
import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np

from fanlight.errors import Corruption, NotReady, Overloaded
from fanlight.ids import empty
from fanlight.model import Floats, IdColumn, IdType, Rows
from fanlight_server.storage import format2, header, log_check, marks, sets
from fanlight_server.storage.database import Database
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.export import StoreExport
from fanlight_server.storage.marks import Expected, Pin, Tally
from fanlight_server.storage.rows import Row, crc_of, is_sound
from fanlight_server.storage.sets import SetChange
from fanlight_server.storage.stored import Change, Log, Reach, SegmentEntry, StoredItem
from fanlight_server.storage.wal import Checkpoints

FORMAT_VERSION = format2.VERSION
# SQLite's default limit of host parameters in one statement is 32,766 since 3.32.
_PARAMETERS_MAX = 10_000

_INSERT = """
INSERT INTO items (id, seq, deleted, crc, vector, payload) VALUES {rows}
ON CONFLICT (id) DO NOTHING
"""
_PUT = """
INSERT INTO items (id, seq, deleted, crc, vector, payload) VALUES {rows}
ON CONFLICT (id) DO UPDATE SET seq = excluded.seq, deleted = excluded.deleted,
  crc = excluded.crc, vector = excluded.vector, payload = excluded.payload
"""
# By rows written at once. The interpreter is given up and taken again for each statement: with one
# for each row, a thousand rows held up searches beside them a thousand times.
_PLACES = {n: ", ".join(["(?, ?, ?, ?, ?, ?)"] * n) for n in (128, 16, 1)}
_INSERTS = {n: _INSERT.format(rows=places) for n, places in _PLACES.items()}
_PUTS = {n: _PUT.format(rows=places) for n, places in _PLACES.items()}
_COLUMNS = "id, seq, deleted, crc, vector, payload"

WrittenRow = tuple[Any, int, int, int, memoryview | None, bytes | None]


class Store:
    """One items.db."""

    def __init__(
        self,
        path: Path,
        dim: int,
        id_type: IdType,
        disk: Disk | None = None,
        *,
        create: bool,
        expected: Expected = Expected(),
    ) -> None:
        """Open the database, or create it.

        Args:
            path: of its file.
            dim: elements of a vector.
            id_type: type of the ids.
            disk: what it is on; None for one that nobody else asks.
            create: whether it may be new.
            expected: what its catalog knows of it.

        Raises:
            Corruption: it is no database of this format or not the one expected, rows of it are
                gone, or it is not there.
            Overloaded, NotReady: it is to be created or moved to this format, and the disk is
                full or fails.
        """
        # constant after construction
        self._disk = disk or Disk(path.parent)
        self._path = path
        self._name = f"{path.parent.name}/{path.name}"
        self._vector_bytes = 4 * dim
        self._id_type = id_type
        self._expected = expected
        # own synchronisation
        self._idle_readers: queue.LifoQueue[sqlite3.Connection] = queue.LifoQueue()
        self._closed = threading.Event()
        if not create and not path.exists():
            raise Corruption(f"{self._name}: the file is missing")
        with named(self._name):
            header.check(path)
            log_check.check(path)
        # the move to this format writes as well
        with self._writing() if create or expected.old else sqlite_errors(self._name):
            # used by the writer thread alone
            self._all_new = True
            self._writer = self._connect()
            try:
                self._prepare(create)
                wal_bytes = self._disk.config.wal_bytes
                self._checkpoints = Checkpoints(self._writer, path, wal_bytes)
            except BaseException:
                self._writer.close()
                raise

    def _writing(self) -> AbstractContextManager[None]:
        return self._disk.writing("items", self._name)

    def _connect(self) -> sqlite3.Connection:
        return Database(self._path, isolation_level=None, check_same_thread=False, timeout=60.0)

    def _prepare(self, create: bool) -> None:
        db = self._writer
        format2.prepare_file(db)
        version = db.execute("PRAGMA user_version").fetchone()[0]
        with named(self._name):
            if version == 0 and create:
                format2.create(db, self._id_type, self._expected)
            elif version == 1 and self._expected.old:
                format2.migrate(db, self._expected)
            self._tally = format2.checked(db, self._expected)

    @contextmanager
    def _reader(self) -> Iterator[sqlite3.Connection]:
        if self._closed.is_set():
            raise _closing()
        try:
            with sqlite_errors(self._name):
                connection = self._idle_reader()
                try:
                    yield connection
                except BaseException:
                    connection.close()
                    raise
        except Corruption:
            if self._closed.is_set():  # the files may be gone: a deleted collection's are
                raise _closing() from None
            raise
        if self._closed.is_set():
            connection.close()
        else:
            self._idle_readers.put(connection)

    def _idle_reader(self) -> sqlite3.Connection:
        try:
            return self._idle_readers.get_nowait()
        except queue.Empty:
            connection = self._connect()
            connection.execute("PRAGMA query_only = 1")
            return connection

    # --- writing ------------------------------------------------------------------------------

    def write(self, changes: Iterable[Change | SetChange]) -> None:
        """Apply changes in one transaction; they are durable when this returns.

        Raises:
            Overloaded: the disk is full; nothing was changed.
            NotReady: the disk has failed. If that was just now, the changes may be there after
                the next start.
            Corruption: the database is damaged; nothing was changed.
        """
        self._disk.check_writable()
        with self._writing():
            self._checkpoints.run_if_due()
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                tally = self._tally
                for change in changes:
                    if isinstance(change, SetChange):
                        sets.apply(self._writer, change, self._id_type)
                    else:
                        tally = self._put(change, tally)
                marks.write(self._writer, tally)
                self._writer.execute("COMMIT")
                self._tally = tally
            except BaseException:
                if self._writer.in_transaction:
                    self._writer.execute("ROLLBACK")
                raise

    def _put(self, change: Change, tally: Tally) -> Tally:
        """Put the rows of a change in the place of those with its ids.

        The tally wants the sums of what is replaced. Asking for them cost 5 to 10 % of the rate of
        new items, so after a change of new items alone the next one is taken to be another.
        """
        rows = list(_rows(change))
        if not rows:
            return tally
        first, last = rows[0][1], rows[-1][1]
        at = self._insert(rows) if self._all_new else 0
        old = marks.sums_of(self._writer, [row[0] for row in rows[at:]], before=first)
        for statement, values in _statements(rows[at:], _PUTS):
            self._writer.execute(statement, values)
        self._all_new = old[0] == 0
        seqs, deleted = sum(row[1] for row in rows), sum(row[2] for row in rows)
        new = (len(rows), deleted, seqs, sum(row[3] for row in rows))
        return tally.with_change(old, new, last)

    def _insert(self, rows: list[WrittenRow]) -> int:
        """Put rows as long as their ids are new; tell how many certainly are in."""
        at = 0
        for statement, values in _statements(rows, _INSERTS):
            n = len(values) // len(rows[0])
            if self._writer.execute(statement, values).rowcount < n:
                break
            at += n
        return at

    def last_seq(self) -> int:
        """Tell the highest seq written, 0 for none."""
        return self._tally.last_seq

    @property
    def pin(self) -> int:
        """Tell the least generation that the catalog of this collection can have."""
        with self._reader() as db:
            return marks.read(db, Pin).generation

    def set_pin(self, generation: int) -> None:
        """Remember a generation of the catalog, durably."""
        with self._writing(), closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("BEGIN IMMEDIATE")
            marks.write(connection, Pin(generation))
            connection.execute("COMMIT")

    # --- reading ------------------------------------------------------------------------------

    def get(
        self, ids: IdColumn, bytes_max: int | None = None, *, with_vectors: bool = True
    ) -> list[StoredItem]:
        """Read the live items among the ids, in no order.

        Args:
            ids: of the items.
            bytes_max: of their vectors and payloads together; None for any number.
            with_vectors: whether to keep the vectors, which are checked anyway.

        Raises:
            Corruption: a row fails its checksum.
            Overloaded: their vectors and payloads have more than `bytes_max` bytes.
        """
        values = ids.tolist()
        reach = Reach(bytes_max, with_vectors)
        found: list[StoredItem] = []
        with self._reader() as db:
            for start in range(0, len(values), _PARAMETERS_MAX):
                part = values[start : start + _PARAMETERS_MAX]
                marks = ",".join("?" * len(part))
                query = f"SELECT {_COLUMNS} FROM items WHERE id IN ({marks})"
                found += reach.within(self._live(db.execute(query, part)))
        return found

    def seqs_of(self, ids: IdColumn) -> dict[Any, int]:
        """Tell the seq of the last change of each id, deletions included.

        Raises:
            Corruption: a row fails its checksum.
        """
        values = ids.tolist()
        seqs: dict[Any, int] = {}
        with self._reader() as db:
            for start in range(0, len(values), _PARAMETERS_MAX):
                part = values[start : start + _PARAMETERS_MAX]
                marked = ",".join("?" * len(part))
                query = f"SELECT {_COLUMNS} FROM items WHERE id IN ({marked})"
                seqs |= {row[0]: row[1] for row in self._sound(db.execute(query, part))}
        return seqs

    def page(
        self, after: Any, n: int, bytes_max: int | None = None, *, with_vectors: bool = True
    ) -> list[StoredItem]:
        """Read up to n live items with ids greater than `after` (None: from the start), by id.

        See `get` for the other arguments.

        Raises:
            Corruption, Overloaded: as for `get`.
        """
        condition, parameters = ("", []) if after is None else ("WHERE id > ?", [after])
        query = f"SELECT {_COLUMNS} FROM items {condition} ORDER BY id"
        with self._reader() as db, closing(db.execute(query, parameters)) as rows:
            return list(Reach(bytes_max, with_vectors).within(islice(self._live(rows), n)))

    def export(self, after: Any = None) -> StoreExport:
        """Begin to read all live items as they are now; the caller closes it.

        Args:
            after: leave out the ids up to this one; None for all.
        """
        if self._closed.is_set():
            raise _closing()
        with sqlite_errors(self._name):
            db = self._connect()
            try:
                db.execute("PRAGMA query_only = 1")
                return StoreExport(db, _COLUMNS, self._exported, after)
            except BaseException:
                db.close()
                raise

    def _exported(self, rows: Iterable[Row]) -> Iterator[StoredItem]:
        with sqlite_errors(self._name):
            for item in self._live(rows):
                if self._closed.is_set():
                    raise _closing()
                yield item

    def log_after(self, seq: int) -> Log:
        """Read the last change of each id that changed after `seq`.

        It is read from the index on seq alone, which has no checksum: what it says is compared
        with rows only where their vectors are read.
        """
        query = "SELECT id, seq, deleted FROM items WHERE seq > ? ORDER BY seq"
        with self._reader() as db:
            rows = db.execute(query, (seq,)).fetchall()
        ids = empty(self._id_type, len(rows))
        try:
            ids[:] = [row[0] for row in rows]
            seqs = np.fromiter((row[1] for row in rows), np.int64, len(rows))
            deleted = np.fromiter((row[2] for row in rows), np.int8, len(rows))
        except (TypeError, ValueError, OverflowError) as error:
            raise Corruption(f"{self._name}: the index on seq is damaged") from error
        return Log(ids, seqs, deleted.astype(np.bool_))

    def _live(self, rows: Iterable[Row]) -> Iterator[StoredItem]:
        """Check rows, and drop the deleted ones: whether a row is one is checked as well."""
        for id_, seq, deleted, _, vector, payload in self._sound(rows):
            if not deleted:
                yield StoredItem(id_, seq, vector or b"", payload or b"")

    def _sound(self, rows: Iterable[Row]) -> Iterator[Row]:
        for row in rows:
            if not is_sound(row, self._vector_bytes):
                raise Corruption(f"{self._name}: item {row[0]!r} fails its checksum")
            yield row

    def members(self, name: str) -> tuple[IdColumn, Rows]:
        """Read a set; see `fanlight_server.storage.sets.read`."""
        with self._reader() as db:
            return sets.read(db, name, self._id_type)

    # --- segments -----------------------------------------------------------------------------

    def segments(self) -> list[SegmentEntry]:
        """List the segment files that are part of the collection, by name."""
        query = "SELECT name, seq, crc FROM segments ORDER BY name"
        with self._reader() as db:
            db.execute("BEGIN")
            whole = marks.read(db, marks.Listing) == marks.listing_of(db)
            entries = [SegmentEntry(*row) for row in db.execute(query)]
            db.execute("COMMIT")
        if not whole:
            raise Corruption(f"{self._name}: the list of segments fails its checksum")
        return entries

    def replace_segments(self, removed: Iterable[str], added: Iterable[SegmentEntry]) -> None:
        """Change the list of segment files, durably and at once.

        Raises:
            Overloaded, NotReady, Corruption: as for `write`.
        """
        with self._writing(), closing(self._connect()) as connection:
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany(
                "DELETE FROM segments WHERE name = ?", [(name,) for name in removed]
            )
            connection.executemany(
                "INSERT INTO segments VALUES (?, ?, ?)",
                [(entry.name, entry.seq, entry.crc) for entry in added],
            )
            marks.write(connection, marks.listing_of(connection))
            connection.execute("COMMIT")

    def close(self) -> None:
        """Close all connections, those of reads under way when they end; no write may be."""
        self._closed.set()
        while not self._idle_readers.empty():
            self._idle_readers.get_nowait().close()
        self._writer.close()


def _closing() -> NotReady:
    return NotReady("the collection is being closed", retry_after_s=0.1)


def _statements(rows: list[WrittenRow], by_size: dict[int, str]) -> Iterator[tuple[str, list[Any]]]:
    """Put rows into few statements, each with its values."""
    at = 0
    for size, statement in by_size.items():
        while len(rows) - at >= size:
            yield statement, list(chain.from_iterable(rows[at : at + size]))
            at += size


def _rows(change: Change) -> Iterator[WrittenRow]:
    n, deleted = len(change.ids), int(change.vectors is None)
    seqs = range(change.first_seq, change.first_seq + n)
    vectors = repeat(None, n) if change.vectors is None else _row_bytes(change.vectors)
    payloads = change.payload_blobs or repeat(b"", n)
    for id_, seq, vector, payload in zip(change.ids.tolist(), seqs, vectors, payloads, strict=True):
        blob = payload or None
        yield id_, seq, deleted, crc_of(id_, seq, deleted, vector, blob), vector, blob


def _row_bytes(vectors: Floats) -> Iterator[memoryview]:
    """Show each row's bytes where they are: (n, dim) float32, C-contiguous, little-endian."""
    size = vectors.shape[1] * vectors.itemsize
    view = vectors.reshape(-1).view(np.uint8).data
    return (view[start : start + size] for start in range(0, len(view), size))


@contextmanager
def named(name: str) -> Iterator[None]:
    """Say of what is found damaged which file it is in."""
    try:
        yield
    except Corruption as error:
        raise Corruption(f"{name}: {error.message}") from error


@contextmanager
def sqlite_errors(name: str) -> Iterator[None]:
    """Translate SQLite's errors about a database; its texts stay in the log, as the cause."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
            raise Overloaded("the shard's disk is full", retry_after_s=10.0) from error
        raise Corruption(f"{name}: the database cannot be read or written") from error
