"""qdrant-edge-py: a Qdrant shard in process, on disk, with its write-ahead log."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
import qdrant_edge as qdrant

from contenders.contract import Loaded, Setup
from workload import Floats, Ids

_BATCH = 1_000
# Kilobytes of vectors past which a segment gets a graph: all do.
_INDEX_FROM_KB = 1


class QdrantShard:
    """One shard, optimised after loading into as few segments as it makes."""

    label = "qdrant-edge, 1 shard"

    def __init__(self, setup: Setup) -> None:
        """Create an empty shard."""
        graph = qdrant.HnswIndexConfig(
            m=setup.m, ef_construct=setup.ef_construction, full_scan_threshold=_INDEX_FROM_KB
        )
        vectors = qdrant.EdgeVectorParams(setup.dim, qdrant.Distance.Cosine, hnsw_config=graph)
        optimizers = qdrant.EdgeOptimizersConfig(
            indexing_threshold=_INDEX_FROM_KB, default_segment_number=1
        )
        config = qdrant.EdgeConfig(vectors=vectors, hnsw_config=graph, optimizers=optimizers)
        self._shard: Any = qdrant.EdgeShard.create(str(setup.folder), config)

    def load(self, base: Floats) -> Loaded:
        """Upsert in batches, flush, and optimise."""
        started = time.perf_counter()
        for first in range(0, len(base), _BATCH):
            points = [
                qdrant.Point(first + row, vector)
                for row, vector in enumerate(base[first : first + _BATCH].tolist())
            ]
            self._shard.update(qdrant.UpdateOperation.upsert_points(points))
        self._shard.flush()
        acknowledged = time.perf_counter() - started
        self._shard.optimize()
        return Loaded(acknowledged, time.perf_counter() - started, durable=True)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch; the shard's own threads do."""
        requests = [
            qdrant.QueryRequest(k, query=_nearest(query), params=_parameters(ef))
            for query in queries.tolist()
        ]
        found = self._shard.query_batch(qdrant.QueryBatchRequest(requests))
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        for row, points in enumerate(found):
            ids[row, : len(points)] = [point.id for point in points]
        return ids

    def search_one(self, query: Floats, k: int, ef: int) -> object:
        """Answer one query."""
        request = qdrant.SearchRequest(_nearest(query[0].tolist()), k, params=_parameters(ef))
        return self._shard.search(request)

    def processes(self) -> Mapping[str, int]:
        """Tell of no process but this one."""
        return {}

    def close(self) -> None:
        """Close the shard."""
        self._shard.close()


def _nearest(query: list[float]) -> Any:
    return qdrant.Query.Nearest(query)


def _parameters(ef: int) -> Any:
    return qdrant.SearchParams(hnsw_ef=ef)
