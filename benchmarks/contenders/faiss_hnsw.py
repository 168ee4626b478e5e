"""faiss-cpu's HNSW over float32, in process."""

# pyright: reportMissingImports=false
from __future__ import annotations

import os
import time
from collections.abc import Mapping
from typing import Any

import faiss
import numpy as np

from contenders.contract import Loaded, Setup
from workload import Floats, Ids


class FaissHnsw:
    """One IndexHNSWFlat by inner product, over vectors of length 1."""

    label = "faiss, 1 index"

    def __init__(self, setup: Setup) -> None:
        """Make an empty index."""
        self._cores = os.cpu_count() or 1
        self._index: Any = faiss.IndexHNSWFlat(setup.dim, setup.m, faiss.METRIC_INNER_PRODUCT)
        self._index.hnsw.efConstruction = setup.ef_construction

    def load(self, base: Floats) -> Loaded:
        """Insert the vectors with all cores."""
        started = time.perf_counter()
        faiss.omp_set_num_threads(self._cores)
        self._index.add(_unit(base))
        took = time.perf_counter() - started
        return Loaded(took, took, durable=False)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch with all cores."""
        faiss.omp_set_num_threads(self._cores)
        return self._search(queries, k, ef)

    def search_one(self, query: Floats, k: int, ef: int) -> Ids:
        """Answer one query on the calling thread: faiss spreads queries, never one query."""
        return self._search(query, k, ef)

    def _search(self, queries: Floats, k: int, ef: int) -> Ids:
        parameters = faiss.SearchParametersHNSW(efSearch=max(ef, k))
        ids: Ids = self._index.search(_unit(queries), k, params=parameters)[1]
        return ids

    def processes(self) -> Mapping[str, int]:
        """Tell of no process but this one."""
        return {}

    def close(self) -> None:
        """Free the index."""
        self._index = None


def _unit(vectors: Floats) -> Floats:
    unit: Floats = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit
