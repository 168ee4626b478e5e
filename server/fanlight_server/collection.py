"""The part of one collection that this shard holds: checks, store, index.

Laws: a write is acknowledged when it is on disk and in the view. A search takes one view and
never waits for a write or a build. Requests are judged here and nowhere else.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np

from fanlight.errors import Corruption, DeadlineExceeded, FanlightError, NotReady, RowError
from fanlight.exports import ExportRequest
from fanlight.fields import FieldValues
from fanlight.hits import attach, by_vector, first, real_ids, without_own
from fanlight.ids import column_of, empty, id_type_of, last_occurrences
from fanlight.limits import Limits
from fanlight.model import (
    NO_SCORE,
    CollectionInfo,
    CollectionSpec,
    Coverage,
    DeleteResult,
    Floats,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Page,
    Rows,
    SearchRequest,
    UpsertResult,
)
from fanlight.topk import TopK, cut
from fanlight.validation import (
    bad_id_rows,
    bad_vector_rows,
    check_batch,
    check_id_type,
    check_items,
    check_range,
    check_search,
    judge_items,
)
from fanlight_server.exports import CollectionExport
from fanlight_server.index.index import Index
from fanlight_server.index.query import Queries
from fanlight_server.index.settings import IndexConfig, SearchConfig
from fanlight_server.keeper import SegmentKeeper
from fanlight_server.paging import from_token, to_token
from fanlight_server.storage.disk import Disk
from fanlight_server.storage.files import make_directory
from fanlight_server.storage.marks import Expected
from fanlight_server.storage.store import Change, Store, StoredItem
from fanlight_server.storage.writer import GroupWriter

Answer = UpsertResult | DeleteResult


@dataclass(frozen=True, slots=True)
class Write:
    """Valid rows to upsert (with vectors) or ids to delete (without).

    Attributes:
        ids: (n,) ids, each once.
        vectors: (n, dim) float32, or None.
        payload_blobs: n JSON texts, or None.
        fields: values of the filterable fields, one mapping a row; empty when there are none.
        answer: makes the answer from the number of items that the write removed.
    """

    ids: IdColumn
    vectors: Floats | None
    payload_blobs: Sequence[bytes] | None
    fields: Sequence[FieldValues]
    answer: Callable[[int], Answer]


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
        *,
        create: bool,
        expected: Expected = Expected(),
        restoring: bool = False,
    ) -> None:
        """Open the collection in a directory, or create it there.

        `expected` is what its catalog knows of its items.db.

        Raises:
            Corruption: the store is damaged or missing. (A damaged segment is rebuilt instead.)
            Overloaded, NotReady: it is to be created, and the disk is full or fails.
        """
        # constant after construction
        self.spec = spec
        self.version = version
        self._limits = limits
        self._search_config = search_config
        self._threads = search_config.worker_threads
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
        self._index = Index(spec, index_config, now)
        self.keeper = SegmentKeeper(self._index, self._store, segments, spec, index_config, disk)
        try:
            self.keeper.recover()
            # used by the writer thread alone
            self._seq = self._store.last_seq()
        except BaseException:
            self._store.close()
            raise
        self._writer: GroupWriter[Write, Answer] = GroupWriter(
            f"writer-{spec.name}", self._apply, self.keeper.wait_for_room
        )

    # --- reading ------------------------------------------------------------------------------

    def info(self) -> CollectionInfo:
        """Describe the collection as it stands on this shard."""
        view = self._index.view
        return CollectionInfo(
            spec=self.spec,
            version=self.version,
            items=view.live,
            unindexed_items=view.unindexed,
            segments=len(view.segments),
            restoring=self.restoring,
        )

    def _check_readable(self) -> None:
        if self.restoring:
            raise NotReady(f"collection {self.spec.name!r} is being restored from a snapshot")

    def count(self) -> int:
        """Count the live items."""
        return self._index.view.live

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        """Answer the queries of `request`; a bad query fails alone, in `Hits.errors`.

        Args:
            request: the queries.
            timeout_s: seconds after which no query is begun; those left fail with
                DeadlineExceeded. None: answer all.

        Raises:
            InvalidRequest: the request as a whole is wrong.
        """
        self._check_readable()
        check_search(request, self.spec, self._limits)
        self._index.note_search()
        ends = None if timeout_s is None else self._now() + timeout_s
        by_id = request.vectors is None
        hits = self._search_by_id(request, ends) if by_id else self._search(request, ends)
        hits = first(hits, request.width)
        if not (request.with_payloads or request.with_vectors):
            return hits
        winners = self._read(
            real_ids(hits),
            request.with_vectors,
            request.with_payloads,
            self._limits.message_bytes,
        )
        return attach(hits, winners)

    def _search_by_id(self, request: SearchRequest, ends: float | None) -> Hits:
        assert request.ids is not None
        most = self._limits.bytes_in_flight
        searched, errors = by_vector(request, self._read(request.ids, True, False, most))
        return without_own(self._search(searched, ends), request.ids, errors, request.k)

    def _search(self, request: SearchRequest, ends: float | None) -> Hits:
        assert request.vectors is not None
        view = self._index.view
        coverage = Coverage(1, 1, view.live, view.live)
        errors = bad_vector_rows("vectors", request.vectors, self.spec.metric)
        if not errors:
            top, whole = view.search(self._queries(request, request.vectors, ends))
        else:
            good = _all_but(list(errors), len(request.vectors))
            top, whole = view.search(self._queries(request, request.vectors[good], ends))
            top = _spread(top, good, len(request.vectors), self.spec.id_type)
        if not whole:
            top, late = _without_late(top)
            errors |= late
        if request.score_threshold is not None:
            top = cut(top, request.score_threshold)
        return Hits(top.ids, top.scores, top.counts, coverage, errors)

    def _queries(self, request: SearchRequest, vectors: Floats, ends: float | None) -> Queries:
        config = self._search_config
        return Queries(
            vectors=vectors,
            k=request.k,
            ef=None if request.exact else request.ef_search or config.ef_search_default,
            filter=request.filter,
            walk=config.walk,
            threads=self._threads,
            time_left=lambda: None if ends is None else max(0.0, ends - self._now()),
        )

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
        check_items(batch, self.spec, self._limits)
        errors, fields = judge_items(batch, self.spec, self._limits)
        good = _all_but([error.row for error in errors], len(batch.ids))
        kept, superseded = last_occurrences(batch.ids[good])
        result = UpsertResult(len(kept), errors, good[superseded])
        # copying what is nearly always everything cost a third of the shard's time for a row
        if len(kept) < len(batch.ids):
            rows = good[kept]
            batch = batch.take(rows)
            fields = [fields[row] for row in rows.tolist()] if fields else fields
        write = Write(batch.ids, batch.vectors, batch.payload_blobs, fields, lambda _: result)
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

    def _valid(self, ids: IdColumn) -> tuple[IdColumn, tuple[RowError, ...]]:
        """Leave out the ids that cannot be stored, and say why."""
        faults = bad_id_rows(ids, self._limits)
        valid = _all_but(list(faults), len(ids))
        return ids[valid], tuple(RowError(row, faults[row]) for row in sorted(faults))

    def _submit(self, write: Write, timeout_s: float | None) -> Future[Answer]:
        self.keeper.check_writable()
        blobs = write.payload_blobs or ()
        vectors = 0 if write.vectors is None else write.vectors.nbytes
        size_bytes = vectors + sum(map(len, blobs)) + 64 * len(write.ids)
        return self._writer.submit(write, size_bytes, timeout_s)

    def _apply(self, writes: Sequence[Write]) -> list[Answer]:
        """Make writes durable, then visible; refuse what became impossible while it waited."""
        self.keeper.check_writable()
        changes, seq = [], self._seq + 1
        for write in writes:
            changes.append(Change(write.ids, seq, write.vectors, write.payload_blobs))
            seq += len(write.ids)
        self._store.write(changes)
        self._seq = seq - 1
        killed = [self._show(c, w.fields) for c, w in zip(changes, writes, strict=True)]
        return [write.answer(n) for write, n in zip(writes, killed, strict=True)]

    def _show(self, change: Change, fields: Sequence[FieldValues]) -> int:
        if not len(change.ids):
            return 0
        if change.vectors is None:
            return self._index.delete(change.ids, change.first_seq)
        self._index.upsert(change.ids, change.first_seq, change.vectors, fields)
        return 0

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


def _all_but(left_out: list[int], n: int) -> Rows:
    """Number n rows, and leave some out."""
    kept = np.ones(n, dtype=np.bool_)
    kept[left_out] = False
    return np.flatnonzero(kept)


def _without_late(top: TopK) -> tuple[TopK, dict[int, FanlightError]]:
    """Take the hits of unanswered queries away, and say why."""
    late = np.flatnonzero(top.counts < 0)
    top.ids[late] = empty(id_type_of(top.ids), 1)[0]
    top.scores[late] = NO_SCORE
    top.counts[late] = 0
    error = DeadlineExceeded("the deadline passed before the query could start")
    return top, dict.fromkeys(late.tolist(), error)


def _spread(top: TopK, rows: Rows, n: int, id_type: IdType) -> TopK:
    """Put the answers of the good queries back among all n."""
    ids = empty(id_type, (n, top.ids.shape[1]))
    scores = np.full(ids.shape, NO_SCORE, dtype=np.float32)
    counts = np.zeros(n, dtype=np.int64)
    ids[rows], scores[rows], counts[rows] = top.ids, top.scores, top.counts
    return TopK(ids, scores, counts)
