"""The collections of one shard, and whose shard it is.

Laws: a collection exists when its row in catalog.db says so; the highest version of a name
wins, and a deletion is a version too. The data directory belongs to one process, and to one
place of one shard map for ever.
"""

from __future__ import annotations

import json
import sqlite3
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from fanlight.errors import AlreadyExists, Corruption, FanlightError, NotFound, Overloaded
from fanlight.filters import FieldType, listed
from fanlight.limits import Limits
from fanlight.model import CollectionInfo, CollectionSpec, IdType, Metric
from fanlight.placement import ShardIdentity
from fanlight.validation import check_spec
from fanlight_server.builder import Builder
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import DirectoryLock, make_directory, sync_directory
from fanlight_server.storage.filesystem import FileSystem
from fanlight_server.storage.store import sqlite_errors
from fanlight_server.storage.wal import Checkpoints

FORMAT_VERSION = 1

_SCHEMA = f"""
BEGIN IMMEDIATE;
CREATE TABLE identity (cluster TEXT NOT NULL, shard INTEGER NOT NULL, shards INTEGER NOT NULL);
CREATE TABLE collections (
  name TEXT PRIMARY KEY,
  version INTEGER NOT NULL,
  deleted INTEGER NOT NULL,
  spec TEXT NOT NULL
);
PRAGMA user_version = {FORMAT_VERSION};
COMMIT;
"""


class WrongData(FanlightError):
    """The data directory belongs to another shard than the one configured."""


@dataclass(frozen=True, slots=True)
class Record:
    """What catalog.db says of a name."""

    spec: CollectionSpec
    version: int
    deleted: bool
    restoring: bool = False


class Catalog:
    """See the module. Safe for many threads.

    Attributes:
        identity: which part of which cluster this shard is.
        disk: the state of the disk that it is on.
    """

    def __init__(
        self,
        path: Path,
        identity: ShardIdentity,
        limits: Limits,
        index_config: IndexConfig,
        search_config: SearchConfig,
        now: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
    ) -> None:
        """Open a data directory, or create it, and load its collections.

        Raises:
            DirectoryInUse: another process owns the directory.
            WrongData: the directory is another shard's.
            Corruption: a database is damaged or of another format version.
        """
        # constant after construction
        self.identity = identity
        self.disk = disk or Disk(path)
        self._path = path / "collections"
        self._limits = limits
        self._index_config = index_config
        self._search_config = search_config
        make_directory(self._path, self.disk.files)
        self._directory_lock = DirectoryLock(path)
        # guards the records, the database and the publication of `_collections`
        self._lock = threading.Lock()
        with ExitStack() as undo:
            undo.callback(self._directory_lock.release)
            self._db = _open_database(path / "catalog.db", identity, self.disk.files)
            undo.callback(self._db.close)
            wal_bytes = self.disk.config.wal_bytes
            self._checkpoints = Checkpoints(self._db, path / "catalog.db", wal_bytes)
            self._records = _read_records(self._db)
            # replaced whole, never changed
            self._collections = self._open_all(undo)
            self._builder = Builder(self._keepers, index_config, now)
            undo.pop_all()

    def _open_all(self, undo: ExitStack) -> dict[str, Collection]:
        live = {name: record for name, record in self._records.items() if not record.deleted}
        wanted = {_directory_name(name, record.version) for name, record in live.items()}
        for path in self._path.iterdir():
            if path.name not in wanted:
                self.disk.files.remove_tree(path)
        collections = {}
        for name, record in live.items():
            collections[name] = self._open(record, create=False)
            undo.callback(collections[name].close)
        return collections

    def _open(self, record: Record, *, create: bool) -> Collection:
        return Collection(
            self._path / _directory_name(record.spec.name, record.version),
            record.spec,
            record.version,
            self._limits,
            self._index_config,
            self._search_config,
            disk=self.disk,
            create=create,
            restoring=record.restoring,
        )

    def _keepers(self) -> list[SegmentKeeper]:
        return [collection.keeper for collection in self._collections.values()]

    @property
    def write_refusal(self) -> FanlightError | None:
        """Tell why no write is taken: the disk is full or has failed; None when they are."""
        return self.disk.refusal

    def get(self, name: str) -> Collection:
        """Find a collection.

        Raises:
            NotFound: there is none of that name.
        """
        try:
            return self._collections[name]
        except KeyError:
            raise NotFound(
                f"collection: there is none named {name!r}", field="collection"
            ) from None

    def describe(self, *, with_deleted: bool = False) -> list[CollectionInfo]:
        """Describe all collections, by name; with the records of deleted ones if wanted."""
        with self._lock:
            records, collections = dict(self._records), self._collections
        infos = [
            CollectionInfo(record.spec, record.version, deleted=True)
            if record.deleted
            else collections[name].info()
            for name, record in sorted(records.items())
        ]
        return [info for info in infos if with_deleted or not info.deleted]

    def create(
        self, spec: CollectionSpec, version: int | None = None, *, restoring: bool = False
    ) -> CollectionInfo:
        """Create a collection; one with the same parameters is returned as it is.

        Args:
            spec: its parameters.
            version: set by a router. A higher one than the collection here has means that this
                shard missed a deletion: what it holds under the name is dropped.
            restoring: refuse reads until `finish_restore`. Without effect on one that exists.

        Raises:
            InvalidRequest: the parameters are out of range.
            AlreadyExists: there is one with other parameters, or a higher version is known.
            Overloaded: the shard holds as many collections as it may, or its disk is full.
            NotReady: its disk has failed.
        """
        check_spec(spec, self._limits)
        with self._lock:
            record = self._records.get(spec.name)
            newest = 0 if record is None else record.version
            if record is not None and (version is None or version <= newest):
                if not record.deleted and record.spec == spec:
                    return self._collections[spec.name].info()
                if not record.deleted or version is not None:
                    raise _already_exists(record)
            replaced = self._collections.get(spec.name)
            if replaced is None and len(self._collections) >= self._limits.collections:
                message = f"collections: the limit of {self._limits.collections} is reached"
                raise Overloaded(message, field="collections")
            self.disk.check_writable()
            version = newest + 1 if version is None else version
            record = Record(spec, version, deleted=False, restoring=restoring)
            collection = self._create(record)
            self._collections = self._collections | {spec.name: collection}
            if replaced is not None:
                self._remove(replaced)
            return collection.info()

    def _create(self, record: Record) -> Collection:
        """Make the files of a collection, then its record: what is recorded has its files."""
        directory = self._path / _directory_name(record.spec.name, record.version)
        self._clear(directory)  # of a creation that failed
        collection = self._open(record, create=True)
        try:
            self._write(record)
        except BaseException:
            collection.close()
            raise
        return collection

    def finish_restore(self, name: str) -> CollectionInfo:
        """Let a collection that was created as `restoring` be read from now on; idempotent.

        Raises:
            NotFound: there is none of that name.
        """
        with self._lock:
            collection = self.get(name)
            if collection.restoring:
                self._write(replace(self._records[name], restoring=False))
                collection.restoring = False
            return collection.info()

    def delete(self, name: str, version: int | None = None) -> None:
        """Delete a collection and its items; on a full disk too, since it makes room.

        Args:
            name: its name.
            version: set by a router; the deletion is recorded with it even when the collection
                is not here, and ignored when this shard knows a higher one.

        Raises:
            NotFound: there is none (and no version was given).
            Overloaded, NotReady: there is not even room for the record, or the disk has failed.
        """
        with self._lock:
            record = self._records.get(name)
            if version is None and (record is None or record.deleted):
                raise NotFound(f"collection: there is none named {name!r}", field="name")
            newest = 0 if record is None else record.version
            if version is not None and version <= newest:
                return
            spec = CollectionSpec(name, dim=1) if record is None else record.spec
            self._write(Record(spec, newest + 1 if version is None else version, deleted=True))
            collection = self._collections.get(name)
            self._collections = {n: c for n, c in self._collections.items() if n != name}
            if collection is not None:
                self._remove(collection)

    def _remove(self, collection: Collection) -> None:
        """Close a collection that is no longer recorded; what stays of it goes at next start."""
        collection.close()
        directory = self._path / _directory_name(collection.spec.name, collection.version)
        self._clear(directory)

    def _clear(self, directory: Path) -> None:
        """Remove what is of no use; if that fails it stays until the next start."""
        with suppress(OSError):
            self.disk.files.remove_tree(directory)

    def _write(self, record: Record) -> None:
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
        with self.disk.writing("catalog", "catalog.db"):
            self._checkpoints.run_if_due()
            self._db.execute(
                "INSERT OR REPLACE INTO collections VALUES (?, ?, ?, ?)",
                (spec.name, record.version, record.deleted, json.dumps(parameters)),
            )
        self._records = self._records | {spec.name: record}

    def close(self) -> None:
        """Finish queued writes, stop builds, close all files; idempotent."""
        with self._lock:
            collections = list(self._collections.values())
            for collection in collections:
                collection.keeper.stop()
            self._builder.close()
            for collection in collections:
                collection.close()
            self._collections = {}
            self._db.close()
            self._directory_lock.release()


