"""What a database says of itself as a whole: few records, each with a checksum.

The checksum of a row cannot tell that a row is gone, nor that a whole file is older than it should
be, or another collection's. Marks tell: they are changed in the transaction that changes what they
speak of. See docs/format.md.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, TypeVar

from isal.isal_zlib import crc32

from fanlight.errors import Corruption
from fanlight.placement import ShardIdentity

M = TypeVar("M")

SCHEMA = """
CREATE TABLE marks (
  name TEXT PRIMARY KEY,
  value TEXT NOT NULL,
  crc INTEGER NOT NULL
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose items.db it is. What is left out is of a store without a catalog.

    Attributes:
        cluster: name of the cluster.
        shard: 0-based place in the list of shards.
        shards: of the cluster.
        collection: its name.
        version: its version.
        uuid: drawn when the collection was made on this shard; its catalog.db knows it.
    """

    cluster: str = ""
    shard: int = 0
    shards: int = 1
    collection: str = ""
    version: int = 0
    uuid: str = ""

    @classmethod
    def of(cls, identity: ShardIdentity, collection: str, version: int, uuid: str) -> Owner:
        """Name the owner on a shard."""
        return cls(identity.cluster, identity.index, identity.count, collection, version, uuid)

    def __str__(self) -> str:
        """Name it, for people."""
        return (
            f"collection {self.collection!r} version {self.version} ({self.uuid[:8] or 'no uuid'}) "
            f"of shard {self.shard} of {self.shards} of cluster {self.cluster!r}"
        )


@dataclass(frozen=True, slots=True)
class Expected:
    """What the catalog knows of an items.db before it is opened.

    Attributes:
        owner: whose it is.
        last_seq: the least that its last seq can be; a lower one is an older file's.
        old: whether it may still be of format version 1, which has no marks.
        generation: of the catalog; a new database is pinned to it.
    """

    owner: Owner = Owner()
    last_seq: int = 0
    old: bool = True
    generation: int = 0


@dataclass(frozen=True, slots=True)
class Tally:
    """A count and an order-independent digest of all rows of `items`.

    Attributes:
        rows: how many, deleted ones included.
        deleted: how many of them are deleted.
        seqs: sum of their seqs.
        crcs: sum of their checksums.
        last_seq: the highest seq ever written.
    """

    rows: int = 0
    deleted: int = 0
    seqs: int = 0
    crcs: int = 0
    last_seq: int = 0

    def with_change(self, old: Sequence[int], new: Sequence[int], last_seq: int) -> Tally:
        """Put rows in the place of others; `old` and `new` are (rows, deleted, seqs, crcs)."""
        sums = (self.rows, self.deleted, self.seqs, self.crcs)
        rows, deleted, seqs, crcs = (
            at + put - gone for at, put, gone in zip(sums, new, old, strict=True)
        )
        return Tally(rows, deleted, seqs, crcs, last_seq)


@dataclass(frozen=True, slots=True)
class Listing:
    """The list of segments: the checksum of its rows."""

    crc: int


@dataclass(frozen=True, slots=True)
class Structure:
    """What SQLite knows of the tables: the checksum of its schema table."""

    crc: int


@dataclass(frozen=True, slots=True)
class Pin:
    """The least generation that the shard's catalog.db can have; an older one was put back."""

    generation: int = 0


@dataclass(frozen=True, slots=True)
class Contents:
    """All of catalog.db.

    Attributes:
        generation: how often it was changed.
        crc: checksum of its rows.
    """

    generation: int
    crc: int


def checksum(value: object) -> int:
    """Compute the CRC-32 of plain values, as JSON.

    What is none (bytes, in the place of a text that was damaged) has another than any that was written.
    """
    return crc32(json.dumps(value, ensure_ascii=True, default=repr).encode())


def write(db: sqlite3.Connection, mark: Any) -> None:
    """Put a mark in the place of the one of its kind; within the caller's transaction."""
    name, value = _name(type(mark)), json.dumps(asdict(mark))
    db.execute("REPLACE INTO marks VALUES (?, ?, ?)", (name, value, checksum([name, value])))


def read(db: sqlite3.Connection, kind: type[M]) -> M:
    """Read a mark.

    Raises:
        Corruption: it is missing or damaged.
    """
    name = _name(kind)
    row = db.execute("SELECT value, crc FROM marks WHERE name = ?", (name,)).fetchone()
    if row is None or checksum([name, row[0]]) != row[1]:
        raise Corruption(f"the mark {name!r} is missing or fails its checksum")
    return kind(**json.loads(row[0]))


def _name(kind: type) -> str:
    return kind.__name__.lower()


# --- what marks are compared with -------------------------------------------------------------

_SUMS = "count(*), coalesce(sum(deleted), 0), coalesce(sum(seq), 0)"
_OF_IDS = f"SELECT {_SUMS}, coalesce(sum(crc), 0) FROM items WHERE id IN ({{marks}}) AND seq < ?"
# By ids asked at once: few texts, so that their statements stay prepared.
_SUMS_OF_IDS = {n: _OF_IDS.format(marks=", ".join("?" * n)) for n in (512, 64, 8, 1)}


def sums_of(db: sqlite3.Connection, ids: Sequence[Any], *, before: int) -> list[int]:
    """Sum up the rows of these ids with a lower seq: rows, deleted, seqs, crcs."""
    total, at = [0, 0, 0, 0], 0
    for size, statement in _SUMS_OF_IDS.items():
        while len(ids) - at >= size:
            row = db.execute(statement, [*ids[at : at + size], before]).fetchone()
            total = [a + b for a, b in zip(total, row, strict=True)]
            at += size
    return total


def sums_of_index(db: sqlite3.Connection) -> tuple[Any, ...]:
    """Sum up the index on seq, which is far smaller than the rows: rows, deleted, seqs, last."""
    query = f"SELECT {_SUMS}, coalesce(max(seq), 0) FROM items INDEXED BY items_by_seq"
    row: tuple[Any, ...] = db.execute(query).fetchone()
    return row


def sums_of_table(db: sqlite3.Connection) -> tuple[Any, ...]:
    """Sum up all rows where they are: rows, deleted, seqs, last, crcs."""
    query = f"SELECT {_SUMS}, coalesce(max(seq), 0), coalesce(sum(crc), 0) FROM items NOT INDEXED"
    row: tuple[Any, ...] = db.execute(query).fetchone()
    return row


def check_index(tally: Tally, sums: Sequence[Any]) -> None:
    """Compare the index on seq with the tally.

    Raises:
        Corruption: entries are gone, or are others than were written.
    """
    rows, deleted, seqs, last = sums
    if (rows, deleted, seqs) != astuple(tally)[:3] or last > tally.last_seq:
        raise Corruption(
            f"the index on seq holds {rows} rows, {deleted} of them deleted, where "
            f"{tally.rows} and {tally.deleted} were written, or others than were written"
        )


def listing_of(db: sqlite3.Connection) -> Listing:
    """Sum up the list of segments."""
    return Listing(checksum(db.execute("SELECT * FROM segments ORDER BY name").fetchall()))


def structure_of(db: sqlite3.Connection) -> Structure:
    """Sum up the schema, and how often it changed: a place in the header."""
    query = "SELECT type, name, tbl_name, rootpage, sql FROM sqlite_schema ORDER BY name"
    changes = db.execute("PRAGMA schema_version").fetchone()
    return Structure(checksum([changes, db.execute(query).fetchall()]))


def check_structure(db: sqlite3.Connection) -> None:
    """Compare the schema with its mark.

    Raises:
        Corruption: it is another than it was.
    """
    if read(db, Structure) != structure_of(db):
        raise Corruption("its schema is another than it was made with")
