"""Fanlight as an algorithm of ann-benchmarks: a cluster on loopback, asked through the SDK."""

# pyright: reportMissingImports=false
from __future__ import annotations

import contextlib
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from ann_benchmarks.algorithms.base.module import BaseANN
from numpy.typing import ArrayLike, NDArray

import fanlight as sdk
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig

_METRICS = {"angular": "cosine", "euclidean": "l2"}
_COLLECTION = "ann-benchmarks"
_TIMEOUT_S = 3_600.0
_LOOK_EVERY_S = 0.2
# Rows that a shard at rest keeps without a graph, because scanning them is faster
# (`server.index.idle_rows_min`).
_KEPT_UNINDEXED = 512


class Fanlight(BaseANN):  # type: ignore[misc]
    """A cluster that lives as long as the algorithm."""

    def __init__(self, metric: str, parameters: dict[str, int]) -> None:
        """Prepare; nothing is started.

        Args:
            metric: of ann-benchmarks: "angular" or "euclidean".
            parameters: "M", "efConstruction" and "shards".

        Raises:
            ValueError: Fanlight does not have the metric.
        """
        if metric not in _METRICS:
            raise ValueError(f"metric: expected one of {', '.join(_METRICS)}, got {metric}")
        self._metric = _METRICS[metric]
        self._parameters = parameters
        self._ef: int | None = None
        self._open = contextlib.ExitStack()
        self._cluster: LocalCluster | None = None
        self._items: Any = None
        self._found: list[list[int]] = []
        self.name = f"fanlight({parameters})"

    def fit(self, X: NDArray[Any]) -> None:
        """Start the cluster, write all vectors, and wait until all are in graphs."""
        shards = self._parameters["shards"]
        folder = self._open.enter_context(tempfile.TemporaryDirectory(prefix="fanlight-"))
        shape = ClusterShape(shards=shards, port=0, data=Path(folder))
        self._cluster = self._open.enter_context(LocalCluster(LocalConfig(cluster=shape)))
        client = self._open.enter_context(sdk.Client(self._cluster.address))
        self._items = client.create_collection(
            _COLLECTION,
            dim=X.shape[1],
            metric=self._metric,
            m=self._parameters["M"],
            ef_construction=self._parameters["efConstruction"],
        )
        self._items.upsert(np.arange(len(X)), X, progress=False, timeout=_TIMEOUT_S)
        while self._items.info().unindexed_items >= shards * _KEPT_UNINDEXED:
            time.sleep(_LOOK_EVERY_S)

    def set_query_arguments(self, ef: int) -> None:
        """Choose how many candidates a search keeps."""
        self._ef = ef
        self.name = f"fanlight({self._parameters}, ef_search={ef})"

    def query(self, v: ArrayLike, n: int) -> list[int]:
        """Find the ids of the n nearest."""
        return self._search(np.asarray(v, np.float32)[None], n)[0]

    def batch_query(self, X: ArrayLike, n: int) -> None:
        """Find them for many queries at once; see `get_batch_results`."""
        self._found = self._search(np.asarray(X, np.float32), n)

    def get_batch_results(self) -> list[list[int]]:
        """Give what the last batch found."""
        return self._found

    def _search(self, queries: NDArray[np.float32], n: int) -> list[list[int]]:
        hits = self._items.search(queries, k=n, ef_search=self._ef, timeout=_TIMEOUT_S)
        return [ids[:count].tolist() for ids, count in zip(hits.ids, hits.counts, strict=True)]

    def get_memory_usage(self) -> float:
        """Tell the resident memory of this process and the cluster's, in kB."""
        pids = [process.pid for process in self._cluster.processes] if self._cluster else []
        resident = [psutil.Process(pid).memory_info().rss for pid in pids]
        return (psutil.Process().memory_info().rss + sum(resident)) / 1024

    def done(self) -> None:
        """Stop the cluster."""
        self._open.close()
