"""Shard servers for the router's tests: one that scripts its streams, one that is nearly real."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeAlias

import grpc
import numpy as np
from tests.wire.fakes import DIM, FakeCatalog
from tests.wire.serving_shard import register

from fanlight.config import ListenConfig
from fanlight.limits import Limits
from fanlight.model import Coverage, Hits, SearchRequest
from fanlight.placement import ShardIdentity
from fanlight.v1 import search_pb2 as pb
from fanlight.v1 import search_pb2_grpc
from fanlight.wire import codec
from fanlight.wire.serving import Shell
from fanlight_router.remote import RemoteShard, SearchEncoder
from fanlight_server.executor import SearchExecutor
from fanlight_server.workers import Workers

_Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Answer: TypeAlias = Callable[[pb.TaggedSearch], pb.TaggedAnswer | None]


def found(value: int, k: int = 1) -> Hits:
    """Make hits for one query, all of one id."""
    ids = np.full((1, k), value, dtype=np.int64)
    scores = np.ones((1, k), dtype=np.float32)
    return Hits(ids, scores, np.array([k]), Coverage(1, 1, 1, 1))


def echo(search: pb.TaggedSearch) -> pb.TaggedAnswer:
    """Answer a search with its query's first element as the id of its only hit."""
    request = codec.from_search(search.search)
    assert request.vectors is not None
    return pb.TaggedAnswer(
        tag=search.tag, response=codec.to_hits(found(int(request.vectors[0, 0])))
    )


class ScriptedSearches(search_pb2_grpc.SearchServiceServicer):
    """Streams whose answers the test decides.

    Attributes:
        messages: the messages that came, on all streams.
        gate: answers wait for it; open at first.
        answer: makes the answer of a search; None for no answer.
        break_at: the stream breaks instead of answering while it is set.
    """

    def __init__(self) -> None:
        self.messages: list[pb.SearchStreamRequest] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.answer: Answer = echo
        self.break_at: grpc.StatusCode | None = None

    @property
    def values(self) -> list[float]:
        """List the queries that came, each by its first element."""
        searches = [search for message in self.messages for search in message.searches]
        return [float(codec.from_matrix(s.search.vectors, "vectors")[0, 0]) for s in searches]

    async def Search(self, request: pb.SearchRequest, context: _Context) -> pb.SearchResponse:
        raise AssertionError("a router searches in streams")

    async def Explain(self, request: pb.ExplainRequest, context: _Context) -> pb.ExplainResponse:
        raise AssertionError("nothing is explained here")

    async def SearchStream(
        self, request_iterator: AsyncIterator[pb.SearchStreamRequest], context: _Context
    ) -> AsyncIterator[pb.SearchStreamResponse]:
        async for message in request_iterator:
            self.messages.append(message)
            await self.gate.wait()
            if self.break_at is not None:
                await context.abort(self.break_at, "127.0.0.1 broke")
            made = [self.answer(search) for search in message.searches]
            yield pb.SearchStreamResponse(answers=[answer for answer in made if answer is not None])


@asynccontextmanager
async def scripted_shard(
    message_bytes: int = 8 << 20,
) -> AsyncIterator[tuple[ScriptedSearches, RemoteShard]]:
    """Start such a server, and connect a remote shard to it, admitted."""
    searches = ScriptedSearches()
    options = [("grpc.max_receive_message_length", message_bytes), ("grpc.so_reuseport", 0)]
    server = grpc.aio.server(options=options)
    search_pb2_grpc.add_SearchServiceServicer_to_server(searches, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    identity = ShardIdentity("test", 1, 3)
    shard = RemoteShard(identity, f"127.0.0.1:{port}", SearchEncoder(), message_bytes)
    shard.admit()
    try:
        yield searches, shard
    finally:
        await shard.close()
        searches.gate.set()
        await server.stop(None)


@asynccontextmanager
async def shard_server(
    identity: ShardIdentity, port: int = 0
) -> AsyncIterator[tuple[FakeCatalog, int]]:
    """Start a shard server over a fake core; give the core and the port."""
    limits = Limits()
    shell, catalog, workers = Shell(limits), FakeCatalog(), Workers(2)
    catalog.identity = identity
    executor = SearchExecutor(catalog.get, 1, limits)
    register(shell.grpc, catalog, executor, workers, limits)
    bound = await shell.start(ListenConfig(port=port))
    await shell.set_serving(True)
    try:
        yield catalog, bound
    finally:
        catalog.movies.gate.set()
        await shell.drain(0)
        executor.close()
        workers.close()


def query(value: float, k: int = 1, dim: int = DIM, n: int = 1, **more: Any) -> SearchRequest:
    """Make n searches for a vector whose elements are `value`."""
    vectors = np.full((n, dim), value, dtype=np.float32)
    return SearchRequest("movies", vectors, k, **more)
