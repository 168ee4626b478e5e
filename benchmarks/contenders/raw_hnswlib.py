"""The yardstick: hnswlib in process, as one index or over the cluster's partitions."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import hnswlib
import numpy as np

from contenders.contract import Loaded, Setup
from fanlight.placement import shards_of
from workload import Floats, Ids


def single(setup: Setup) -> RawHnswlib:
    """Make one index of all vectors."""
    return RawHnswlib(setup, 1)


def partitioned(setup: Setup) -> RawHnswlib:
    """Make one index for each of the cluster's shards, of the same vectors."""
    return RawHnswlib(setup, setup.shards)


class RawHnswlib:
    """One hnswlib index a partition, with the parameters of the cluster's graphs."""

    def __init__(self, setup: Setup, partitions: int) -> None:
        """Make empty indexes."""
        self._setup, self._partitions = setup, partitions
        self._indexes: list[Any] = []
        self._cores = os.cpu_count() or 1

    @property
    def label(self) -> str:
        """Name it in tables."""
        if self._partitions == 1:
            return "hnswlib, 1 index"
        return f"hnswlib, {self._partitions} partitions"

    def load(self, base: Floats) -> Loaded:
        """Insert the vectors, placed as the cluster places them, with all cores."""
        owner = shards_of(np.arange(len(base)), self._partitions)
        parts = [np.flatnonzero(owner == part) for part in range(self._partitions)]
        started = time.perf_counter()
        for rows in parts:
            index = hnswlib.Index("cosine", self._setup.dim)
            index.init_index(
                len(rows), M=self._setup.m, ef_construction=self._setup.ef_construction
            )
            index.add_items(base[rows], rows, num_threads=self._cores)
            self._indexes.append(index)
        took = time.perf_counter() - started
        return Loaded(took, took, durable=False)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Search each partition in turn with all cores, and merge."""
        return self._search(queries, k, ef, self._setup.search_threads)

    def search_one(self, query: Floats, k: int, ef: int) -> Ids:
        """Search each partition in turn with one core, and merge."""
        return self._search(query, k, ef, 1)

    def _search(self, queries: Floats, k: int, ef: int, threads: int) -> Ids:
        found = []
        for index in self._indexes:
            # One for the index, not for the call; within a measurement it stays the same.
            index.set_ef(max(ef, k))
            found.append(index.knn_query(queries, k=k, num_threads=threads))
        ids = np.concatenate([labels for labels, _ in found], axis=1).astype(np.int64)
        if len(found) == 1:
            return ids
        distances = np.concatenate([distance for _, distance in found], axis=1)
        best = np.argsort(distances, axis=1)[:, :k]
        return np.take_along_axis(ids, best, axis=1)

    def processes(self) -> Mapping[str, int]:
        """Tell of no process but this one."""
        return {}

    def close(self) -> None:
        """Free the indexes."""
        self._indexes.clear()
