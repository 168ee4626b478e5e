"""The part of one collection that this shard holds: checks, store, index.

Laws: a write is acknowledged when it is on disk and in the view. A search takes one view and
never waits for a write or a build. Requests are judged here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np

from fanlight.declarations import Declaration
from fanlight.errors import Corruption, InvalidRequest, NotReady, RowError
from fanlight.exports import ExportRequest
from fanlight.facets import ranked
from fanlight.filter_rules import check_filter
from fanlight.filters import Filter
from fanlight.hits import attach, first, real_ids
from fanlight.ids import column_of, empty, last_occurrences
from fanlight.limits import Limits
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    DeleteResult,
    Explanation,
    Facets,
    Hits,
    IdColumn,
    ItemBatch,
    Items,
    Page,
    SearchRequest,
    UpsertResult,
)
from fanlight.validation import (
    bad_id_rows,
    check_batch,
    check_id_type,
    check_items,
    check_range,
    check_search,
    judge_items,
)
from fanlight_server.answered import all_but
from fanlight_server.applying import Applying
from fanlight_server.exports import CollectionExport
from fanlight_server.index.index import Index
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.paging import from_token, to_token
from fanlight_server.searching import Searching
from fanlight_server.sets import Sets
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import make_directory
from fanlight_server.storage.marks import Expected
from fanlight_server.storage.sets import SetChange
from fanlight_server.storage.store import Store
from fanlight_server.storage.stored import StoredItem
from fanlight_server.storage.writer import GroupWriter
from fanlight_server.writes import DELETED_ROWS, Answer, Write


class Collection:
    """See the module. Safe for many threads."""

    def __init__(
        self,
        path: Path,
        spec: CollectionSpec,
        version: int,
        limits: Limits,
        index_config: IndexConfig,
        search_config: SearchConfig,
        now: Callable[[], float] = time.monotonic,
        disk: Disk | None = None,
        clock: Callable[[], float] = time.time,
        *,
        create: bool,
        expected: Expected = Expected(),
        restoring: bool = False,
        fields_version: int = 0,
    ) -> None:
        """Open the collection in a directory, or create it there.

        `expected` is what its catalog knows of its items.db.

        Raises:
            Corruption: the store is damaged or missing. (A damaged segment is rebuilt instead.)
            Overloaded, NotReady: it is to be created, and the disk is full or fails.
        """
        # constant after construction
        self.version = version
        self._limits = limits
        self._now = now
        # set to False once, by the catalog
        self.restoring = restoring
        segments = path / "segments"
        disk = disk or Disk(path)
        with disk.writing("directory", spec.name):
            make_directory(segments, disk.files)
        # own synchronisation
        self._store = Store(
            path / "items.db", spec.dim, spec.id_type, disk, create=create, expected=expected
        )
        self._index = Index(spec, index_config, now, fields_version)
        self.keeper = SegmentKeeper(self._index, self._store, segments, spec, index_config, disk)
        try:
            self.keeper.recover()
        except BaseException:
            self._store.close()
            raise
        self.sets = Sets(self._store, spec, limits, self._submit_change, clock)
        self._searching = Searching(
            self._index, limits, search_config, now, self.sets.members, self._read_for_plan
        )
        applying = Applying(self._index, self._store, self.sets.show, self.keeper.check_writable)
        self._writer: GroupWriter[Write | SetChange, Answer] = GroupWriter(
            f"writer-{spec.name}", applying.apply, self.keeper.wait_for_room
        )

    @property
    def spec(self) -> CollectionSpec:
        """Tell what the collection is. What can change is the view's."""
        return self._index.spec

    @property
    def declaration(self) -> Declaration:
        """Tell what is declared."""
        view = self._index.view
        return Declaration(view.filterable, self.version, view.fields_version, view.ef_search)

    def declare(self, declaration: Declaration) -> None:
        """Change the filterable fields and `ef_search`; fields are built in the background.

        The catalog has recorded it, and calls this for one change at a time.
        """
        with self._index.changing:
            self._index.declare(
                declaration.filterable, declaration.fields_version, declaration.ef_search
            )

    # --- reading ------------------------------------------------------------------------------

    def info(self) -> CollectionInfo:
        """Describe the collection as it stands on this shard."""
        view = self._index.view
        return CollectionInfo(
            spec=replace(self.spec, filterable=view.filterable, ef_search=view.ef_search),
            version=self.version,
            items=view.live,
            unindexed_items=view.unindexed,
            segments=len(view.segments),
            restoring=self.restoring,
            fields_version=view.fields_version,
            building_fields=tuple(sorted(view.building)),
        )

    def _check_readable(self) -> None:
        if self.restoring:
            raise NotReady(f"collection {self.spec.name!r} is being restored from a snapshot")

    def count(self, filter: Filter | None = None) -> int:
        """Count the live items, or those that satisfy a filter.

        Raises:
            InvalidRequest: the filter cannot be.
            NotReady: a field of it is being built.
        """
        if filter is None:
            return self._index.view.live
        self._check_readable()
        check_filter(filter, self._limits)
        return self._index.view.count(filter)

    def facets(self, field: str, filter: Filter | None = None, limit: int | None = None) -> Facets:
        """Count live items by the values of a filterable field.

        Raises:
            InvalidRequest: the field is not filterable or has too many values, or the filter
                cannot be.
            NotReady: the field, or one of the filter, is being built.
        """
        self._check_readable()
        if filter is not None:
            check_filter(filter, self._limits)
        view, most = self._index.view, self._limits.facet_values
        counts = view.facet(field, filter)
        if len(counts) > most:
            expected = f"a field of at most {most} distinct values"
            raise InvalidRequest.of_field("field", expected, str(len(counts)))
        return ranked(counts, view.live if filter is None else view.count(filter), limit)

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        """Answer the queries of `request`; a bad query fails alone, in `Hits.errors`.

        Args:
            request: the queries.
            timeout_s: seconds after which no query is begun; those left fail with
                DeadlineExceeded. None: answer all.

        Raises:
            InvalidRequest: the request as a whole is wrong.
            NotReady: a field that it filters by is being built.
        """
        self._check_readable()
        check_search(request, self.spec, self._limits)
        self._index.note_search()
        ends = None if timeout_s is None else self._now() + timeout_s
        hits = first(self._searching.hits(request, ends), request.width)
        if not (request.with_payloads or request.with_vectors):
            return hits
        winners = self._read(
            real_ids(hits),
            request.with_vectors,
            request.with_payloads,
            self._limits.message_bytes,
        )
        return attach(hits, winners)

    def explain(self, request: SearchRequest, id_: IdColumn, score: float | None) -> Explanation:
        """Tell why an item is, or is not, in the answer to a search; see `fanlight.explaining`.

        Args:
            request: a search with one query.
            id_: (1,) the item.
            score: of an item that another shard holds, to be ranked here; or None.

        Raises:
            InvalidRequest: the request cannot be.
        """
        self._check_readable()
        check_search(request, self.spec, self._limits)
        check_id_type(id_, self.spec)
        return self._searching.explain(request, id_, score)

    def get(self, ids: IdColumn, *, with_vectors: bool = True, with_payloads: bool = True) -> Items:
        """Read items by id, in the order asked; an id asked for twice is answered twice.

        Raises:
            InvalidRequest: the ids are of the wrong type or too many.
            Corruption: a stored row fails its checksum.
        """
        self._check_readable()
        check_batch(ids, self._limits)
        check_id_type(ids, self.spec)
        return self._read(ids, with_vectors, with_payloads, self._limits.message_bytes)

    def _read(
        self, ids: IdColumn, with_vectors: bool, with_payloads: bool, bytes_max: int
    ) -> Items:
        valid, _ = self._valid(ids)
        stored = self._store.get(valid, bytes_max, with_vectors=with_vectors)
        found = {item.id: item for item in stored}
        present = np.fromiter((value in found for value in ids.tolist()), bool, len(ids))
        items, missing = [found[value] for value in ids[present].tolist()], ids[~present]
        if len(missing):
            self._check_gone(self._index.view.seqs_of(missing))
        return self._items(items, missing, with_vectors, with_payloads)

    def _read_for_plan(self, ids: IdColumn, with_vectors: bool, with_payloads: bool) -> Items:
        return self._read(ids, with_vectors, with_payloads, self._limits.bytes_in_flight)

    def _check_gone(self, seqs: dict[Any, int]) -> None:
        """Make sure that items which the store did not give were deleted since.

        Its structures have no checksum: damage to one can hide rows, but not from the index.

        Args:
            seqs: by id, of a view that was taken after the store was asked.

        Raises:
            Corruption: the store has lost one of the items.
        """
        ids = empty(self.spec.id_type, len(seqs))
        ids[:] = list(seqs)
        stored = self._store.seqs_of(ids) if seqs else {}
        for value, seq in seqs.items():
            if stored.get(value, 0) < seq:
                raise Corruption(
                    f"{self.spec.name}@{self.version}/items.db: item {value!r} is gone"
                )

    def scroll(
        self,
        page_size: int,
        page_token: bytes,
        *,
        with_vectors: bool = True,
        with_payloads: bool = True,
    ) -> Page:
        """Read items by ascending id, a page at a time.

        Args:
            page_size: items of the page.
            page_token: that of the page before, or empty.

        Raises:
            InvalidRequest: the token is not from this collection, or the size out of range.
        """
        self._check_readable()
        check_range("page_size", page_size, 1, self._limits.batch_rows)
        after = from_token(page_token, self.spec.id_type)
        found = self._store.page(
            after, page_size + 1, self._limits.message_bytes, with_vectors=with_vectors
        )
        shown = found[:page_size]
        expected = self._index.view.seqs_between(after, shown[-1].id if found[page_size:] else None)
        self._check_gone(_without(expected, shown))
        token = to_token(shown[-1].id) if len(found) > page_size else b""
        items = self._items(shown, empty(self.spec.id_type), with_vectors, with_payloads)
        return Page(items, token)

    def export(self, request: ExportRequest) -> CollectionExport:
        """Begin to read all items as they are now; the caller closes it.

        Raises:
            InvalidRequest: an id of the wrong type, or a number of rows out of range.
            NotReady: the collection is being restored or closed.
        """
        self._check_readable()
        check_range("batch_rows", request.batch_rows, 1, self._limits.batch_rows)
        if request.after is not None:
            self._check_after(column_of(request.after))
        export = self._store.export(request.after)
        return CollectionExport(export, self.info(), request)

    def _check_after(self, after: IdColumn) -> None:
        check_id_type(after, self.spec, "after")
        for error in bad_id_rows(after, self._limits, "after").values():
            raise error

    def _items(
        self,
        items: list[StoredItem],
        missing: IdColumn,
        with_vectors: bool,
        with_payloads: bool,
    ) -> Items:
        ids = empty(self.spec.id_type, len(items))
        ids[:] = [item.id for item in items]
        vectors = None
        if with_vectors:
            flat = np.frombuffer(b"".join(item.vector for item in items), dtype="<f4")
            vectors = flat.reshape(len(items), self.spec.dim)
        payloads = [item.payload for item in items] if with_payloads else None
        return Items(ids, vectors, payloads, missing)

    # --- writing ------------------------------------------------------------------------------

    def upsert(self, batch: ItemBatch, *, timeout_s: float | None = None) -> Future[UpsertResult]:
        """Write items; a refused row changes nothing and does not stop the others.

        Args:
            batch: the items.
            timeout_s: seconds for which the caller waits; a write that has not begun by then
                is not done, and its future fails with DeadlineExceeded.

        Returns:
            A future that completes when the rows are on disk and visible.

        Raises:
            InvalidRequest: the batch as a whole is wrong.
            Overloaded: too much waits to be written, in bytes or for the caller's time, or the disk
                is full.
            NotReady: the collection takes no writes any more.
        """
        spec = self.spec
        check_items(batch, spec, self._limits)
        # what a snapshot holds may be older than the fields of the collection
        errors, fields = judge_items(batch, spec, self._limits, lenient=self.restoring)
        good = all_but([error.row for error in errors], len(batch.ids))
        kept, superseded = last_occurrences(batch.ids[good])
        result = UpsertResult(len(kept), errors, good[superseded])
        # copying what is nearly always everything cost a third of the shard's time for a row
        if len(kept) < len(batch.ids):
            rows = good[kept]
            batch = batch.take(rows)
            fields = [fields[row] for row in rows.tolist()] if fields else fields
        blobs, declared = batch.payload_blobs, spec.filterable
        write = Write(
            batch.ids, batch.vectors, blobs, fields, lambda _: result, filterable=declared
        )
        return cast(Future[UpsertResult], self._submit(write, timeout_s))

    def delete(self, ids: IdColumn, *, timeout_s: float | None = None) -> Future[DeleteResult]:
        """Delete items; unknown ids are no error.

        Args:
            ids: of the items.
            timeout_s: as for `upsert`.

        Returns:
            A future that completes when the deletions are on disk and visible.

        Raises:
            InvalidRequest, Overloaded, NotReady: as for `upsert`.
        """
        check_batch(ids, self._limits)
        check_id_type(ids, self.spec)
        valid, errors = self._valid(ids)
        unique = valid[last_occurrences(valid)[0]]
        write = Write(unique, None, None, (), lambda killed: DeleteResult(killed, errors))
        return cast(Future[DeleteResult], self._submit(write, timeout_s))

    def delete_matching(self, filter: Filter) -> int:
        """Delete the items that satisfy a filter now; one that is written meanwhile stays.

        Waits until the deletions are on disk and visible; not all of them become so at once.

        Returns:
            Items that are gone.

        Raises:
            InvalidRequest, Overloaded, NotReady: as for `upsert`; items may be gone by then.
        """
        check_filter(filter, self._limits)
        ids, seqs = self._index.view.matching(filter)
        deleted = 0
        for start in range(0, len(ids), DELETED_ROWS):
            part = slice(start, start + DELETED_ROWS)
            write = Write(ids[part], None, None, (), DeleteResult, seqs[part])
            deleted += cast(Future[DeleteResult], self._submit(write, None)).result().deleted
        return deleted

    # --- how writes are applied ---------------------------------------------------------------

    def _valid(self, ids: IdColumn) -> tuple[IdColumn, tuple[RowError, ...]]:
        """Leave out the ids that cannot be stored, and say why."""
        faults = bad_id_rows(ids, self._limits)
        valid = all_but(list(faults), len(ids))
        return ids[valid], tuple(RowError(row, faults[row]) for row in sorted(faults))

    def _submit(self, write: Write, timeout_s: float | None) -> Future[Answer]:
        self.keeper.check_writable()
        blobs = write.payload_blobs or ()
        vectors = 0 if write.vectors is None else write.vectors.nbytes
        size_bytes = vectors + sum(map(len, blobs)) + 64 * len(write.ids)
        return self._writer.submit(write, size_bytes, timeout_s)

    def _submit_change(self, change: SetChange, size_bytes: int) -> Future[int | None]:
        self.keeper.check_writable()
        return cast("Future[int | None]", self._writer.submit(change, size_bytes))

    @property
    def last_seq(self) -> int:
        """Tell the highest seq that is on disk."""
        return self._store.last_seq()

    @property
    def pin(self) -> int:
        """Tell the least generation that the catalog of this collection can have."""
        return self._store.pin

    def set_pin(self, generation: int) -> None:
        """Remember a generation of the catalog, durably."""
        self._store.set_pin(generation)

    def drain(self) -> None:
        """Finish queued writes and stop builds; idempotent."""
        self.keeper.stop()
        self._writer.close()

    def close(self) -> None:
        """Finish queued writes, stop builds and close the store; idempotent."""
        self.drain()
        self._store.close()


def _without(seqs: dict[Any, int], items: list[StoredItem]) -> dict[Any, int]:
    ids = {item.id for item in items}
    return {value: seq for value, seq in seqs.items() if value not in ids}
