"""Real collections in one process: one alone, or several behind a router's fan-out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from fanlight.filters import FieldType, Filter
from fanlight.inputs import as_payload_blobs
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
    SearchRequest,
    UpsertResult,
)
from fanlight.placement import shards_of
from fanlight_router.coverage import KnownItems
from fanlight_router.deadline import Deadline
from fanlight_router.fanout import Fanout
from fanlight_router.items import PlacedItems
from fanlight_router.shards import Columns
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig

T = TypeVar("T")
NAME = "things"
_LIMITS = Limits()
_INDEX = IndexConfig()
WAIT_S = 60.0


class CoreShard:
    """A collection as the fan-out sees a shard."""

    def __init__(self, collection: Collection) -> None:
        self.collection = collection

    async def search(self, request: SearchRequest, timeout_s: float) -> Hits:
        return self.collection.search(request)

    async def get_collection(self, name: str, timeout_s: float) -> tuple[CollectionInfo, Coverage]:
        return self.collection.info(), Coverage(1, 1, 0, 0)

    async def count(
        self, collection: str, timeout_s: float, filter: Filter | None = None
    ) -> tuple[int, Coverage]:
        return self.collection.count(filter), Coverage(1, 1, 0, 0)

    async def facets(
        self, collection: str, field: str, filter: Filter | None, timeout_s: float
    ) -> tuple[Facets, Coverage]:
        return self.collection.facets(field, filter), Coverage(1, 1, 0, 0)

    async def delete_matching(self, collection: str, filter: Filter, timeout_s: float) -> int:
        return self.collection.delete_matching(filter)

    async def explain(
        self, request: SearchRequest, id_: IdColumn, score: float | None, timeout_s: float
    ) -> Explanation:
        return self.collection.explain(request, id_, score)

    async def upsert(self, collection: str, batch: ItemBatch, timeout_s: float) -> UpsertResult:
        return self.collection.upsert(batch).result(WAIT_S)

    async def delete(self, collection: str, ids: IdColumn, timeout_s: float) -> DeleteResult:
        return self.collection.delete(ids).result(WAIT_S)

    async def get(
        self, collection: str, ids: IdColumn, columns: Columns, timeout_s: float
    ) -> Items:
        return self.collection.get(
            ids, with_vectors=columns.vectors, with_payloads=columns.payloads
        )

    async def scroll(
        self, collection: str, page_size: int, page_token: bytes, columns: Columns, timeout_s: float
    ) -> Page:
        raise NotImplementedError


class Cores:
    """The items of a test on some shards; one shard is asked directly, as a lone one is."""

    def __init__(self, collections: Sequence[Collection], limits: Limits) -> None:
        self.collections = collections
        self.limits = limits

    def put(
        self, ids: IdColumn, vectors: Floats, payloads: Sequence[Mapping[str, Any]] | None = None
    ) -> None:
        """Write items, each to the shard that owns it."""
        blobs = as_payload_blobs([dict(p) for p in payloads]) if payloads is not None else None
        batch = ItemBatch(ids, vectors, blobs)
        owners = shards_of(ids, len(self.collections))
        for shard, collection in enumerate(self.collections):
            rows = np.flatnonzero(owners == shard)
            if len(rows):
                result = collection.upsert(batch.take(rows)).result(WAIT_S)
                assert result.written == len(rows)

    def delete(self, ids: IdColumn) -> None:
        """Delete items that are there, each from the shard that owns it."""
        owners = shards_of(ids, len(self.collections))
        for shard, collection in enumerate(self.collections):
            own = ids[owners == shard]
            if len(own):
                assert collection.delete(own).result(WAIT_S).deleted == len(own)

    def seal(self) -> None:
        """Put what is in heads into segments; segments that are there may be merged with it."""
        for collection in self.collections:
            collection.keeper._index.seal(1)
            collection.keeper.build_next(1)

    def merge(self) -> None:
        """Build whatever is due."""
        for collection in self.collections:
            while collection.keeper.build_next(1):
                pass

    @property
    def segments(self) -> list[int]:
        """Count the segments of each shard."""
        return [collection.info().segments for collection in self.collections]

    def search(self, request: SearchRequest) -> Hits:
        """Answer a search as a lone shard or a router would."""
        if len(self.collections) == 1:
            return self.collections[0].search(request)
        hits: Hits = self.fan(lambda fanout, deadline: fanout.search(request, deadline))
        return hits

    def fan(self, ask: Callable[[Fanout, Deadline], Any]) -> Any:
        """Ask a router's fan-out over these shards."""

        async def run() -> Any:
            shards = [CoreShard(collection) for collection in self.collections]
            known = KnownItems()
            placed = PlacedItems(shards, known, self.limits)
            fanout = Fanout(shards, placed, known, self.limits)
            return await ask(fanout, Deadline.of_call(None, WAIT_S))

        return asyncio.run(run())


@contextmanager
def cores(
    path: Path,
    shards: int,
    *,
    dim: int,
    metric: Metric = Metric.COSINE,
    id_type: IdType = IdType.INT64,
    filterable: Mapping[str, FieldType] | None = None,
    limits: Limits = _LIMITS,
    index: IndexConfig = _INDEX,
    m: int = 8,
    create: bool = True,
    **more: Any,
) -> Iterator[Cores]:
    """Open empty collections."""
    spec = CollectionSpec(NAME, dim, metric, id_type, m, 64, dict(filterable or {}))
    opened = [
        Collection(
            path / f"{shards}-{shard}",
            spec,
            1,
            limits,
            index,
            SearchConfig(),
            create=create,
            **more,
        )
        for shard in range(shards)
    ]
    try:
        yield Cores(opened, limits)
    finally:
        for collection in opened:
            collection.close()
