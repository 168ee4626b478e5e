"""catalog.db: which collections a shard has or had, and whose shard it is.

Laws: every change is one synced transaction, which also changes the checksum of the whole. What is
read is compared with it first. See docs/format.md.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanlight.errors import Corruption, FanlightError
from fanlight.filters import FieldType
from fanlight.model import CollectionSpec, IdType, Metric
from fanlight.placement import ShardIdentity
from fanlight_server.storage import header, log_check, marks
from fanlight_server.storage.database import Database
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import sync_directory
from fanlight_server.storage.filesystem import FileSystem
from fanlight_server.storage.marks import Contents, Expected, Owner
from fanlight_server.storage.store import named, sqlite_errors
from fanlight_server.storage.wal import Checkpoints

FORMAT_VERSION = 2
# In place of the least seq of a collection: its items.db may still be of format version 1.
UNMARKED = -1

_SCHEMA_1 = """
CREATE TABLE identity (cluster TEXT NOT NULL, shard INTEGER NOT NULL, shards INTEGER NOT NULL);
CREATE TABLE collections (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  spec TEXT NOT NULL
);
"""
_TO_2 = f"""
ALTER TABLE collections ADD COLUMN uuid TEXT NOT NULL DEFAULT '';
ALTER TABLE collections ADD COLUMN last_seq INTEGER NOT NULL DEFAULT {UNMARKED};
{marks.SCHEMA}
UPDATE collections SET uuid = lower(hex(randomblob(16)));
PRAGMA user_version = {FORMAT_VERSION};
"""
_COLUMNS = "name, version, deleted, spec, uuid, last_seq"


class WrongData(FanlightError):
    """The data directory belongs to another shard than the one configured."""


@dataclass(frozen=True, slots=True)
class Record:
    """What catalog.db says of a name.

    Attributes:
        spec: the parameters of the collection.
        version: the highest one known.
        deleted: whether that version is a deletion.
        uuid: what the items.db of the collection must bear.
        last_seq: the least that the last seq of its items.db can be, or UNMARKED.
        restoring: whether it may not be read yet.
        fields_version: how often the filterable fields or `ef_search` were changed.
    """

    spec: CollectionSpec
    version: int
    deleted: bool
    uuid: str = ""
    last_seq: int = UNMARKED
    restoring: bool = False
    fields_version: int = 0

    @property
    def directory(self) -> str:
        """Name the directory of its files."""
        return f"{self.spec.name}@{self.version}"


class Records:
    """One catalog.db, open. Safe for many threads."""

    def __init__(self, path: Path, identity: ShardIdentity, disk: Disk) -> None:
        """Open the database, or create it beside a directory without collections.

        Raises:
            WrongData: it is another shard's.
            Corruption: it is damaged, of another format version, or lost.
        """
        # constant after construction
        self.identity = identity
        self._disk = disk
        # guards what follows, and the database
        self._lock = threading.Lock()
        with named(path.name):
            header.check(path)
            log_check.check(path)
        with sqlite_errors(path.name):
            self._db = Database(path, isolation_level=None, check_same_thread=False)
            try:
                with named(path.name):
                    _prepare(self._db, path, identity, disk.files)
                    self._checkpoints = Checkpoints(self._db, path, disk.config.wal_bytes)
                    self.generation, self.all = read(self._db)
            except BaseException:
                self._db.close()
                raise

    def expected(self, record: Record) -> Expected:
        """Tell what the items.db of a collection must be."""
        owner = Owner.of(self.identity, record.spec.name, record.version, record.uuid)
        old, least = record.last_seq == UNMARKED, max(0, record.last_seq)
        return Expected(owner, least, old, self.generation)

    def put(self, record: Record) -> None:
        """Record a collection, durably."""
        with self._lock:
            self._commit({record.spec.name: record})

    def note(self, last_seqs: Mapping[str, int]) -> bool:
        """Remember how far collections have come, durably; tell whether that was news."""
        with self._lock:
            news = {
                name: replace(self.all[name], last_seq=seq)
                for name, seq in last_seqs.items()
                if not self.all[name].deleted and self.all[name].last_seq < seq
            }
            if news:
                self._commit(news)
            return bool(news)

    def _commit(self, changed: Mapping[str, Record]) -> None:
        records = {**self.all, **changed}
        with self._disk.writing("catalog", "catalog.db"), self._db:
            self._checkpoints.run_if_due()
            self._db.execute("BEGIN IMMEDIATE")
            rows = [_row_of(record) for record in changed.values()]
            statement = f"INSERT OR REPLACE INTO collections ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
            self._db.executemany(statement, rows)
            _seal(self._db, self.generation + 1)
        # replaced whole, never changed
        self.all, self.generation = records, self.generation + 1

    def close(self) -> None:
        """Close the database; idempotent."""
        with self._lock:
            self._db.close()


def new_uuid() -> str:
    """Draw the uuid of a new collection."""
    return uuid.uuid4().hex


def read(db: sqlite3.Connection) -> tuple[int, dict[str, Record]]:
    """Read the generation and all records of a database of format version 2.

    Raises:
        Corruption: something of it is damaged.
    """
    problems = db.execute("PRAGMA integrity_check(1)").fetchone()[0]
    if problems != "ok":
        raise Corruption("its structure is damaged")
    marks.check_structure(db)
    contents = marks.read(db, Contents)
    if contents.crc != _crc(db):
        raise Corruption("its rows fail their checksum")
    rows = db.execute(f"SELECT {_COLUMNS} FROM collections").fetchall()
    return contents.generation, {row[0]: _record_of(*row) for row in rows}


def _crc(db: sqlite3.Connection) -> int:
    identity = db.execute("SELECT * FROM identity").fetchall()
    rows = db.execute(f"SELECT {_COLUMNS} FROM collections ORDER BY name").fetchall()
    return marks.checksum([identity, rows])


def _seal(db: sqlite3.Connection, generation: int) -> None:
    """Sum up what the transaction has made of the database."""
    marks.write(db, Contents(generation, _crc(db)))


def _prepare(
    db: sqlite3.Connection, path: Path, identity: ShardIdentity, files: FileSystem
) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > FORMAT_VERSION or version < 0:
        raise Corruption(f"format version {version}, expected {FORMAT_VERSION} or 1")
    if version == 0 and any((path.parent / "collections").iterdir()):
        # A new catalog would declare them waste.
        raise Corruption("missing or empty, but there are collections")
    if version < FORMAT_VERSION:
        with db:
            _upgrade(db, version, identity)
        sync_directory(path.parent, files)
    check_identity(db, identity)


def _upgrade(db: sqlite3.Connection, version: int, identity: ShardIdentity) -> None:
    """Create the tables, or add to those of format version 1, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    if version == 1:
        # what version 1 has no checksum for is judged as well as it can be
        read_1(db)
    script = _TO_2 if version == 1 else _SCHEMA_1 + _TO_2
    for statement in filter(str.strip, script.split(";")):
        db.execute(statement)
    if not db.execute("SELECT count(*) FROM identity").fetchone()[0]:
        ours = (identity.cluster, identity.index, identity.count)
        db.execute("INSERT INTO identity VALUES (?, ?, ?)", ours)
    marks.write(db, marks.structure_of(db))
    _seal(db, 0)


