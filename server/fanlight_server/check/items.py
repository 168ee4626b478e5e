"""Reads all of an items.db: every row, every structure, every mark."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

from fanlight.errors import Corruption
from fanlight.model import CollectionSpec
from fanlight_server.check.report import Finding, Found
from fanlight_server.storage import format2, header, log_check, marks, sets
from fanlight_server.storage.database import Database
from fanlight_server.storage.marks import Expected, Owner, Pin, Tally
from fanlight_server.storage.rows import is_sound
from fanlight_server.storage.stored import SegmentEntry

_COLUMNS = "id, seq, deleted, crc, vector, payload"
# Whether what SQLite says of itself is about what derives from the rows.
_DERIVED = ("items_by_seq", "sqlite_autoindex_items_1")


@dataclass(slots=True)
class Contents:
    """What the rows of an items.db are, as far as they can be read.

    Attributes:
        seqs: by id: the seq of its last change, and whether that is a deletion.
        damaged: ids of rows that fail their checksum.
        last: the seq that nothing written exceeds.
        segments: the list of segments; None when it cannot be read.
    """

    seqs: dict[Any, tuple[int, bool]] = field(default_factory=dict)
    damaged: list[Any] = field(default_factory=list)
    last: int = 0
    segments: list[SegmentEntry] | None = None


@contextmanager
def opened(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a database to be read only, and leave no files behind that were not there."""
    beside = [path.with_name(path.name + end) for end in ("-wal", "-shm")]
    absent = [file for file in beside if not file.exists()]
    try:
        with closing(
            Database(f"{path.absolute().as_uri()}?mode=ro", uri=True, isolation_level=None)
        ) as db:
            yield db
    finally:
        for file in absent:
            file.unlink(missing_ok=True)


class ItemsCheck:
    """Checks one items.db and collects what is wrong with it."""

    def __init__(self, path: Path, spec: CollectionSpec, expected: Expected, found: Found) -> None:
        """Check a database; `found` takes the findings, and `contents` what could be read."""
        self._spec = spec
        self._expected = expected
        self._found = found
        self._file = f"collections/{path.parent.name}/{path.name}"
        self.contents = Contents()
        if not path.exists() or not path.stat().st_size:
            self._report("is missing or empty", "restore")
            return
        try:
            header.check(path)
            log_check.check(path)
        except Corruption as error:
            self._report(error.message, "restore")
            return
        try:
            with opened(path) as db:
                self._all(db)
        except sqlite3.DatabaseError as error:
            self._report(f"is no database that can be read: {error}", "restore")

    def _report(self, problem: str, remedy: str, ids: tuple[Any, ...] = ()) -> None:
        self._found.findings.append(Finding(self._file, problem, remedy, ids))

    def _all(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        self._found.format = version
        if version not in (1, format2.VERSION) or (version == 1 and not self._expected.old):
            self._report(f"is of format version {version}, expected {format2.VERSION}", "restore")
            return
        self._structures(db)
        readable = self._rows(db)
        if version == format2.VERSION and readable:
            self._marks(db)
        elif readable and marks.sums_of_table(db)[:4] != marks.sums_of_index(db):
            self._report("its index on seq contradicts its rows", "rebuild")
        self._segments(db, version)
        self._sets(db)

    def _structures(self, db: sqlite3.Connection) -> None:
        """Let SQLite look at its own structures."""
        try:
            problems = [row[0] for row in db.execute("PRAGMA integrity_check(20)")]
        except sqlite3.DatabaseError as error:
            problems = [str(error)]
        if problems != ["ok"]:
            derived = all(any(name in problem for name in _DERIVED) for problem in problems)
            remedy = "rebuild" if derived else "drop"
            self._report(f"its structure is damaged: {problems[0].strip()}", remedy)

    def _rows(self, db: sqlite3.Connection) -> bool:
        """Compare each row with its checksum; tell whether all could be read."""
        vector_bytes, contents = 4 * self._spec.dim, self.contents
        try:
            for row in db.execute(f"SELECT {_COLUMNS} FROM items NOT INDEXED"):
                if not is_sound(row, vector_bytes) or (row[5] and not _is_object(row[5])):
                    contents.damaged.append(row[0])
                else:
                    contents.seqs[row[0]] = (row[1], bool(row[2]))
        except sqlite3.DatabaseError as error:
            self._report(f"rows cannot be read: {error}", "drop")
            return False
        finally:
            deleted = sum(gone for _, gone in contents.seqs.values())
            self._found.deleted, self._found.items = deleted, len(contents.seqs) - deleted
            contents.last = max((seq for seq, _ in contents.seqs.values()), default=0)
            self._found.last_seq = contents.last
        if contents.damaged:
            ids = tuple(contents.damaged)
            self._report(f"{len(ids)} rows fail their checksum", "drop", ids)
        return True

    def _marks(self, db: sqlite3.Connection) -> None:
        try:
            owner, tally = marks.read(db, Owner), marks.read(db, Tally)
            marks.read(db, Pin)
            marks.check_structure(db)
        except Corruption as error:
            # what is whole can be counted again; what is not has a finding of its own
            self._report(error.message, "rebuild")
            return
        self.contents.last = self._found.last_seq = tally.last_seq
        if owner != self._expected.owner:
            self._report(f"belongs to {owner}", "restore")
        if tally.last_seq < self._expected.last_seq:
            known = self._expected.last_seq
            self._report(f"is an older file: ends at seq {tally.last_seq}, not {known}", "restore")
        self._counts(db, tally)

    def _counts(self, db: sqlite3.Connection, tally: Tally) -> None:
        rows, deleted, seqs, last, crcs = marks.sums_of_table(db)
        if (rows, deleted, seqs, crcs) != astuple(tally)[:4] or last > tally.last_seq:
            ids = _only_in_index(db)
            problem = f"holds {rows} rows where {tally.rows} were written, or others than those"
            self._report(problem, "drop", ids)
        try:
            marks.check_index(tally, marks.sums_of_index(db))
        except Corruption as error:
            self._report(error.message, "rebuild")

    def _sets(self, db: sqlite3.Connection) -> None:
        """Compare each member of a set with its checksum."""
        try:
            damaged = sets.damaged(db)
        except sqlite3.DatabaseError as error:
            self._report(f"members of sets cannot be read: {error}", "drop")
            return
        if damaged:
            self._report(f"{damaged} members of sets fail their checksum", "drop")

    def _segments(self, db: sqlite3.Connection, version: int) -> None:
        rows: list[tuple[str, int, int]] = []
        try:
            rows = db.execute("SELECT name, seq, crc FROM segments ORDER BY name").fetchall()
            sound = version == 1 or marks.read(db, marks.Listing) == marks.listing_of(db)
        except (Corruption, sqlite3.DatabaseError):
            sound = False
        if sound:
            self.contents.segments = [SegmentEntry(*row) for row in rows]
            self._found.segments = len(rows)
        else:
            self._report("the list of segments is damaged", "rebuild")


def _only_in_index(db: sqlite3.Connection) -> tuple[Any, ...]:
    """List the ids that the index on seq has and the table has not."""
    query = """
      SELECT id FROM items INDEXED BY items_by_seq
      EXCEPT SELECT id FROM items NOT INDEXED
    """
    try:
        return tuple(row[0] for row in db.execute(query))
    except sqlite3.DatabaseError:
        return ()


def _is_object(payload: bytes) -> bool:
    try:
        return isinstance(json.loads(payload), dict)
    except ValueError:
        return False
