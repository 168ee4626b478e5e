"""chromadb's own server as a process, asked over HTTP by its own client."""

# pyright: reportMissingImports=false
from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

import chromadb
import numpy as np
from chromadb.config import Settings

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
class ChromaEndpoint:
    """How to ask the server; its ef is the collection's and was set there."""

    port: int
    k: int

    @contextmanager
    def connect(self) -> Iterator[Search]:
        """Connect for threads."""
        client = chromadb.HttpClient(_HOST, self.port, settings=_settings())
        items = client.get_collection(_NAME, embedding_function=None)
        yield lambda queries: items.query(query_embeddings=queries, n_results=self.k, include=[])

    @asynccontextmanager
    async def connect_async(self) -> AsyncIterator[AsyncSearch]:
        """Connect for tasks."""
        client = await chromadb.AsyncHttpClient(_HOST, self.port, settings=_settings())
        items = await client.get_collection(_NAME, embedding_function=None)
        yield lambda queries: items.query(query_embeddings=queries, n_results=self.k, include=[])
        # The client itself has no way to close its connections (1.5.9), and they would pile up.
        await client._server.__aexit__(None, None, None)


class ChromaServer:
    """A running server with one collection."""

    label = "chromadb server"

    def __init__(self, setup: Setup) -> None:
        """Start the server and create the collection."""
        self._folder = setup.folder
        self._process = self._start()
        graph = {
            "space": "cosine",
            "max_neighbors": setup.m,
            "ef_construction": setup.ef_construction,
        }
        self._client().create_collection(
            _NAME, configuration={"hnsw": graph}, embedding_function=None
        )
        self._items = self._collection()
        self._ef = -1

    def _start(self) -> ServerProcess:
        argv = ("chroma", "run", "--path", str(self._folder), "--host", _HOST, "--port", "{port}")
        return ServerProcess(argv, self._folder, {"ANONYMIZED_TELEMETRY": "False"})

    def _client(self) -> Any:
        return chromadb.HttpClient(_HOST, self._process.port, settings=_settings())

    def _collection(self) -> Any:
        return self._client().get_collection(_NAME, embedding_function=None)

    def load(self, base: Floats) -> Loaded:
        """Add in batches, and search once: the first search puts all of them in the graph."""
        started = time.perf_counter()
        for first in range(0, len(base), _BATCH):
            part = base[first : first + _BATCH]
            ids = [str(first + row) for row in range(len(part))]
            self._items.add(ids=ids, embeddings=part)
        acknowledged = time.perf_counter() - started
        self._items.query(query_embeddings=base[:1], n_results=1, include=[])
        indexed = time.perf_counter() - started
        await_quiet([self._process.pid], _TIMEOUT_S)
        return Loaded(acknowledged, indexed, durable=True)

    def search(self, queries: Floats, k: int, ef: int) -> Ids:
        """Answer a batch."""
        self._set_ef(ef)
        found = self._items.query(query_embeddings=queries, n_results=k, include=[])
        return np.array([[int(i) for i in ids] for ids in found["ids"]], dtype=np.int64)

    def endpoint(self, k: int, ef: int) -> ChromaEndpoint:
        """Set the collection's ef, and tell how to ask it; earlier endpoints end with that."""
        self._set_ef(ef)
        return ChromaEndpoint(self._process.port, k)

    def _set_ef(self, ef: int) -> None:
        # chromadb 1.5.9 goes on with the old value until the index is opened again.
        if ef != self._ef:
            self._items.modify(configuration={"hnsw": {"ef_search": ef}})
            self._process.stop()
            self._process = self._start()
            self._items = self._collection()
            self._ef = ef

    def processes(self) -> Mapping[str, int]:
        """Tell the server's process id."""
        return {"server": self._process.pid}

    def close(self) -> None:
        """Stop the server."""
        self._process.stop()


def _settings() -> Settings:
    # A client writes its port into the settings it is given, so each gets its own.
    return Settings(anonymized_telemetry=False)
