"""A cluster of real processes for the faults of load, and what is asked of it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

import fanlight
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import ClusterShape, LocalConfig

COLLECTION = "steady"
# No graphs are built meanwhile, whose work would be taken for that of searches.
_INDEX = {"head_bytes": 64 << 20, "idle_s": 86_400.0}


@contextmanager
def loaded_cluster(
    rows: int, dim: int, seed: int, shards: int = 2, **programs: dict[str, Any]
) -> Iterator[LocalCluster]:
    """Run a cluster with one collection of random vectors.

    Args:
        rows: items, with ids from 0.
        dim: of the vectors.
        seed: of the vectors.
        shards: shard servers.
        programs: settings of the `server` and of the `router`.
    """
    vectors = np.random.default_rng(seed).standard_normal((rows, dim), dtype=np.float32)
    with tempfile.TemporaryDirectory() as folder:
        shape = ClusterShape(shards=shards, port=0, data=Path(folder) / "data")
        server = {"index": _INDEX, **programs.get("server", {})}
        config = LocalConfig(cluster=shape, server=server, router=programs.get("router", {}))
        with LocalCluster(config) as cluster:
            with fanlight.Client(cluster.address, timeout=120) as client:
                items = client.create_collection(
                    COLLECTION, dim=dim, filterable={"genre": "keyword"}
                )
                for start in range(0, rows, 10_000):
                    part = slice(start, start + 10_000)
                    items.upsert(np.arange(rows)[part], vectors[part])
            yield cluster


def crashes(cluster: LocalCluster) -> int:
    """Count the processes that have ended without being told to."""
    return sum(process.exit_status is not None for process in cluster.processes)


def resident_bytes(cluster: LocalCluster) -> int:
    """Tell the memory of the process that holds most."""
    return max(psutil.Process(p.pid).memory_info().rss for p in cluster.processes)
