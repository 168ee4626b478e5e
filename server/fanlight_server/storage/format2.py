"""Format version 2 of items.db: how it is made, made of version 1, and compared with its marks."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

from fanlight.errors import Corruption
from fanlight.model import IdType
from fanlight_server.storage import marks
from fanlight_server.storage.marks import Expected, Owner, Pin, Tally

VERSION = 2
_PAGE_BYTES = 16_384

_SCHEMA = """
CREATE TABLE items (
  id {id_type} PRIMARY KEY,
  seq INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  crc INTEGER NOT NULL,
  vector BLOB,
  payload BLOB
);
CREATE UNIQUE INDEX items_by_seq ON items (seq, deleted);
CREATE TABLE segments (name TEXT PRIMARY KEY, seq INTEGER NOT NULL, crc INTEGER NOT NULL);
"""


def prepare_file(db: sqlite3.Connection) -> None:
    """Set what a database that is still empty keeps, and how a connection writes."""
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")


def create(db: sqlite3.Connection, id_type: IdType, expected: Expected) -> None:
    """Make the tables of an empty database, in one transaction."""
    kind = "TEXT" if id_type is IdType.STRING else "INTEGER"
    with _transaction(db):
        _run(db, _SCHEMA.format(id_type=kind) + marks.SCHEMA)
        _finish(db, expected, Tally())


def migrate(db: sqlite3.Connection, expected: Expected) -> None:
    """Add marks to a database of format version 1, in one transaction.

    Raises:
        Corruption: its rows and its index contradict each other; nothing was changed.
    """
    with _transaction(db):
        _run(db, marks.SCHEMA)
        rows, deleted, seqs, last, crcs = marks.sums_of_table(db)
        tally = Tally(rows, deleted, seqs, crcs, last)
        marks.check_index(tally, marks.sums_of_index(db))
        _finish(db, expected, tally)


def _finish(db: sqlite3.Connection, expected: Expected, tally: Tally) -> None:
    db.execute(f"PRAGMA user_version = {VERSION}")
    for mark in (expected.owner, tally, marks.listing_of(db), marks.structure_of(db)):
        marks.write(db, mark)
    marks.write(db, Pin(expected.generation))


def checked(db: sqlite3.Connection, expected: Expected) -> Tally:
    """Compare the database with its marks and with what the catalog knows of it.

    Its rows are not read: each is compared with its own checksum when it is.

    Returns:
        The tally of its rows.

    Raises:
        Corruption: it is of another format version, damaged, older, or another collection's.
    """
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version != VERSION:
        older = ", and its catalog knew it at version 2: an older file" if version == 1 else ""
        raise Corruption(f"format version {version}, expected {VERSION} or 1{older}")
    marks.check_structure(db)
    owner, tally = marks.read(db, Owner), marks.read(db, Tally)
    if owner != expected.owner:
        raise Corruption(f"belongs to {owner}, expected that of {expected.owner}")
    if tally.last_seq < expected.last_seq:
        raise Corruption(
            f"ends at seq {tally.last_seq}, its catalog knew it at {expected.last_seq}: an older file"
        )
    marks.check_index(tally, marks.sums_of_index(db))
    return tally


@contextmanager
def _transaction(db: sqlite3.Connection) -> Iterator[None]:
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _run(db: sqlite3.Connection, script: str) -> None:
    """Run statements within the transaction (`executescript` would commit it)."""
    for statement in filter(str.strip, script.split(";")):
        db.execute(statement)
