"""A Fanlight cluster of real processes on this machine: shards, and a router before them."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass

import numpy as np

import fanlight
from contenders.contract import Loaded, Setup
from contenders.processes import await_quiet
from fanlight.cli.local_cluster import LocalCluster
from fanlight.cli.local_config import load_local
from fanlight_server.index.settings import IndexConfig
from load.tasks import AsyncSearch
from load.threads import Search
from workload import Floats, Ids

NAME = "bench"
# How often the cluster is asked how far its index is.
_LOOK_EVERY_S = 0.02
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class FanlightEndpoint:
    """How to ask a cluster, or one of its shards."""

    address: str
    k: int
    ef: int

    @contextmanager
    def connect(self) -> Iterator[Search]:
        """Connect for threads."""
        with fanlight.Client(self.address) as client:
            items = client.collection(NAME)
            yield lambda queries: items.search(
                queries, k=self.k, ef_search=self.ef, timeout=_TIMEOUT_S
            )

    @asynccontextmanager
    async def connect_async(self) -> AsyncIterator[AsyncSearch]:
        """Connect for tasks."""
        async with fanlight.AsyncClient(self.address) as client:
            items = client.collection(NAME)
            yield lambda queries: items.search(
                queries, k=self.k, ef_search=self.ef, timeout=_TIMEOUT_S
            )


class FanlightCluster:
    """A running cluster with one collection."""

    def __init__(self, setup: Setup) -> None:
        """Start the processes and create the collection."""
        self._setup = setup
        overrides = (
            f"cluster.shards={setup.shards}",
            f"cluster.data={setup.folder}",
            "cluster.port=0",
            *setup.settings,
        )
        self._cluster = LocalCluster(load_local(None, overrides)).__enter__()
        self._client = fanlight.Client(self._cluster.address)
        self.items = self._client.create_collection(
            NAME, dim=setup.dim, m=setup.m, ef_construction=setup.ef_construction
        )

    @property
    def label(self) -> str:
        """Name it in tables."""
        number = self._setup.shards
        return f"fanlight, {number} shard{'s' if number > 1 else ''}"

    @property
    def address(self) -> str:
        """Tell where the router listens."""
        return self._cluster.address

    def load(self, base: Floats) -> Loaded:
        """Upsert all vectors and wait until all are in graphs and nothing is merged any more."""
        started = time.perf_counter()
        self.items.upsert(np.arange(len(base)), base, progress=False, timeout=_TIMEOUT_S)
        acknowledged = time.perf_counter() - started
        self.await_indexed()
        indexed = time.perf_counter() - started
        self.await_rest()
        return Loaded(acknowledged, indexed, durable=True)

    def await_indexed(self) -> None:
        """Wait until no shard has more rows without a graph than it keeps so at rest."""
        kept = self._setup.shards * IndexConfig().idle_rows_min
        deadline = time.monotonic() + _TIMEOUT_S
        while (unindexed := self.items.info().unindexed_items) >= kept:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{unindexed} items had no graph after {_TIMEOUT_S} s")
            time.sleep(_LOOK_EVERY_S)

    def await_rest(self) -> None:
        """Wait until the shards have nothing left to build or merge."""
        await_quiet(self.processes().values(), _TIMEOUT_S)
        self.await_indexed()

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch."""
        hits = self.items.search(queries, k=k, ef_search=ef, timeout=_TIMEOUT_S)
        return np.asarray(hits.ids, np.int64)

    def search_exactly(self, queries: Floats, k: int) -> Ids:
        """Answer a batch by comparing every item."""
        hits = self.items.search(queries, k=k, exact=True, timeout=_TIMEOUT_S)
        return np.asarray(hits.ids, np.int64)

    def endpoint(self, k: int, ef: int) -> FanlightEndpoint:
        """Tell how to ask the router."""
        return FanlightEndpoint(self._cluster.address, k, ef)

    def shard_endpoint(self, k: int, ef: int) -> FanlightEndpoint:
        """Tell how to ask the first shard directly: it offers the same service."""
        return FanlightEndpoint(self._cluster.process("shard-0").address, k, ef)

    def processes(self) -> Mapping[str, int]:
        """Tell the process ids of the shards and the router."""
        return {process.name: process.pid for process in self._cluster.processes}

    def close(self) -> None:
        """Stop the processes."""
        self._client.close()
        self._cluster.stop()
