"""Makes anew what derives from the rows of a store.

Laws: a row that is sound is never touched. A new items.db is whole and synced before it takes the
place of the old one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from fanlight.model import CollectionSpec
from fanlight_server.check.items import Contents, opened
from fanlight_server.storage import format2, marks, sets
from fanlight_server.storage.database import Database
from fanlight_server.storage.files import sync_directory
from fanlight_server.storage.marks import Expected, Tally
from fanlight_server.storage.rows import Row, is_sound

_COLUMNS = "id, seq, deleted, crc, vector, payload"
_READ_ROWS = 1_000


def rewrite(directory: Path, spec: CollectionSpec, expected: Expected, contents: Contents) -> None:
    """Copy all sound rows into a new items.db; the index, the marks and the list come anew.

    Its segments are listed no more if there is a row that it lost: one of them may hold it.
    """
    path, new = directory / "items.db", directory / "items.db.new"
    new.unlink(missing_ok=True)
    with opened(path) as source, closing(sqlite3.connect(new, isolation_level=None)) as target:
        format2.prepare_file(target)
        format2.create(target, spec.id_type, expected)
        target.execute("BEGIN IMMEDIATE")
        for row in _readable(source, 4 * spec.dim):
            target.execute("INSERT OR IGNORE INTO items VALUES (?, ?, ?, ?, ?, ?)", row)
        rows, deleted, seqs, last, crcs = marks.sums_of_table(target)
        last = max(last, contents.last, expected.last_seq)
        marks.write(target, Tally(rows, deleted, seqs, crcs, last))
        kept = rows == len(contents.seqs) and not contents.damaged
        if contents.segments and kept:
            entries = [(entry.name, entry.seq, entry.crc) for entry in contents.segments]
            target.executemany("INSERT INTO segments VALUES (?, ?, ?)", entries)
            marks.write(target, marks.listing_of(target))
        sets.copy(source, target, spec.id_type)
        target.execute("COMMIT")
        target.execute("PRAGMA journal_mode = DELETE")
    new.replace(path)
    for end in ("-wal", "-shm"):
        path.with_name(path.name + end).unlink(missing_ok=True)
    sync_directory(directory)
    if not kept:
        for segment in (directory / "segments").iterdir():
            segment.unlink()


def _readable(db: sqlite3.Connection, vector_bytes: int) -> Iterator[Row]:
    """Read all sound rows that can be reached: from the start, from the end, and by the index.

    A row may come more than once.
    """
    for order in ("ASC", "DESC"):
        rows = db.execute(f"SELECT {_COLUMNS} FROM items NOT INDEXED ORDER BY rowid {order}")
        try:
            for row in rows:
                if is_sound(row, vector_bytes):
                    yield row
            return
        except sqlite3.DatabaseError:
            continue
    yield from _by_index(db, vector_bytes)


def _by_index(db: sqlite3.Connection, vector_bytes: int) -> Iterator[Row]:
    try:
        ids = db.execute("SELECT id FROM items INDEXED BY items_by_seq").fetchall()
    except sqlite3.DatabaseError:
        return
    for key in ids:
        try:
            row = db.execute(f"SELECT {_COLUMNS} FROM items WHERE id = ?", key).fetchone()
        except sqlite3.DatabaseError:
            continue
        if row is not None and is_sound(row, vector_bytes):
            yield row


def drop_segments(path: Path, names: list[str]) -> None:
    """Take segments off the list, so that a start rebuilds them from the rows.

    The others promised something about the whole list, so they promise nothing now.
    """
    with closing(Database(path, isolation_level=None)) as db, db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("BEGIN IMMEDIATE")
        db.executemany("DELETE FROM segments WHERE name = ?", [(name,) for name in names])
        db.execute("UPDATE segments SET seq = 0")
        if db.execute("PRAGMA user_version").fetchone()[0] == format2.VERSION:
            marks.write(db, marks.listing_of(db))
    for name in names:
        (path.parent / "segments" / name).unlink(missing_ok=True)
