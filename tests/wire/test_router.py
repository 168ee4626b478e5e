"""A whole router on loopback, over shard servers with a fake core."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from tests.wire.fakes import DIM, ITEMS, FakeCatalog
from tests.wire.router_pieces import query, shard_server
from tests.wire.serving_shard import detail_of

import fanlight
from fanlight.cluster import ShardState
from fanlight.config import ListenConfig
from fanlight.errors import InvalidRequest, NotFound, NotReady, PartialResult
from fanlight.placement import ShardIdentity, shards_of
from fanlight.v1 import search_pb2 as pb
from fanlight.v1 import search_pb2_grpc, types_pb2
from fanlight.wire import codec
from fanlight.wire.channels import channel_options
from fanlight.wire.serving import Shell
from fanlight_router.__main__ import Router
from fanlight_router.config import RouterConfig, TimeoutsConfig

SHARDS = 3


def identity(index: int) -> ShardIdentity:
    return ShardIdentity("test", index, SHARDS)


@dataclass
class Cluster:
    """A router and its shards.

    Attributes:
        client: talks to the router.
        channel: the same, for what the SDK does not offer.
        ports: of the shards.
        catalogs: the fake cores of the shards that run.
    """

    client: fanlight.AsyncClient
    channel: grpc.aio.Channel
    ports: list[int]
    catalogs: list[FakeCatalog]
    _running: list[AsyncExitStack]

    async def kill(self, index: int) -> None:
        """Stop a shard server at once."""
        await self._running[index].aclose()

    async def start(self, index: int, found: ShardIdentity | None = None) -> None:
        """Start a shard server at its old port, perhaps one of another identity."""
        stack = self._running[index]
        server = shard_server(found or identity(index), self.ports[index])
        self.catalogs[index], _ = await stack.enter_async_context(server)

    @property
    def movies(self) -> fanlight.AsyncCollection:
        return self.client.collection("movies")


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Start three shard servers and a router that looks at them every 100 ms."""
    async with AsyncExitStack() as all_of_it:
        running, catalogs, ports = [], [], []
        for index in range(SHARDS):
            stack = await all_of_it.enter_async_context(AsyncExitStack())
            catalog, port = await stack.enter_async_context(shard_server(identity(index)))
            running.append(stack)
            catalogs.append(catalog)
            ports.append(port)
        address = await all_of_it.enter_async_context(serving_router(ports))
        channel = grpc.aio.insecure_channel(address, options=channel_options())
        await all_of_it.enter_async_context(channel)
        client = await all_of_it.enter_async_context(fanlight.AsyncClient(address, max_attempts=1))
        yield Cluster(client, channel, ports, catalogs, running)


@asynccontextmanager
async def serving_router(ports: list[int]) -> AsyncIterator[str]:
    config = RouterConfig(
        cluster="test",
        listen=ListenConfig(port=0),
        shards=tuple(f"127.0.0.1:{port}" for port in ports),
        timeouts=TimeoutsConfig(probe_s=0.1),
    )
    shell, router = Shell(config.limits), Router(config)
    router.register(shell.grpc)
    port = await shell.start(config.listen)
    await router.open("", shell.withdraw)
    await shell.set_serving(True)
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await shell.drain(0)
        await router.close()


async def state_of(cluster: Cluster, index: int) -> ShardState:
    return (await cluster.client.status()).shards[index].state


# --- the services -----------------------------------------------------------------------------


async def test_a_search_goes_to_every_shard(cluster: Cluster) -> None:
    """The client gets the merged hits, and the coverage of the whole cluster."""
    movies = cluster.movies
    hits = await movies.search(np.ones((2, DIM), dtype=np.float32), k=3)
    assert hits.ids.shape == (2, 3)
    assert [len(catalog.movies.searched) for catalog in cluster.catalogs] == [1, 1, 1]
    coverage = hits.coverage
    assert (coverage.shards_answered, coverage.items_total) == (SHARDS, SHARDS * ITEMS)


async def test_the_search_reaches_the_shards_as_it_was(cluster: Cluster) -> None:
    """Vectors and parameters are passed on unchanged."""
    movies = cluster.movies
    queries = np.arange(DIM, dtype=np.float32)[None]
    await movies.search(queries, k=5, ef_search=77, exact=True, score_threshold=-2.0)
    for catalog in cluster.catalogs:
        (seen,) = catalog.movies.searched
        np.testing.assert_array_equal(seen.vectors, queries)
        assert (seen.k, seen.ef_search, seen.exact, seen.score_threshold) == (5, 77, True, -2.0)


async def test_searches_travel_through_a_router_in_streams_too(cluster: Cluster) -> None:
    """A router answers SearchStream as a shard does."""
    stub = cast(
        "search_pb2_grpc.SearchServiceAsyncStub", search_pb2_grpc.SearchServiceStub(cluster.channel)
    )
    stream: Any = stub.SearchStream()
    good, bad = codec.to_search(query(1, k=3)), codec.to_search(query(1, k=0))
    searches = [pb.TaggedSearch(tag=1, search=good), pb.TaggedSearch(tag=2, search=bad)]
    await stream.write(pb.SearchStreamRequest(searches=searches))
    answers: dict[int, pb.TaggedAnswer] = {}
    while len(answers) < 2:
        answers |= {answer.tag: answer for answer in (await stream.read()).answers}
    assert codec.from_hits(answers[1].response, 3).coverage.shards_answered == SHARDS
    assert answers[2].error.field == "k"
    stream.cancel()


async def test_items_are_written_and_read_where_they_belong(cluster: Cluster) -> None:
    """Upserts, deletes, gets and counts pass through, each row to its own shard."""
    movies = cluster.movies
    ids = np.arange(40)
    result = await movies.upsert(ids, np.ones((40, DIM), dtype=np.float32))
    assert result.written == 40
    assert (await movies.get(ids[::-1])).ids.tolist() == ids[::-1].tolist()
    assert (await movies.delete(ids)).deleted == 40
    assert await movies.count() == SHARDS * ITEMS
    owners = np.unique(shards_of(ids, SHARDS))
    assert owners.tolist() == [0, 1, 2]


async def test_collections_are_changed_on_all_shards(cluster: Cluster) -> None:
    """A creation and a deletion reach every shard with one version; the description adds up."""
    await cluster.client.create_collection("shows", dim=3)
    await cluster.client.delete_collection("movies")
    for catalog in cluster.catalogs:
        assert [(call[0], call[-1]) for call in catalog.calls] == [("create", 1), ("delete", 4)]
    (info,) = await cluster.client.list_collections()
    assert (info.spec.name, info.items, info.segments) == ("movies", SHARDS * ITEMS, SHARDS)


async def test_the_status_shows_every_shard(cluster: Cluster) -> None:
    """Identity, address and collections of each, in order, at the addresses of the map."""
    status = await cluster.client.status()
    assert [shard.identity for shard in status.shards] == [identity(i) for i in range(SHARDS)]
    assert [shard.address for shard in status.shards] == [f"127.0.0.1:{p}" for p in cluster.ports]
    assert {shard.items for shard in status.shards} == {ITEMS}
    assert status.complete


async def test_the_callers_faults_are_told_as_such(cluster: Cluster) -> None:
    """What all shards refuse comes back with its own class and field."""
    movies = cluster.movies
    with pytest.raises(InvalidRequest, match="vectors: expected dimension 4"):
        await movies.search(np.ones((1, DIM + 1), dtype=np.float32))
    with pytest.raises(NotFound):
        await cluster.client.collection("nobody").info()
    call = search_pb2_grpc.SearchServiceStub(cluster.channel).Search
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await cast("Any", call)(pb.SearchRequest(collection="movies", k=3))
    assert detail_of(caught.value).code == types_pb2.CODE_INVALID_ARGUMENT


# --- shards that come and go ------------------------------------------------------------------


async def test_a_killed_shard_is_named_and_the_others_may_answer(cluster: Cluster) -> None:
    """By default the search fails, naming it; a lower min_coverage gets the others' hits."""
    movies = cluster.movies
    queries = np.ones((1, DIM), dtype=np.float32)
    await cluster.kill(1)
    with pytest.raises(PartialResult, match=r"2 of 3 shards.*shard-1") as caught:
        await movies.search(queries)
    assert caught.value.coverage is not None
    assert caught.value.coverage.items_total == SHARDS * ITEMS
    hits = await movies.search(queries, min_coverage=0.5)
    assert [failure.shard for failure in hits.coverage.failures] == ["shard-1"]
    assert hits.coverage.items_covered == (SHARDS - 1) * ITEMS


async def test_a_shard_that_returns_is_used_within_about_a_second(cluster: Cluster) -> None:
    """At its old address, without touching the router."""
    movies = cluster.movies
    await cluster.kill(1)
    while await state_of(cluster, 1) is not ShardState.UNREACHABLE:
        pass  # each round is a call, so nothing is starved
    await cluster.start(1)
    back = time.monotonic()
    coverage = None
    while coverage is None or not coverage.complete:
        hits = await movies.search(np.ones((1, DIM), dtype=np.float32), min_coverage=0.5)
        coverage = hits.coverage
        assert time.monotonic() - back < 3
    assert cluster.catalogs[1].movies.searched


async def test_another_shard_at_the_address_is_sent_nothing(cluster: Cluster) -> None:
    """A shard of another place is refused as WrongShard naming both, and gets no call."""
    movies = cluster.movies
    await cluster.kill(1)
    await cluster.start(1, ShardIdentity("test", 2, SHARDS))
    queries = np.ones((1, DIM), dtype=np.float32)
    while await state_of(cluster, 1) is not ShardState.MISMATCHED:
        hits = await movies.search(queries, min_coverage=0.5)
        assert [failure.shard for failure in hits.coverage.failures] == ["shard-1"]
    with pytest.raises(PartialResult, match=r"shard-1 of 3 .* got shard-2 of 3"):
        await movies.search(queries)
    assert cluster.catalogs[1].movies.searched == []


async def test_a_hanging_shard_costs_at_most_the_deadline(cluster: Cluster) -> None:
    """The answer of the others comes before the caller's own deadline, and is marked."""
    movies = cluster.movies
    cluster.catalogs[2].movies.gate.clear()
    hits = await movies.search(np.ones((1, DIM), dtype=np.float32), min_coverage=0.5, timeout=1.0)
    (failure,) = hits.coverage.failures
    assert failure.shard == "shard-2"
    assert "in time" in str(failure.error)


async def test_a_router_serves_once_it_has_looked_at_every_shard() -> None:
    """Shards that are down do not keep a router from serving; what they lack is said."""
    async with shard_server(identity(0)) as (_, port):
        async with shard_server(identity(1)) as (_, closed):
            pass
        async with (
            serving_router([port, closed, closed]) as address,
            grpc.aio.insecure_channel(address) as channel,
            fanlight.AsyncClient(address, max_attempts=1) as client,
        ):
            health: Any = health_pb2_grpc.HealthStub(channel)
            answer = await health.Check(health_pb2.HealthCheckRequest())
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
            states = [shard.state for shard in (await client.status()).shards]
            assert states == [ShardState.SERVING, ShardState.UNREACHABLE, ShardState.UNREACHABLE]
            with pytest.raises(NotReady, match="shard-1: cannot be reached; shard-2"):
                await client.create_collection("shows", dim=3)
