"""How the wire tests start a shard server over the fake core."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import cast

import grpc
import numpy as np
from tests.wire.fakes import DIM, FakeCatalog, FakeCollection

from fanlight.config import ListenConfig
from fanlight.limits import Limits
from fanlight.model import SearchRequest
from fanlight.v1 import (
    cluster_pb2_grpc,
    collections_pb2_grpc,
    items_pb2_grpc,
    search_pb2_grpc,
    sets_pb2_grpc,
)
from fanlight.v1 import search_pb2 as search
from fanlight.v1 import types_pb2 as pb
from fanlight.wire import codec
from fanlight.wire.answers import AnswerRoom
from fanlight.wire.channels import channel_options
from fanlight.wire.security import Security
from fanlight.wire.serving import Shell
from fanlight.wire.status import ERROR_KEY
from fanlight_server.executor import SearchExecutor
from fanlight_server.service import (
    ClusterServicer,
    CollectionServicer,
    ItemServicer,
    SearchServicer,
)
from fanlight_server.set_service import SetServicer
from fanlight_server.workers import Workers


@dataclass(frozen=True)
class ServingShard:
    """A server that serves, and a channel to it."""

    shell: Shell
    catalog: FakeCatalog
    executor: SearchExecutor
    channel: grpc.aio.Channel
    port: int

    @property
    def movies(self) -> FakeCollection:
        return self.catalog.movies

    # The generated code has one stub class for both kinds of channel, its type stubs have two.

    @property
    def collections(self) -> collections_pb2_grpc.CollectionServiceAsyncStub:
        stub = collections_pb2_grpc.CollectionServiceStub(self.channel)
        return cast("collections_pb2_grpc.CollectionServiceAsyncStub", stub)

    @property
    def items(self) -> items_pb2_grpc.ItemServiceAsyncStub:
        stub = items_pb2_grpc.ItemServiceStub(self.channel)
        return cast("items_pb2_grpc.ItemServiceAsyncStub", stub)

    @property
    def searches(self) -> search_pb2_grpc.SearchServiceAsyncStub:
        stub = search_pb2_grpc.SearchServiceStub(self.channel)
        return cast("search_pb2_grpc.SearchServiceAsyncStub", stub)

    @property
    def cluster(self) -> cluster_pb2_grpc.ClusterServiceAsyncStub:
        stub = cluster_pb2_grpc.ClusterServiceStub(self.channel)
        return cast("cluster_pb2_grpc.ClusterServiceAsyncStub", stub)

    @property
    def first_elements(self) -> list[float]:
        """List the queries that reached the core, each by its first element."""
        vectors = [request.vectors for request in self.movies.searched]
        return [float(row[0]) for rows in vectors if rows is not None for row in rows]


@asynccontextmanager
async def serving_shard(
    limits: Limits, threads: int, security: Security | None = None
) -> AsyncIterator[ServingShard]:
    """Start a server and connect to it; stop it at the end."""
    shell, catalog, workers = Shell(limits, security), FakeCatalog(), Workers(4)
    executor = SearchExecutor(catalog.get, threads, limits)
    register(shell.grpc, catalog, executor, workers, limits)
    port = await shell.start(ListenConfig(port=0))
    await shell.set_serving(True)
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address, options=channel_options()) as channel:
        yield ServingShard(shell, catalog, executor, channel, port)
    catalog.movies.gate.set()
    await shell.drain(5)
    executor.close()
    workers.close()


def register(
    server: grpc.aio.Server,
    catalog: FakeCatalog,
    executor: SearchExecutor,
    workers: Workers,
    limits: Limits,
) -> None:
    """Add all servicers of a shard."""
    collections_pb2_grpc.add_CollectionServiceServicer_to_server(
        CollectionServicer(lambda: catalog, workers), server
    )
    answers = AnswerRoom(limits)
    items_pb2_grpc.add_ItemServiceServicer_to_server(
        ItemServicer(lambda: catalog, workers, answers), server
    )
    search_pb2_grpc.add_SearchServiceServicer_to_server(
        SearchServicer(executor, answers, lambda: catalog), server
    )
    sets_pb2_grpc.add_SetServiceServicer_to_server(SetServicer(lambda: catalog, workers), server)
    cluster_pb2_grpc.add_ClusterServiceServicer_to_server(
        ClusterServicer(lambda: catalog, workers, lambda: "here"), server
    )


def query(value: float = 1.0, k: int = 3, dim: int = DIM, **parameters: object) -> SearchRequest:
    """Make a search for one vector whose first element is `value`."""
    vectors = np.full((1, dim), value, dtype=np.float32)
    return SearchRequest("movies", vectors, k, **parameters)  # type: ignore[arg-type]  # by name


def search_message(value: float = 1.0, **parameters: object) -> search.SearchRequest:
    """Put `query` on the wire."""
    return codec.to_search(query(value, **parameters))  # type: ignore[arg-type]  # by name


def detail_of(error: grpc.aio.AioRpcError) -> pb.Error:
    """Read the structured detail of a failed call."""
    blobs = [value for key, value in error.trailing_metadata() if key == ERROR_KEY]
    assert len(blobs) == 1, "one detail"
    assert isinstance(blobs[0], bytes)
    return pb.Error.FromString(blobs[0])
