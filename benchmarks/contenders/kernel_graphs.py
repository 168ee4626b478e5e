"""Fanlight's kernel in process, without a cluster: what the walk alone can do."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

import fanlight_kernel as kernel
from contenders.contract import Loaded, Setup
from fanlight.placement import shards_of
from workload import Floats, Ids


@dataclass(frozen=True, slots=True)
class _Part:
    graph: Any
    ids: Ids


class KernelGraphs:
    """One graph for each of the cluster's shards, of the same vectors."""

    def __init__(self, setup: Setup) -> None:
        """Prepare; nothing is built."""
        self._setup = setup
        self._parts: list[_Part] = []
        self._cores = os.cpu_count() or 1

    @property
    def label(self) -> str:
        """Name it in tables."""
        number = self._setup.shards
        return "kernel, 1 graph" if number == 1 else f"kernel, {number} partitions"

    def load(self, base: Floats) -> Loaded:
        """Build the graphs with all cores, and the codes."""
        owner = shards_of(np.arange(len(base)), self._setup.shards)
        started = time.perf_counter()
        for part in range(self._setup.shards):
            self._parts.append(self._build(base, np.flatnonzero(owner == part)))
        took = time.perf_counter() - started
        return Loaded(took, took, durable=False)

    def _build(self, base: Floats, ids: Ids) -> _Part:
        setup = self._setup
        vectors = np.ascontiguousarray(base[ids])
        lengths = kernel.lengths(vectors)
        codes = kernel.encode("cosine", vectors, lengths)
        builder = kernel.Builder("cosine", codes, setup.dim, setup.m, setup.ef_construction)
        builder.add(len(codes), self._cores)
        rows = kernel.Rows("cosine", vectors, lengths, ids, codes)
        return _Part(kernel.Graph(rows, *builder.finish()), ids)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Search each partition in turn with all cores, and merge."""
        return self._search(queries, k, ef, self._setup.search_threads)

    def search_one(self, query: Floats, k: int, ef: int) -> Ids:
        """Search each partition in turn with one core, and merge."""
        return self._search(query, k, ef, 1)

    def _search(self, queries: Floats, k: int, ef: int, threads: int) -> Ids:
        found = [part.graph.search(queries, k, max(ef, k), threads=threads) for part in self._parts]
        each = [_ids(part.ids, hits.rows) for part, hits in zip(self._parts, found, strict=True)]
        if len(each) == 1:
            return each[0]
        ids = np.concatenate(each, axis=1)
        # The score of a missing hit is NaN, which sorts last.
        scores = np.concatenate([hits.scores for hits in found], axis=1)
        best = np.argsort(-scores, axis=1)[:, :k]
        return np.take_along_axis(ids, best, axis=1)

    def processes(self) -> Mapping[str, int]:
        """Tell of no process but this one."""
        return {}

    def close(self) -> None:
        """Free the graphs."""
        self._parts.clear()


def _ids(ids: Ids, rows: Ids) -> Ids:
    found: Ids = ids[rows]
    found[rows < 0] = -1
    return found