def _directory_name(name: str, version: int) -> str:
    return f"{name}@{version}"


def _already_exists(record: Record) -> AlreadyExists:
    spec = record.spec
    if record.deleted:
        return AlreadyExists(f"name: {spec.name!r} was deleted at version {record.version}")
    return AlreadyExists(
        f"name: a collection {spec.name!r} exists with dim={spec.dim}, metric={spec.metric}, "
        f"id_type={spec.id_type}, m={spec.m}, ef_construction={spec.ef_construction}, "
        f"filterable={listed(spec.filterable)}",
        field="name",
    )


def _open_database(path: Path, identity: ShardIdentity, files: FileSystem) -> sqlite3.Connection:
    with sqlite_errors(path.name):
        db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        try:
            _prepare(db, path, files)
            _check_identity(db, identity)
        except BaseException:
            db.close()
            raise
    return db


def _prepare(db: sqlite3.Connection, path: Path, files: FileSystem) -> None:
    db.execute("PRAGMA journal_mode = WAL")
    db.execute("PRAGMA synchronous = FULL")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version not in (0, FORMAT_VERSION):
        raise Corruption(f"{path.name}: format version {version}, expected {FORMAT_VERSION}")
    if version == 0:
        if any((path.parent / "collections").iterdir()):
            # A new catalog would declare them waste.
            raise Corruption(f"{path.name}: missing or empty, but there are collections")
        db.executescript(_SCHEMA)
        sync_directory(path.parent, files)


def _check_identity(db: sqlite3.Connection, identity: ShardIdentity) -> None:
    ours = (identity.cluster, identity.index, identity.count)
    stored = db.execute("SELECT cluster, shard, shards FROM identity").fetchone()
    if stored is None:
        db.execute("INSERT INTO identity VALUES (?, ?, ?)", ours)
    elif stored != ours:
        raise WrongData(
            f"data: the directory holds shard {stored[1]} of {stored[2]} of cluster "
            f"{stored[0]!r}, configured is shard {ours[1]} of {ours[2]} of cluster {ours[0]!r}"
        )


def _read_records(db: sqlite3.Connection) -> dict[str, Record]:
    with sqlite_errors("catalog.db"):
        rows = db.execute("SELECT name, version, deleted, spec FROM collections").fetchall()
    try:
        return {
            name: _parsed_record(name, version, bool(deleted), json.loads(text))
            for name, version, deleted, text in rows
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise Corruption("catalog.db: a collection's parameters cannot be read") from error


def _parsed_record(name: str, version: int, deleted: bool, stored: dict[str, Any]) -> Record:
    spec = CollectionSpec(
        name,
        stored["dim"],
        Metric(stored["metric"]),
        IdType(stored["id_type"]),
        stored["m"],
        stored["ef_construction"],
        {field: FieldType(type_) for field, type_ in stored.get("filterable", {}).items()},
    )
    return Record(spec, version, deleted, bool(stored.get("restoring", False)))