def read_1(db: sqlite3.Connection) -> dict[str, Record]:
    """Read all records of a database of format version 1, which has no checksums.

    Raises:
        Corruption: they cannot be records.
    """
    rows = db.execute("SELECT name, version, deleted, spec FROM collections").fetchall()
    return {row[0]: _record_of(*row) for row in rows}


def check_identity(db: sqlite3.Connection, identity: ShardIdentity) -> None:
    """Compare whose shard it is.

    Raises:
        WrongData: it is another's.
    """
    ours = (identity.cluster, identity.index, identity.count)
    stored = db.execute("SELECT cluster, shard, shards FROM identity").fetchone()
    if stored != ours:
        if stored is None:
            raise Corruption("it does not say whose it is")
        raise WrongData(
            f"data: the directory holds shard {stored[1]} of {stored[2]} of cluster "
            f"{stored[0]!r}, configured is shard {ours[1]} of {ours[2]} of cluster {ours[0]!r}"
        )


def _row_of(record: Record) -> tuple[object, ...]:
    spec = record.spec
    parameters: dict[str, Any] = {
        "dim": spec.dim,
        "metric": spec.metric.value,
        "id_type": spec.id_type.value,
        "m": spec.m,
        "ef_construction": spec.ef_construction,
        "filterable": dict(spec.filterable),
    }
    if record.restoring:
        parameters["restoring"] = True
    if spec.ef_search is not None:
        parameters["ef_search"] = spec.ef_search
    if record.fields_version:
        parameters["fields_version"] = record.fields_version
    deleted, text = int(record.deleted), json.dumps(parameters)
    return spec.name, record.version, deleted, text, record.uuid, record.last_seq


def _record_of(
    name: str, version: int, deleted: int, text: str, uuid: str = "", last_seq: int = UNMARKED
) -> Record:
    try:
        stored: dict[str, Any] = json.loads(text)
        return Record(
            _spec_of(name, stored),
            version,
            bool(deleted),
            uuid,
            last_seq,
            bool(stored.get("restoring", False)),
            int(stored.get("fields_version", 0)),
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corruption("a collection's parameters cannot be read") from error


def _spec_of(name: str, stored: dict[str, Any]) -> CollectionSpec:
    return CollectionSpec(
        name,
        stored["dim"],
        Metric(stored["metric"]),
        IdType(stored["id_type"]),
        stored["m"],
        stored["ef_construction"],
        {field: FieldType(type_) for field, type_ in stored.get("filterable", {}).items()},
        stored.get("ef_search"),
    )
