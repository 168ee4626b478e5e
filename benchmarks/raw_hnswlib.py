"""The yardstick: hnswlib in process, over the same partitions, with the same parameters."""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import hnswlib
import numpy as np
from workload import Floats, Ids

from fanlight.placement import shards_of


@dataclass(frozen=True, slots=True)
class RawHnswlib:
    """One hnswlib index a partition."""

    indexes: list[Any]
    build_s: float

    @classmethod
    def build(
        cls, base: Floats, partitions: int, m: int, ef_construction: int, ef: int
    ) -> RawHnswlib:
        """Insert the vectors, placed as the cluster places them, with all cores."""
        owner = shards_of(np.arange(len(base)), partitions)
        indexes = []
        started = time.perf_counter()
        for part in range(partitions):
            rows = np.flatnonzero(owner == part)
            index = hnswlib.Index("cosine", base.shape[1])
            index.init_index(len(rows), M=m, ef_construction=ef_construction)
            index.add_items(base[rows], rows)
            index.set_ef(ef)
            indexes.append(index)
        return cls(indexes, time.perf_counter() - started)

    def search(self, queries: Floats, k: int, threads: int) -> Ids:
        """Answer queries: search each partition in turn and merge."""
        found = [index.knn_query(queries, k=k, num_threads=threads) for index in self.indexes]
        ids = np.concatenate([labels for labels, _ in found], axis=1).astype(np.int64)
        distances = np.concatenate([distance for _, distance in found], axis=1)
        order = np.lexsort((ids, distances), axis=1)[:, :k]
        return np.take_along_axis(ids, order, axis=1)

    def batch_rate(self, queries: Floats, k: int, seconds: float) -> float:
        """Measure queries per second in batches, with all cores."""
        done, started = 0, time.perf_counter()
        while time.perf_counter() - started < seconds:
            self.search(queries, k, os.cpu_count() or 1)
            done += len(queries)
        return done / (time.perf_counter() - started)

    def single_rate(self, queries: Floats, k: int, seconds: float) -> float:
        """Measure single queries per second, from one thread a core."""
        deadline = time.perf_counter() + seconds

        def work(thread: int) -> int:
            done = 0
            while time.perf_counter() < deadline:
                at = (thread + done) % len(queries)
                self.search(queries[at : at + 1], k, 1)
                done += 1
            return done

        started = time.perf_counter()
        workers = os.cpu_count() or 1
        with ThreadPoolExecutor(workers) as pool:
            done = sum(pool.map(work, range(workers)))
        return done / (time.perf_counter() - started)
