"""The collections of one shard, and whose shard it is.

Laws: a collection exists when its row in catalog.db says so; the highest version of a name
wins, and a deletion is a version too. The data directory belongs to one process, and to one
place of one shard map for ever.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path

from fanlight.declarations import Declaration
from fanlight.errors import AlreadyExists, Corruption, FanlightError, NotFound, Overloaded
from fanlight.filters import FieldType
from fanlight.limits import Limits
from fanlight.model import CollectionInfo, CollectionSpec
from fanlight.placement import ShardIdentity
from fanlight.provenance import check_data, check_known
from fanlight.validation import check_name, check_same, check_spec, check_version
from fanlight_server.builder import Builder
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.records import Record, Records, new_uuid
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import DirectoryLock, make_directory
from fanlight_server.waste import remove_waste

_log = logging.getLogger(__name__)


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
            self._records = Records(path / "catalog.db", identity, self.disk)
            undo.callback(self._records.close)
            # replaced whole, never changed
            self._collections = self._open_all(undo)
            self._note()
            self._builder = Builder(self._keepers, index_config, now)
            undo.pop_all()

    def _open_all(self, undo: ExitStack) -> dict[str, Collection]:
        live = [record for record in self._records.all.values() if not record.deleted]
        remove_waste(self._path, self._records.all, self.disk.files)
        collections = {}
        for record in live:
            name = record.spec.name
            collections[name] = self._open(record, create=False)
            undo.callback(collections[name].close)
        for collection in collections.values():
            self._check_pin(collection.pin)
        return collections

    def _check_pin(self, pin: int) -> None:
        generation = self._records.generation
        if generation < pin:
            raise Corruption(
                f"catalog.db: is at generation {generation}, a collection knew it at {pin}: "
                "an older file"
            )

    def _note(self) -> None:
        """Let the catalog and its collections remember how far the other has come, at the least.

        An older file in the place of one is noticed by what the others remember. A disk that takes
        no writes costs only that: what was remembered before stays right.
        """
        collections = self._collections.values()
        try:
            news = self._records.note({each.spec.name: each.last_seq for each in collections})
            if news or any(each.pin < self._records.generation for each in collections):
                for collection in collections:
                    collection.set_pin(self._records.generation)
        except FanlightError as error:
            _log.warning("how far the collections have come was not noted: %s", error)

    def _open(self, record: Record, *, create: bool) -> Collection:
        return Collection(
            self._path / record.directory,
            record.spec,
            record.version,
            self._limits,
            self._index_config,
            self._search_config,
            disk=self.disk,
            create=create,
            expected=self._records.expected(record),
            restoring=record.restoring,
            fields_version=record.fields_version,
        )

    def _keepers(self) -> list[SegmentKeeper]:
        return [collection.keeper for collection in self._collections.values()]

    @property
    def data_id(self) -> str:
        """Tell which data this is: drawn when the directory was made."""
        return self._records.data_id

    @property
    def peers(self) -> Mapping[int, str]:
        """Give the data of the cluster's other shards, by index, as this one has met them."""
        return self._records.peers

    def accept_data(self, data: Mapping[int, str], *, replace: bool = False) -> None:
        """Take data for that of other shards from now on; idempotent.

        Args:
            data: ids of data by index of their shards; this shard's own may be among them.
            replace: give up other data that was known of them.

        Raises:
            InvalidRequest: a shard or an id of data cannot be.
            WrongShard: this shard's own data is other, or other data is known and not given up.
            Overloaded, NotReady: the disk is full or has failed.
        """
        check_data(data, self.identity.count)
        with self._lock:
            known = {self.identity.index: self.data_id}
            check_known(data, known if replace else {**self.peers, **known})
            news = {
                index: data_id
                for index, data_id in data.items()
                if index != self.identity.index and self.peers.get(index) != data_id
            }
            if news:
                self.disk.check_writable()
                self._records.meet(news)

    @property
    def write_refusal(self) -> FanlightError | None:
        """Tell why no write is taken: the disk is full or has failed; None when they are."""
        return self.disk.refusal

    def get(self, name: str, field: str = "collection") -> Collection:
        """Find a collection.

        Args:
            name: its name.
            field: where the request says so.

        Raises:
            NotFound: there is none of that name.
        """
        try:
            return self._collections[name]
        except KeyError:
            raise NotFound(f"{field}: there is none named {name!r}", field=field) from None

    def describe(self, *, with_deleted: bool = False) -> list[CollectionInfo]:
        """Describe all collections, by name; with the records of deleted ones if wanted."""
        with self._lock:
            records, collections = self._records.all, self._collections
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
            InvalidRequest: the parameters or the version are out of range.
            AlreadyExists: there is one with other parameters, or a higher version is known.
            Overloaded: the shard holds as many collections as it may, or its disk is full.
            NotReady: its disk has failed.
        """
        check_spec(spec, self._limits)
        check_version(version)
        with self._lock:
            record = self._records.all.get(spec.name)
            newest = 0 if record is None else record.version
            if record is not None and (version is None or version <= newest):
                if not record.deleted:
                    check_same(spec, record.spec)
                    return self._collections[spec.name].info()
                if version is not None:
                    message = f"name: {spec.name!r} was deleted at version {newest}"
                    raise AlreadyExists(message, field="name")
            replaced = self._collections.get(spec.name)
            if replaced is None and len(self._collections) >= self._limits.collections:
                message = f"collections: the limit of {self._limits.collections} is reached"
                raise Overloaded(message, field="collections")
            self.disk.check_writable()
            number = newest + 1 if version is None else version
            record = Record(
                spec, number, deleted=False, uuid=new_uuid(), last_seq=0, restoring=restoring
            )
            collection = self._create(record)
            self._collections = self._collections | {spec.name: collection}
            if replaced is not None:
                self._remove(replaced)
            return collection.info()

    def _create(self, record: Record) -> Collection:
        """Make the files of a collection, then its record: what is recorded has its files."""
        directory = self._path / record.directory
        self._clear(directory)  # of a creation that failed
        collection = self._open(record, create=True)
        try:
            self._records.put(record)
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
            collection = self.get(name, "name")
            if collection.restoring:
                self._records.put(replace(self._records.all[name], restoring=False))
                collection.restoring = False
            return collection.info()

    def update(
        self,
        name: str,
        add: Mapping[str, FieldType],
        drop: Iterable[str],
        ef_search: int | None = None,
    ) -> CollectionInfo:
        """Declare filterable fields, or drop some; idempotent. New ones are built in background.

        Args:
            name: of the collection.
            add: fields to declare, with their types.
            drop: fields to drop, before others are added.
            ef_search: see `Declaration.changed`.

        Raises:
            NotFound: there is none of that name.
            InvalidRequest: see `Declaration.changed`.
            Overloaded, NotReady: the disk is full or has failed; nothing was changed.
        """
        with self._lock:
            present = self.get(name, "name").declaration
            return self._declare(name, present, present.changed(add, drop, self._limits, ef_search))

    def declare(self, name: str, declaration: Declaration) -> CollectionInfo:
        """Take the declaration of a router for the fields of a collection; idempotent.

        Raises:
            NotFound: there is none of that name and version.
            InvalidRequest: a field cannot be.
            AlreadyExists: another declaration of this or a higher version is known.
            Overloaded, NotReady: as for `update`.
        """
        declaration.check(self._limits)
        check_version(declaration.version, "declaration.version")
        check_version(declaration.fields_version, "declaration.fields_version", least=0)
        with self._lock:
            present = self.get(name, "name").declaration
            declaration.check_follows(present, name)
            return self._declare(name, present, declaration)

    def _declare(self, name: str, present: Declaration, new: Declaration) -> CollectionInfo:
        """Record a declaration, then make it hold: what was acknowledged is on the disk."""
        collection = self._collections[name]
        if new != present:
            self.disk.check_writable()
            record = self._records.all[name]
            spec = replace(record.spec, filterable=dict(new.filterable), ef_search=new.ef_search)
            self._records.put(replace(record, spec=spec, fields_version=new.fields_version))
            collection.declare(new)
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
            InvalidRequest: with a version: it is out of range, or no collection can have the name.
        """
        check_version(version)
        if version is not None:
            check_name(name)
        with self._lock:
            record = self._records.all.get(name)
            if version is None and (record is None or record.deleted):
                raise NotFound(f"name: there is none named {name!r}", field="name")
            newest = 0 if record is None else record.version
            if version is not None and version <= newest:
                return
            spec = CollectionSpec(name, dim=1) if record is None else record.spec
            self._records.put(
                Record(spec, newest + 1 if version is None else version, deleted=True)
            )
            collection = self._collections.get(name)
            self._collections = {n: c for n, c in self._collections.items() if n != name}
            if collection is not None:
                self._remove(collection)

    def _remove(self, collection: Collection) -> None:
        """Close a collection that is no longer recorded; what stays of it goes at next start."""
        collection.close()
        self._clear(self._path / f"{collection.spec.name}@{collection.version}")

    def _clear(self, directory: Path) -> None:
        """Remove what is of no use; if that fails it stays until the next start."""
        with suppress(OSError):
            self.disk.files.remove_tree(directory)

    def close(self) -> None:
        """Finish queued writes, stop builds, close all files; idempotent."""
        with self._lock:
            collections = list(self._collections.values())
            for collection in collections:
                collection.keeper.stop()
            self._builder.close()
            for collection in collections:
                collection.drain()
            self._note()
            for collection in collections:
                collection.close()
            self._collections = {}
            self._records.close()
            self._directory_lock.release()
