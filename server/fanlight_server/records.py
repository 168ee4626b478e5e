"""catalog.db: which collections a shard has or had, whose shard it is, and which others it has met.

Laws: every change is one synced transaction, which also changes the checksum of the whole. What is
read is compared with it first. See docs/format.md.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
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

FORMAT_VERSION = 3
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
"""
_TO_3 = f"""
ALTER TABLE identity ADD COLUMN data_id TEXT NOT NULL DEFAULT '';
CREATE TABLE peers (shard INTEGER PRIMARY KEY, data_id TEXT NOT NULL);
UPDATE identity SET data_id = lower(hex(randomblob(16)));
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


@dataclass(frozen=True, slots=True)
class Catalogued:
    """All that a catalog.db says.

    Attributes:
        generation: how often it was changed.
        records: of each name.
        data_id: drawn when it was made (or was brought to format version 3): 32 hexadecimal digits.
        peers: the data ids of the cluster's other shards, by index, as they were met.
    """

    generation: int = 0
    records: Mapping[str, Record] = field(default_factory=dict)
    data_id: str = ""
    peers: Mapping[int, str] = field(default_factory=dict)


class Records:
    """One catalog.db, open. Safe for many threads.

    Attributes:
        data_id: see `Catalogued`.
        all: see `Catalogued.records`.
        peers: see `Catalogued`.
    """

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
                    found = read(self._db)
            except BaseException:
                self._db.close()
                raise
        self.data_id = found.data_id
        # replaced whole, never changed
        self.generation, self.all, self.peers = found.generation, found.records, found.peers

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

    def meet(self, peers: Mapping[int, str]) -> None:
        """Remember the data of other shards, durably."""
        with self._lock:
            statement = "INSERT OR REPLACE INTO peers VALUES (?, ?)"
            self._change(statement, list(peers.items()))
            self.peers = {**self.peers, **peers}

    def _commit(self, changed: Mapping[str, Record]) -> None:
        statement = f"INSERT OR REPLACE INTO collections ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?)"
        self._change(statement, [_row_of(record) for record in changed.values()])
        self.all = {**self.all, **changed}

    def _change(self, statement: str, rows: Sequence[tuple[object, ...]]) -> None:
        with self._disk.writing("catalog", "catalog.db"), self._db:
            self._checkpoints.run_if_due()
            self._db.execute("BEGIN IMMEDIATE")
            self._db.executemany(statement, rows)
            _seal(self._db, self.generation + 1)
        self.generation += 1

    def close(self) -> None:
        """Close the database; idempotent."""
        with self._lock:
            self._db.close()


def new_uuid() -> str:
    """Draw the uuid of a new collection."""
    return uuid.uuid4().hex


def read(db: sqlite3.Connection) -> Catalogued:
    """Read all of a database of format version 2 or 3, of which the former has no data id.

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
    records = {row[0]: _record_of(*row) for row in rows}
    if _version_of(db) < 3:
        return Catalogued(contents.generation, records)
    (data_id,) = db.execute("SELECT data_id FROM identity").fetchone()
    peers = dict(db.execute("SELECT shard, data_id FROM peers"))
    return Catalogued(contents.generation, records, data_id, peers)


def _version_of(db: sqlite3.Connection) -> int:
    version: int = db.execute("PRAGMA user_version").fetchone()[0]
    return version


def _crc(db: sqlite3.Connection) -> int:
    identity = db.execute("SELECT * FROM identity").fetchall()
    rows = db.execute(f"SELECT {_COLUMNS} FROM collections ORDER BY name").fetchall()
    if _version_of(db) < 3:
        return marks.checksum([identity, rows])
    peers = db.execute("SELECT shard, data_id FROM peers ORDER BY shard").fetchall()
    return marks.checksum([identity, rows, peers])


def _seal(db: sqlite3.Connection, generation: int) -> None:
    """Sum up what the transaction has made of the database."""
    marks.write(db, Contents(generation, _crc(db)))


def _prepare(
    db: sqlite3.Connection, path: Path, identity: ShardIdentity, files: FileSystem
) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    version = _version_of(db)
    if version:
        check_format(version)
    if version == 0 and any((path.parent / "collections").iterdir()):
        # A new catalog would declare them waste.
        raise Corruption("missing or empty, but there are collections")
    if version < FORMAT_VERSION:
        with db:
            _upgrade(db, version, identity)
        sync_directory(path.parent, files)
    check_identity(db, identity)


def check_format(version: int) -> None:
    """Refuse a format version that this program does not know.

    Raises:
        Corruption: names both.
    """
    if not 1 <= version <= FORMAT_VERSION:
        raise Corruption(f"format version {version}, expected 1 to {FORMAT_VERSION}")


def _upgrade(db: sqlite3.Connection, version: int, identity: ShardIdentity) -> None:
    """Create the tables, or add to those of an older format version, in one transaction."""
    db.execute("BEGIN IMMEDIATE")
    # what version 1 has no checksum for is judged as well as it can be
    generation = 0
    if version == 1:
        read_1(db)
    elif version == 2:
        generation = read(db).generation + 1
    _run(db, "" if version else _SCHEMA_1)
    if not db.execute("SELECT count(*) FROM identity").fetchone()[0]:
        ours = (identity.cluster, identity.index, identity.count)
        db.execute("INSERT INTO identity VALUES (?, ?, ?)", ours)
    _run(db, _TO_3 if version == 2 else _TO_2 + _TO_3)
    marks.write(db, marks.structure_of(db))
    _seal(db, generation)


def _run(db: sqlite3.Connection, script: str) -> None:
    """Execute statements within the caller's transaction, which `executescript` would end."""
    for statement in filter(str.strip, script.split(";")):
        db.execute(statement)


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
