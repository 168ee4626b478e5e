"""A small core behind a real server: what it answers, and when, is for the test to say."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from concurrent.futures import Future

import numpy as np

from fanlight.declarations import Declaration
from fanlight.errors import DeadlineExceeded, FanlightError, InvalidRequest, NotFound
from fanlight.exports import ExportRequest, ExportRows
from fanlight.filters import FieldType, Filter
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    Coverage,
    DeleteResult,
    Explanation,
    Facets,
    Hits,
    IdColumn,
    ItemBatch,
    Items,
    Outcome,
    Page,
    SearchRequest,
    UpsertResult,
)
from fanlight.placement import ShardIdentity
from fanlight_server.writes import Matched

DIM = 4
ITEMS = 7
# Of what a deletion by filter finds.
PARTS = 3


class FakeSets:
    """Sets that remember their changes.

    Attributes:
        changes: what came, in order.
        held: the members of every set.
    """

    def __init__(self) -> None:
        self.changes: list[tuple[object, ...]] = []
        self.held = np.array([3, 5], dtype=np.int64)

    def _changed(self, *change: object) -> Future[int]:
        self.changes.append(change)
        future: Future[int] = Future()
        future.set_result(len(self.held))
        return future

    def append(self, name: str, ids: IdColumn, ttl_s: float | None = None) -> Future[int]:
        return self._changed("append", name, ids.tolist(), ttl_s)

    def remove(self, name: str, ids: IdColumn) -> Future[int]:
        return self._changed("remove", name, ids.tolist())

    def expire(self, name: str, ttl_s: float) -> Future[int]:
        return self._changed("expire", name, ttl_s)

    def delete(self, name: str) -> Future[int]:
        return self._changed("delete", name)

    def members(self, name: str) -> IdColumn:
        return self.held


class FakeCollection:
    """A collection whose every query finds, as its hits, multiples of the query's first element.

    Attributes:
        fault: raised by every method when set.
        gate: searches and explanations wait for it; open at first.
        explained: explanations that were begun.
        searched: the searches that reached it.
        flags: the columns that the last read asked for.
        upserted: the batches that reached it.
        exports: those that were begun.
        row_bytes: of the payload of each row that is exported.
        deletions: the writes of deletions by filter, each of one item.
        deletions_are_held: leave them for the test to complete.
    """

    def __init__(self) -> None:
        self.spec = CollectionSpec("movies", DIM)
        self.fault: BaseException | None = None
        self.gate = threading.Event()
        self.gate.set()
        self.searched: list[SearchRequest] = []
        self.explained = 0
        self.flags: dict[str, bool] = {}
        self.upserted: list[ItemBatch] = []
        self.sets = FakeSets()
        self.exports: list[FakeExport] = []
        self.row_bytes = 0
        self.deletions: list[Future[DeleteResult]] = []
        self.deletions_are_held = False
        self._held_write: Future[UpsertResult] | None = None

    def _fail(self) -> None:
        if self.fault is not None:
            raise self.fault

    def info(self) -> CollectionInfo:
        self._fail()
        return CollectionInfo(self.spec, version=3, items=ITEMS, unindexed_items=2, segments=1)

    def count(self, filter: Filter | None = None) -> int:
        self._fail()
        return ITEMS if filter is None else 1

    def facets(self, field: str, filter: Filter | None = None, limit: int | None = None) -> Facets:
        self._fail()
        return Facets((field,), np.array([ITEMS]), 1, ITEMS)

    def matching(self, filter: Filter) -> list[Matched]:
        self._fail()
        return [Matched(np.array([i]), np.array([i])) for i in range(PARTS)]

    def delete_matched(
        self, items: Matched, *, timeout_s: float | None = None
    ) -> Future[DeleteResult]:
        self.deletions.append(Future())
        if not self.deletions_are_held:
            self.deletions[-1].set_result(DeleteResult(1))
        return self.deletions[-1]

    def explain(
        self,
        request: SearchRequest,
        id_: IdColumn,
        score: float | None,
        *,
        timeout_s: float | None = None,
    ) -> Explanation:
        self.explained += 1
        assert self.gate.wait(30)
        self._fail()
        coverage, outcomes = Coverage(1, 1, ITEMS, ITEMS), (Outcome("cap", True),)
        return Explanation(True, 0.5, 2, 1, None, 0.25, 0, "", "1.seg", 9, outcomes, coverage)

    def search(self, request: SearchRequest, *, timeout_s: float | None = None) -> Hits:
        self.searched.append(request)
        assert self.gate.wait(30)
        self._fail()
        assert request.vectors is not None
        if request.vectors.shape[1] != DIM:
            raise InvalidRequest.of_field("vectors", f"dimension {DIM}", "another")
        n, k = len(request.vectors), request.k
        ids = (np.nan_to_num(request.vectors[:, :1]) * np.arange(1, k + 1)).astype(np.int64)
        scores = np.tile(np.linspace(1, 0, k, dtype=np.float32), (n, 1))
        bad = np.flatnonzero(np.isnan(request.vectors).any(axis=1)).tolist()
        counts = np.full(n, k, dtype=np.int64)
        counts[bad] = 0
        errors: dict[int, FanlightError] = {
            row: InvalidRequest.of_field("vectors", "finite numbers", "nan") for row in bad
        }
        vectors = np.ones((n, k, DIM), dtype=np.float32) if request.with_vectors else None
        return Hits(ids, scores, counts, Coverage(1, 1, ITEMS, ITEMS), errors, vectors=vectors)

    def hold_writes(self) -> Future[UpsertResult]:
        """Answer the next upserts with this future, which nobody completes."""
        self._held_write = Future()
        return self._held_write

    def upsert(self, batch: ItemBatch, *, timeout_s: float | None = None) -> Future[UpsertResult]:
        self._fail()
        self.upserted.append(batch)
        if self._held_write is not None:
            return self._held_write
        future: Future[UpsertResult] = Future()
        future.set_result(UpsertResult(len(batch.ids), (), np.array([], dtype=np.int64)))
        return future

    def delete(self, ids: IdColumn, *, timeout_s: float | None = None) -> Future[DeleteResult]:
        self._fail()
        future: Future[DeleteResult] = Future()
        future.set_result(DeleteResult(len(ids)))
        return future

    def get(self, ids: IdColumn, *, with_vectors: bool = True, with_payloads: bool = True) -> Items:
        self._fail()
        self.flags = {"with_vectors": with_vectors, "with_payloads": with_payloads}
        vectors = np.ones((len(ids), DIM), dtype=np.float32) if with_vectors else None
        return Items(ids, vectors, [b"{}"] * len(ids) if with_payloads else None, ids[:0])

    def scroll(
        self,
        page_size: int,
        page_token: bytes,
        *,
        with_vectors: bool = True,
        with_payloads: bool = True,
    ) -> Page:
        ids = np.arange(page_size, dtype=np.int64)
        items = self.get(ids, with_vectors=with_vectors, with_payloads=with_payloads)
        return Page(items, page_token + b"+")

    def export(self, request: ExportRequest) -> FakeExport:
        self._fail()
        return FakeExport(self)


class FakeExport:
    """Rows 0 to ITEMS - 1, one at a time.

    Attributes:
        is_closed: whether it was closed.
    """

    def __init__(self, collection: FakeCollection) -> None:
        self.info = collection.info()
        self.seq, self.items = 40, ITEMS
        self.is_closed = False
        self._next = 0
        self._collection = collection
        collection.exports.append(self)

    def take(self) -> ExportRows | None:
        row, self._next = self._next, self._next + 1
        if self.is_closed:
            raise DeadlineExceeded("ended")
        if row == ITEMS:
            return None
        vectors = np.full((1, DIM), row, dtype=np.float32)
        return ExportRows(
            np.array([row]), np.array([row + 1]), vectors, [b"x" * self._collection.row_bytes]
        )

    def close(self) -> None:
        self.is_closed = True


class FakeCatalog:
    """One collection, "movies"."""

    def __init__(self) -> None:
        self.movies = FakeCollection()
        self.identity = ShardIdentity("test", 1, 3)
        self.calls: list[tuple[object, ...]] = []
        self.write_refusal: FanlightError | None = None
        self.data_id = "5" * 32
        self.peers: Mapping[int, str] = {}
        self.accepted: list[tuple[dict[int, str], bool]] = []

    def accept_data(self, data: Mapping[int, str], *, replace: bool = False) -> None:
        self.accepted.append((dict(data), replace))
        self.peers = {**self.peers, **data}

    def create(
        self, spec: CollectionSpec, version: int | None = None, *, restoring: bool = False
    ) -> CollectionInfo:
        self.calls.append(("create", spec, version))
        return self.movies.info()

    def get(self, name: str, field: str = "collection") -> FakeCollection:
        if name != "movies":
            raise NotFound(f"collection: there is none named {name!r}", field="collection")
        return self.movies

    def describe(self, *, with_deleted: bool = False) -> list[CollectionInfo]:
        gone = CollectionInfo(CollectionSpec("gone", 1), version=9, deleted=True)
        return [gone, self.movies.info()] if with_deleted else [self.movies.info()]

    def update(
        self,
        name: str,
        add: Mapping[str, FieldType],
        drop: Iterable[str],
        ef_search: int | None = None,
    ) -> CollectionInfo:
        self.calls.append(("update", name, dict(add), list(drop), ef_search))
        return self.get(name).info()

    def declare(self, name: str, declaration: Declaration) -> CollectionInfo:
        self.calls.append(("declare", name, declaration))
        return self.get(name).info()

    def finish_restore(self, name: str) -> CollectionInfo:
        self.calls.append(("finish_restore", name))
        return self.get(name).info()

    def delete(self, name: str, version: int | None = None) -> None:
        self.calls.append(("delete", name, version))
        self.get(name)
