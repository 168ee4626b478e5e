"""Every failure reaches the caller as a code and a detail, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np
import pytest
from structlog.testing import capture_logs
from tests.wire.fakes import DIM
from tests.wire.serving_shard import ServingShard, detail_of, search_message

from fanlight import errors
from fanlight.errors import FanlightError, NotReady, PartialResult
from fanlight.limits import Limits
from fanlight.model import Coverage, ItemBatch, ShardFailure
from fanlight.v1 import cluster_pb2, collections_pb2, items_pb2, search_pb2
from fanlight.v1 import types_pb2 as pb
from fanlight.wire import codec
from fanlight.wire.status import from_rpc_error

if TYPE_CHECKING:
    from fanlight.v1.search_pb2_grpc import SearchServiceAsyncStub

METHODS = [
    (f"/{service.full_name}/{method.name}", method.client_streaming)
    for module in (cluster_pb2, collections_pb2, items_pb2, search_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
]
COUNT = items_pb2.CountItemsRequest(collection="movies")
TABLE = [
    (errors.InvalidRequest, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.NotFound, grpc.StatusCode.NOT_FOUND),
    (errors.AlreadyExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.WrongShard, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.NotReady, grpc.StatusCode.UNAVAILABLE),
    (errors.Overloaded, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.DeadlineExceeded, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.Corruption, grpc.StatusCode.DATA_LOSS),
    (errors.Unauthenticated, grpc.StatusCode.UNAUTHENTICATED),
    (errors.PermissionDenied, grpc.StatusCode.PERMISSION_DENIED),
    (errors.InternalError, grpc.StatusCode.INTERNAL),
]


async def failure(call: Awaitable[object]) -> grpc.aio.AioRpcError:
    """Await a call that must fail."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    return caught.value


async def call_raw(channel: grpc.aio.Channel, path: str, streams: bool, blob: bytes) -> object:
    """Send bytes, valid or not, to a method."""
    if not streams:
        unary: Any = channel.unary_unary(path)
        return await unary(blob)
    stream: Any = channel.stream_stream(path)()
    await stream.write(blob)
    await stream.done_writing()
    return [answer async for answer in stream]


@pytest.mark.parametrize(("cls", "code"), TABLE, ids=lambda value: getattr(value, "__name__", ""))
async def test_each_error_class_has_its_code_and_its_detail(
    shard: ServingShard, cls: type[FanlightError], code: grpc.StatusCode
) -> None:
    """An error that the core raises arrives with its code, its class and all its fields."""
    shard.movies.fault = cls(
        "a sentence", field="k", expected="1 to 9", got="10", retry_after_s=2.5
    )
    error = await failure(shard.items.CountItems(COUNT))
    assert error.code() is code
    assert error.details() == "a sentence"
    raised = from_rpc_error(error)
    assert type(raised) is cls
    assert (raised.field, raised.expected, raised.got) == ("k", "1 to 9", "10")
    assert raised.retry_after_s == 2.5


async def test_a_partial_result_carries_the_coverage_of_a_large_cluster(
    shard: ServingShard,
) -> None:
    """A refusal for too few shards names each of a hundred failed shards."""
    failures = tuple(ShardFailure(f"shard-{i}", NotReady("connection refused")) for i in range(100))
    coverage = Coverage(101, 1, None, 5, failures)
    shard.movies.fault = PartialResult("; ".join(f.shard for f in failures), coverage=coverage)
    raised = from_rpc_error(await failure(shard.items.CountItems(COUNT)))
    assert isinstance(raised, PartialResult)
    assert raised.coverage is not None
    assert [f.shard for f in raised.coverage.failures] == [f.shard for f in failures]


async def test_a_bug_is_told_by_its_id_alone(shard: ServingShard) -> None:
    """What is not a FanlightError is INTERNAL without its text, and logged once, under the id."""
    shard.movies.fault = RuntimeError("secret: /var/lib/x")
    with capture_logs() as logs:
        error = await failure(shard.items.CountItems(COUNT))
    assert error.code() is grpc.StatusCode.INTERNAL
    told = str(error.details()) + str(detail_of(error))
    assert "secret" not in told
    assert "RuntimeError" not in told
    assert len(logs) == 1
    assert logs[0]["id"] in told
    assert logs[0]["exc_info"] is shard.movies.fault


async def test_a_bug_in_one_search_of_a_stream_is_told_by_its_id_alone(
    shard: ServingShard,
) -> None:
    """The same holds for the answer to one search of a stream."""
    shard.movies.fault = RuntimeError("secret")
    stream = shard.searches.SearchStream()
    with capture_logs() as logs:
        await stream.write(
            search_pb2.SearchStreamRequest(
                searches=[search_pb2.TaggedSearch(tag=1, search=search_message())]
            )
        )
        response = await stream.read()
    assert isinstance(response, search_pb2.SearchStreamResponse)
    error = response.answers[0].error
    assert error.code == pb.CODE_INTERNAL
    assert "secret" not in error.message
    assert logs[0]["id"] in error.message
    stream.cancel()


@pytest.mark.parametrize(("path", "streams"), METHODS)
async def test_every_method_refuses_a_malformed_message(
    shard: ServingShard, path: str, streams: bool
) -> None:
    """Bytes that are no protobuf message are INVALID_ARGUMENT, with a detail, on every method."""
    error = await failure(call_raw(shard.channel, path, streams, b"\xff\xff\xff"))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert detail_of(error).code == pb.CODE_INVALID_ARGUMENT
    assert "protobuf" in str(error.details())


