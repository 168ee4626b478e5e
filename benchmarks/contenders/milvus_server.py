"""milvus-lite's own server as a process, asked over gRPC by pymilvus."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from pymilvus import AsyncMilvusClient, DataType, MilvusClient

from contenders.contract import Loaded, Setup
from contenders.processes import ServerProcess, await_quiet
from load.tasks import AsyncSearch
from load.threads import Search
from workload import Floats, Ids

_NAME = "bench"
_HOST = "127.0.0.1"
_BATCH = 1_000
_TIMEOUT_S = 600.0


@dataclass(frozen=True, slots=True)
class MilvusEndpoint:
    """How to ask the server."""

    uri: str
    k: int
    ef: int

    @contextmanager
    def connect(self) -> Iterator[Search]:
        """Connect for threads."""
        client: Any = MilvusClient(self.uri)
        yield lambda queries: client.search(_NAME, data=list(queries), **_how(self.k, self.ef))
        client.close()

    @asynccontextmanager
    async def connect_async(self) -> AsyncIterator[AsyncSearch]:
        """Connect for tasks."""
        client: Any = AsyncMilvusClient(self.uri)
        yield lambda queries: client.search(_NAME, data=list(queries), **_how(self.k, self.ef))
        await client.close()


class MilvusServer:
    """A running server with one collection."""

    label = "milvus-lite server"

    def __init__(self, setup: Setup) -> None:
        """Start the server and create the collection."""
        argv = ("milvus-lite", "server", "--data-dir", str(setup.folder / "data"), "--host", _HOST)
        self._process = ServerProcess((*argv, "--port", "{port}"), setup.folder, {})
        self._uri = f"http://{_HOST}:{self._process.port}"
        self._client: Any = MilvusClient(self._uri)
        self._graph = {"M": setup.m, "efConstruction": setup.ef_construction}
        schema: Any = self._client.create_schema()
        schema.add_field("id", DataType.INT64, is_primary=True)
        schema.add_field("vector", DataType.FLOAT_VECTOR, dim=setup.dim)
        self._client.create_collection(_NAME, schema=schema)

    def load(self, base: Floats) -> Loaded:
        """Insert in batches, flush, and build the graphs."""
        started = time.perf_counter()
        for first in range(0, len(base), _BATCH):
            part = base[first : first + _BATCH]
            rows = [{"id": first + row, "vector": vector} for row, vector in enumerate(part)]
            self._client.insert(_NAME, rows, timeout=_TIMEOUT_S)
        self._client.flush(_NAME, timeout=_TIMEOUT_S)
        acknowledged = time.perf_counter() - started
        index: Any = self._client.prepare_index_params()
        index.add_index("vector", index_type="HNSW", metric_type="COSINE", params=self._graph)
        self._client.create_index(_NAME, index, timeout=_TIMEOUT_S)
        self._client.load_collection(_NAME, timeout=_TIMEOUT_S)
        indexed = time.perf_counter() - started
        await_quiet([self._process.pid], _TIMEOUT_S)
        return Loaded(acknowledged, indexed, durable=True)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch."""
        found = self._client.search(_NAME, data=list(queries), **_how(k, ef))
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        for row, hits in enumerate(found):
            ids[row, : len(hits)] = [hit["id"] for hit in hits]
        return ids

    def endpoint(self, k: int, ef: int) -> MilvusEndpoint:
        """Tell how to ask it."""
        return MilvusEndpoint(self._uri, k, ef)

    def processes(self) -> Mapping[str, int]:
        """Tell the server's process id."""
        return {"server": self._process.pid}

    def close(self) -> None:
        """Stop the server."""
        self._client.close()
        self._process.stop()


def _how(k: int, ef: int) -> dict[str, Any]:
    return {"limit": k, "search_params": {"params": {"ef": ef}}, "timeout": _TIMEOUT_S}
