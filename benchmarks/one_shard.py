"""One shard in process, all of whose rows stand in one graph, asked with a filter and without."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fanlight.filters import FieldType, Filter
from fanlight.limits import Limits
from fanlight.model import CollectionSpec, ItemBatch, SearchRequest
from fanlight_server.collection import Collection
from fanlight_server.index.settings import IndexConfig, SearchConfig
from workload import Floats, Workload

_ROWS_A_WRITE = 4_096


def opened(
    work: Workload, path: Path, columns: Mapping[str, NDArray[np.integer[Any]]]
) -> Collection:
    """Put the vectors into a collection in a folder, with a field of each column, or open it.

    All rows then stand in one graph, and ids are row numbers.

    Args:
        work: the vectors.
        path: the folder.
        columns: (rows,) of each field.
    """
    spec = CollectionSpec("bench", work.dim, filterable=dict.fromkeys(columns, FieldType.INT))
    index = IndexConfig(segments_max=1, idle_rows_min=1, unindexed_bytes=1 << 36)
    fresh = not (path / "items.db").exists()
    collection = Collection(path, spec, 1, Limits(), index, SearchConfig(threads=1), create=fresh)
    if fresh:
        _fill(collection, work, columns)
    info = collection.info()
    if (info.items, info.unindexed_items, info.segments) != (len(work.base), 0, 1):
        raise SystemExit(f"the shard in {path} holds other rows, or not in one graph: {info}")
    return collection


def _fill(
    collection: Collection, work: Workload, columns: Mapping[str, NDArray[np.integer[Any]]]
) -> None:
    for start in range(0, len(work.base), _ROWS_A_WRITE):
        rows = np.arange(start, min(start + _ROWS_A_WRITE, len(work.base)))
        fields = zip(*(column[rows].tolist() for column in columns.values()), strict=True)
        payloads = [json.dumps(dict(zip(columns, row, strict=True))).encode() for row in fields]
        collection.upsert(ItemBatch(rows, work.base[rows], payloads)).result()
    for _ in range(2):
        collection.keeper.seal_if_idle()
    while collection.keeper.build_next(2):
        pass


def cosines(queries: Floats, base: Floats) -> NDArray[np.float64]:
    """Compute the cosine of each query with each vector: (q, n) float64."""
    unit = [v / np.linalg.norm(v, axis=1, keepdims=True) for v in (queries, base)]
    scores: NDArray[np.float64] = unit[0].astype(np.float64) @ unit[1].astype(np.float64).T
    return scores


@dataclass(frozen=True, slots=True)
class Asked:
    """The same search with a filter and without."""

    collection: Collection
    request: SearchRequest
    filter: Filter

    def search(self, queries: Floats, *, filtered: bool) -> NDArray[np.int64]:
        """Give the (q, k) row numbers that are found of (q, dim) queries."""
        filter = self.filter if filtered else None
        request = SearchRequest(
            "bench", queries, self.request.k, ef_search=self.request.ef_search, filter=filter
        )
        ids: NDArray[Any] = self.collection.search(request).ids
        return ids

    def times(self, calls: Floats, rounds: int) -> tuple[float, float]:
        """Ask all calls with the filter and all without it in turns.

        Not each call twice: the second would find its rows in the processor's caches.

        Args:
            calls: (calls, queries of each, dim).
            rounds: turns.

        Returns:
            The time of all calls with the filter over that without, and the seconds of a call
            with it.
        """
        seconds = np.empty((rounds, 2, len(calls)))
        for turn in seconds:
            for of_all, filtered in zip(turn, (True, False), strict=True):
                for at, queries in enumerate(calls):
                    started = time.perf_counter()
                    self.search(queries, filtered=filtered)
                    of_all[at] = time.perf_counter() - started
        with_filter, without = seconds.min(axis=0).mean(axis=1)
        return float(with_filter / without), float(with_filter)


def recall_among(found: NDArray[np.int64], scores: NDArray[np.float64], k: int) -> float:
    """Compute the mean share of the k best allowed rows that were found.

    A row counts when it is allowed and scores what the k-th best scores, or more.

    Args:
        found: (q, k) row numbers, -1 for none.
        scores: (q, n), -infinity where a row is not allowed.
        k: hits that there are to find of each query.
    """
    floor = np.partition(scores, -k, axis=1)[:, -k] - 1e-6
    got = np.take_along_axis(scores, np.maximum(found, 0), axis=1)
    good = (found >= 0) & (got >= floor[:, None])
    return float(np.minimum(good.sum(axis=1), k).sum() / (k * len(found)))