@pytest.mark.parametrize(("path", "streams"), METHODS)
async def test_every_method_is_refused_until_the_server_serves(
    shard: ServingShard, path: str, streams: bool
) -> None:
    """A server that is not serving answers UNAVAILABLE on every method."""
    await shard.shell.set_serving(False)
    error = await failure(call_raw(shard.channel, path, streams, b""))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert detail_of(error).code == pb.CODE_UNAVAILABLE


async def test_a_call_past_the_limit_is_refused_at_once(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """With as many calls under way as allowed, the next is RESOURCE_EXHAUSTED; then it fits."""
    shard = await serve(Limits(in_flight=1))
    stub = shard.searches
    shard.movies.gate.clear()
    first = asyncio.ensure_future(stub.Search(search_message()))
    await wait_until_async(lambda: shard.movies.searched)
    error = await failure(stub.Search(search_message()))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert detail_of(error).retry_after_s > 0
    shard.movies.gate.set()
    await first
    await stub.Search(search_message())


async def test_a_message_past_the_limit_is_refused(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """A request larger than a message may be is RESOURCE_EXHAUSTED."""
    shard = await serve(Limits(message_bytes=65_536))
    batch = ItemBatch(np.arange(5_000), np.ones((5_000, DIM), dtype=np.float32))
    call = shard.items.UpsertItems(codec.to_upsert("movies", batch))
    error = await failure(call)
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_an_answer_past_the_limit_is_refused_in_words(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """An answer that would not fit a message says so, and what to do."""
    shard = await serve(Limits(message_bytes=65_536))
    request = items_pb2.ScrollItemsRequest(collection="movies", page_size=5_000)
    error = await failure(shard.items.ScrollItems(request))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "ask for less" in detail_of(error).message


async def test_a_search_whose_deadline_passes_is_not_started(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """While the only thread is busy, a search that runs out of time costs nothing."""
    shard = await serve(threads=1)
    stub = shard.searches
    shard.movies.gate.clear()
    first = asyncio.ensure_future(stub.Search(search_message(1)))
    await wait_until_async(lambda: shard.movies.searched)
    error = await failure(stub.Search(search_message(2), timeout=0.1))
    assert error.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    shard.movies.gate.set()
    await first
    await stub.Search(search_message(3))
    assert shard.first_elements == [1, 3]


async def test_a_search_whose_caller_is_gone_is_not_started(
    serve: Callable[..., Awaitable[ServingShard]],
    wait_until_async: Callable[..., Awaitable[None]],
) -> None:
    """A search that was cancelled while it waited never reaches the core."""
    shard = await serve(Limits(in_flight=2), threads=1)
    stub = shard.searches
    shard.movies.gate.clear()
    first = asyncio.ensure_future(stub.Search(search_message(1)))
    await wait_until_async(lambda: shard.movies.searched)
    second = stub.Search(search_message(2))
    await wait_until_async(lambda: shard.executor.n_waiting == 1)
    second.cancel()
    # Admitted, so the second is gone.
    third = await admitted(stub, wait_until_async)
    shard.movies.gate.set()
    await asyncio.gather(first, third)
    assert 2 not in shard.first_elements


async def admitted(
    stub: SearchServiceAsyncStub, wait_until_async: Callable[..., Awaitable[None]]
) -> asyncio.Future[Any]:
    """Try until a call stays, and return it."""
    calls: list[asyncio.Future[Any]] = []

    def stays() -> bool:
        if not calls or calls[-1].done():
            calls.append(asyncio.ensure_future(stub.Search(search_message(3))))
            return False
        return True

    await wait_until_async(stays)
    for call in calls[:-1]:
        call.exception()
    return calls[-1]


async def test_a_request_that_does_not_arrive_is_not_waited_for(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """A call whose message never comes ends by itself, and counts as nothing until then."""
    shard = await serve(Limits(receive_s=0.1, in_flight=1))
    silent: Any = shard.channel.stream_unary("/fanlight.v1.SearchService/Search")()
    await shard.searches.Search(search_message(1))
    with pytest.raises(grpc.aio.AioRpcError, match="receive_s") as caught:
        await silent
    assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    empty: Any = shard.channel.stream_unary("/fanlight.v1.SearchService/Search")(iter(()))
    with pytest.raises(grpc.aio.AioRpcError, match="no request") as caught:
        await empty
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_clients_of_grpc_are_told_when_to_come_again(
    serve: Callable[..., Awaitable[ServingShard]],
) -> None:
    """A refusal that time lifts carries gRPC's own advice beside ours."""
    shard = await serve(Limits(bytes_in_flight=65_536, message_bytes=1 << 20))
    with pytest.raises(grpc.aio.AioRpcError) as never:
        await shard.searches.Search(search_message(1, k=10_000))
    keys = [key for key, _ in never.value.trailing_metadata() or ()]
    assert "grpc-retry-pushback-ms" not in keys, "it would never fit"
    await shard.shell.set_serving(False)
    with pytest.raises(grpc.aio.AioRpcError) as later:
        await shard.searches.Search(search_message(1))
    assert ("grpc-retry-pushback-ms", "1000") in [*(later.value.trailing_metadata() or ())]
