"""Shards in memory: they hold items, search them by brute force, and fail when told to."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tests import oracle

from fanlight.errors import FanlightError, InvalidRequest, NotFound, RowError
from fanlight.filters import Filter
from fanlight.hits import first
from fanlight.ids import empty, id_type_of, last_occurrences
from fanlight.limits import Limits
from fanlight.model import (
    CollectionInfo,
    CollectionSpec,
    Coverage,
    DeleteResult,
    Explanation,
    Facets,
    Floats,
    Hits,
    IdColumn,
    IdType,
    ItemBatch,
    Items,
    Metric,
    Page,
    Rows,
    SearchRequest,
    UpsertResult,
)
from fanlight.placement import shards_of
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.fanout import Fanout
from fanlight_router.items import PlacedItems
from fanlight_router.shards import Columns

DIM = 4
COLLECTION = "things"


class FakeShard:
    """One shard with one collection, scored by dot product.

    Attributes:
        fault: raised by every call when set.
        gate: calls wait for it; open at first.
        cancelled: calls that were cancelled.
        asked: names of the calls, in order.
        refused: ids that writes refuse.
        twist: applied to the hits of every search.
        widths: queries and hits a query that each search asked for.
        excluded: ids that each search excluded.
    """

    def __init__(self, id_type: IdType = IdType.INT64) -> None:
        self._id_type = id_type
        self.items: dict[object, tuple[Floats, bytes]] = {}
        self.fault: BaseException | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.cancelled = 0
        self.asked: list[str] = []
        self.refused: set[object] = set()
        self.widths: list[tuple[int, int]] = []
        self.excluded: list[int] = []
        self.twist: Callable[[Hits], Hits] = lambda hits: hits

    @property
    def ids(self) -> IdColumn:
        return self.column(list(self.items))

    @property
    def coverage(self) -> Coverage:
        return Coverage(1, 1, len(self.items), len(self.items))

    def column(self, ids: Sequence[Any]) -> IdColumn:
        column = empty(self._id_type, len(ids))
        column[:] = ids
        return column

    async def _begin(self, name: str, collection: str, timeout_s: float) -> None:
        assert timeout_s > 0
        self.asked.append(name)
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        if self.fault is not None:
            raise self.fault
        if collection != COLLECTION:
            raise NotFound("collection: there is none of that name")

    async def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        await self._begin("search", request.collection, timeout_s)
        queries = request.vectors
        assert queries is not None, "the fan-out looks vectors up"
        assert not request.with_payloads, "the fan-out reads columns of the winners only"
        if queries.shape[1] != DIM:
            raise InvalidRequest.of_field("vectors", f"dimension {DIM}", f"{queries.shape[1]}")
        bad = np.flatnonzero(np.isnan(queries).any(axis=1)).tolist()
        vectors = np.array([vector for vector, _ in self.items.values()], dtype=np.float32)
        kept = self._kept(request)
        best = oracle.best(
            Metric.DOT,
            np.nan_to_num(queries),
            self.ids[kept],
            vectors.reshape(-1, DIM)[kept],
            request.k,
        )
        best.counts[bad] = 0
        best.ids[bad] = empty(self._id_type, 1)[0]
        best.scores[bad] = np.nan
        errors: dict[int, FanlightError] = {row: InvalidRequest("not finite") for row in bad}
        self.widths.append((len(queries), request.width))
        excluded = None if request.exclude is None else len(self.items) - len(kept)
        found = Hits(best.ids, best.scores, best.counts, self.coverage, errors, excluded=excluded)
        return self.twist(first(found, request.width))

    def _kept(self, request: SearchRequest) -> Rows:
        """List the rows that no id of the exclusions leaves out."""
        exclude = request.exclude
        ids = None if exclude is None else exclude.column()
        gone = set() if ids is None else set(ids.tolist())
        self.excluded.append(len(gone))
        return np.array([r for r, name in enumerate(self.items) if name not in gone], np.int64)

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        await self._begin("get_collection", name, timeout_s)
        spec = CollectionSpec(COLLECTION, DIM, Metric.DOT, self._id_type)
        return CollectionInfo(spec, 1, len(self.items)), self.coverage

    async def count(
        self, collection: str, timeout_s: float, filter: Filter | None = None
    ) -> tuple[int, Coverage]:
        await self._begin("count", collection, timeout_s)
        return len(self.items), self.coverage

    async def facets(
        self, collection: str, field: str, filter: Filter | None, timeout_s: float
    ) -> tuple[Facets, Coverage]:
        await self._begin("facets", collection, timeout_s)
        ids = sorted(self.items, key=str)
        return Facets(tuple(ids), np.ones(len(ids), np.int64), len(ids), len(ids)), self.coverage  # type: ignore[arg-type]  # ids are values

    async def delete_matching(self, collection: str, filter: Filter, timeout_s: float) -> int:
        await self._begin("delete_matching", collection, timeout_s)
        gone = len(self.items)
        self.items.clear()
        return gone

    async def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, timeout_s: float
    ) -> Explanation:
        raise AssertionError("tests/query explains over real shards")

    async def upsert(self, collection: str, batch: ItemBatch, timeout_s: float) -> UpsertResult:
        await self._begin("upsert", collection, timeout_s)
        kept, superseded = last_occurrences(batch.ids)
        errors = []
        for row in kept.tolist():
            name = batch.ids.tolist()[row]
            if name in self.refused:
                errors.append(RowError(row, InvalidRequest(f"{name} is refused")))
                continue
            blob = b"" if batch.payload_blobs is None else batch.payload_blobs[row]
            self.items[name] = (batch.vectors[row], blob)
        return UpsertResult(len(kept) - len(errors), tuple(errors), superseded)

    async def delete(self, collection: str, ids: IdColumn, timeout_s: float) -> DeleteResult:
        await self._begin("delete", collection, timeout_s)
        refused = [row for row, name in enumerate(ids.tolist()) if name in self.refused]
        gone = [self.items.pop(name, None) for name in set(ids.tolist()) - self.refused]
        errors = tuple(RowError(row, InvalidRequest("is refused")) for row in refused)
        return DeleteResult(sum(item is not None for item in gone), errors)

    async def get(
        self, collection: str, ids: IdColumn, columns: Columns, timeout_s: float
    ) -> Items:
        await self._begin("get", collection, timeout_s)
        if id_type_of(ids) is not self._id_type:
            raise InvalidRequest.of_field("ids", f"{self._id_type} ids", "others")
        found = [name for name in ids.tolist() if name in self.items]
        return self._items(found, [n for n in ids.tolist() if n not in self.items], columns)

    def _items(self, found: list[object], missing: list[object], columns: Columns) -> Items:
        vectors = np.array([self.items[n][0] for n in found], dtype=np.float32).reshape(-1, DIM)
        return Items(
            ids=self.column(found),
            vectors=vectors if columns.vectors else None,
            payload_blobs=[self.items[n][1] for n in found] if columns.payloads else None,
            missing=self.column(missing),
        )

    async def scroll(
        self, collection: str, page_size: int, page_token: bytes, columns: Columns, timeout_s: float
    ) -> Page:
        await self._begin("scroll", collection, timeout_s)
        start = int(page_token or b"0")
        names = list(self.items)[start : start + page_size]
        end = start + page_size
        following = str(end).encode() if end < len(self.items) else b""
        return Page(self._items(names, [], columns), following)


@dataclass(frozen=True)
class FakeCluster:
    """A fan-out over fake shards, and everything they hold."""

    shards: list[FakeShard]
    known: KnownItems
    placed: PlacedItems
    fanout: Fanout

    @property
    def ids(self) -> IdColumn:
        return self.shards[0].column([name for shard in self.shards for name in shard.items])

    @property
    def vectors(self) -> Floats:
        return np.array([vector for s in self.shards for vector, _ in s.items.values()])

    def owner(self, name: object) -> FakeShard:
        """Find the shard that the placement gives an id to."""
        column = self.shards[0].column([name])
        return self.shards[int(shards_of(column, len(self.shards))[0])]

    def asked(self, name: str) -> list[int]:
        """Count the calls of a kind, by shard."""
        return [shard.asked.count(name) for shard in self.shards]


def cluster_of(
    n: int = 3, id_type: IdType = IdType.INT64, limits: Limits | None = None
) -> FakeCluster:
    """Make a fan-out over n empty shards."""
    shards = [FakeShard(id_type) for _ in range(n)]
    known, limits = KnownItems(), limits or Limits()
    placed = PlacedItems(shards, known, limits)
    return FakeCluster(shards, known, placed, Fanout(shards, placed, known, limits))


def ids_of(numbers: Sequence[int], id_type: IdType) -> IdColumn:
    """Make ids of either type; as strings they sort otherwise than as numbers."""
    column = empty(id_type, len(numbers))
    column[:] = numbers if id_type is IdType.INT64 else [f"item-{n}" for n in numbers]
    return column


def coarse_vectors(seed: int, rows: int) -> Floats:
    """Draw vectors of few different elements, so that many scores are equal."""
    return np.random.default_rng(seed).integers(-2, 3, (rows, DIM)).astype(np.float32)


async def filled(
    n: int = 3, rows: int = 60, id_type: IdType = IdType.INT64, limits: Limits | None = None
) -> FakeCluster:
    """Make a cluster and write items 0 to rows - 1, each with its number as payload."""
    cluster = cluster_of(n, id_type, limits)
    ids = ids_of(range(rows), id_type)
    payloads = [b'{"n": %d}' % row for row in range(rows)]
    await cluster.placed.upsert(
        COLLECTION, ItemBatch(ids, coarse_vectors(1, rows), payloads), soon()
    )
    for shard in cluster.shards:
        shard.asked.clear()
    return cluster


def soon(seconds: float = 10.0) -> Deadline:
    """Make a deadline; one that a test does not mean to reach is far away."""
    return Deadline(time.monotonic() + seconds)
