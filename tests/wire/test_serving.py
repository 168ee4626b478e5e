"""Where a server listens, what its health says, and how it leaves."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from tests.wire.serving_shard import ServingShard, detail_of, search_message

from fanlight.config import ConfigError, ListenConfig
from fanlight.limits import Limits
from fanlight.v1 import search_pb2
from fanlight.wire.serving import SERVICES, CannotListen, Shell

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


def health_of(channel: Any) -> Any:
    """Make a stub of the standard health service, which has no types."""
    return health_pb2_grpc.HealthStub(channel)


async def test_health_says_serving_only_when_told() -> None:
    """A server that has started is NOT_SERVING, for itself and each service, until it is told."""
    shell = Shell(Limits())
    port = await shell.start(ListenConfig(port=0))
    address = f"127.0.0.1:{port}"
    async with grpc.aio.insecure_channel(address) as channel:
        for serving, state in ((None, NOT_SERVING), (True, SERVING), (False, NOT_SERVING)):
            if serving is not None:
                await shell.set_serving(serving)
            for service in ("", *SERVICES):
                request = health_pb2.HealthCheckRequest(service=service)
                assert (await health_of(channel).Check(request)).status == state
    await shell.drain(0)


async def test_a_service_can_be_withdrawn(shard: ServingShard) -> None:
    """Health says NOT_SERVING of it for good; of the others and of the server SERVING."""
    withdrawn = "fanlight.v1.ItemService"
    await shard.shell.withdraw([withdrawn])
    await shard.shell.set_serving(True)
    for service in ("", *SERVICES):
        request = health_pb2.HealthCheckRequest(service=service)
        answer = await health_of(shard.channel).Check(request)
        assert answer.status == (NOT_SERVING if service == withdrawn else SERVING)


async def test_a_watcher_of_health_sees_the_drain(shard: ServingShard) -> None:
    """Whoever watches the health of a server is told when it drains."""
    watch = health_of(shard.channel).Watch(health_pb2.HealthCheckRequest())
    assert (await watch.read()).status == SERVING
    drain = asyncio.create_task(shard.shell.drain(1))
    assert (await watch.read()).status == NOT_SERVING
    watch.cancel()
    await drain


async def test_reflection_lists_every_service(channel: Any) -> None:
    """A tool that knows nothing of Fanlight finds its services by reflection."""
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo()
    await call.write(reflection_pb2.ServerReflectionRequest(list_services=""))
    answer = await call.read()
    call.cancel()
    assert {s.name for s in answer.list_services_response.service} > {*SERVICES}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "example.org"])
async def test_only_loopback_is_bound_unless_told_otherwise(host: str) -> None:
    """A host that others can reach is refused, naming the key that allows it."""
    with pytest.raises(ConfigError, match=r"listen\.insecure"):
        await Shell(Limits()).start(ListenConfig(host=host, port=0))


async def test_all_interfaces_are_bound_where_the_network_is_trusted() -> None:
    """With `insecure: true` any host of this machine is bound."""
    shell = Shell(Limits())
    assert await shell.start(ListenConfig(host="0.0.0.0", port=0, insecure=True)) > 0
    await shell.drain(0)


async def test_reflection_can_be_left_out() -> None:
    """A server that is told so describes itself to nobody."""
    shell = Shell(Limits())
    port = await shell.start(ListenConfig(port=0, reflection=False))
    await shell.set_serving(True)
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        call: Any = channel.stream_stream(
            "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
        )
        assert await call().code() is grpc.StatusCode.UNIMPLEMENTED
    await shell.drain(0)


async def test_a_port_belongs_to_one_server(shard: ServingShard) -> None:
    """A second server on the same port is refused with the address, the reason and the owner."""
    expected = f"127.0.0.1:{shard.port}: address already in use by pid {os.getpid()} "
    with pytest.raises(CannotListen, match=expected):
        await Shell(Limits()).start(ListenConfig(port=shard.port))


async def test_a_socket_belongs_to_one_server(tmp_path: Path) -> None:
    """A second server on the same socket is refused with the owner, who keeps it."""
    path = tmp_path / "s.sock"
    first, second = Shell(Limits()), Shell(Limits())
    await first.start(ListenConfig(port=0, socket=str(path)))
    with pytest.raises(CannotListen, match=f"s.sock: in use by pid {os.getpid()} "):
        await second.start(ListenConfig(port=0, socket=str(path)))
    await second.drain(0)
    async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
        await asyncio.wait_for(channel.channel_ready(), 60)
    await first.drain(0)


async def test_a_drain_lets_calls_under_way_finish(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """A search that has begun is answered; one that comes later is not."""
    shard.movies.gate.clear()
    first = asyncio.ensure_future(shard.searches.Search(search_message()))
    await wait_until_async(lambda: shard.movies.searched)
    drain = asyncio.create_task(shard.shell.drain(10))
    await wait_until_async(lambda: shard.shell.is_draining)
    shard.movies.gate.set()
    assert len((await first).counts) == 4
    await drain


async def test_a_drain_ends_streams_when_their_answers_are_sent(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """A stream answers what it was asked, then ends UNAVAILABLE, long before the grace is over."""
    shard.movies.gate.clear()
    stream = cast(Any, shard.searches.SearchStream())
    tagged = search_pb2.TaggedSearch(tag=7, search=search_message())
    await stream.write(search_pb2.SearchStreamRequest(searches=[tagged]))
    await wait_until_async(lambda: shard.movies.searched)
    drain = asyncio.create_task(shard.shell.drain(60))
    await wait_until_async(lambda: shard.shell.is_draining)
    shard.movies.gate.set()
    response = await stream.read()
    assert [answer.tag for answer in response.answers] == [7]
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "draining" in detail_of(ended.value).message
    await asyncio.wait_for(drain, 5)


async def test_a_drain_ends_an_idle_stream(shard: ServingShard) -> None:
    """A stream on which nothing is asked does not hold up a drain."""
    stream = cast(Any, shard.searches.SearchStream())
    tagged = search_pb2.TaggedSearch(tag=7, search=search_message())
    await stream.write(search_pb2.SearchStreamRequest(searches=[tagged]))
    await stream.read()
    await asyncio.wait_for(shard.shell.drain(60), 5)
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        await stream.read()
    assert ended.value.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_drain_ends_at_its_grace(
    shard: ServingShard, wait_until_async: Callable[..., Awaitable[None]]
) -> None:
    """A call that does not finish within the grace is cut off."""
    shard.movies.gate.clear()
    call = asyncio.ensure_future(shard.searches.Search(search_message()))
    await wait_until_async(lambda: shard.movies.searched)
    await asyncio.wait_for(shard.shell.drain(0.1), 5)
    with pytest.raises(grpc.aio.AioRpcError):
        await call


async def test_a_socket_serves_beside_the_port(tmp_path: Path) -> None:
    """The same server answers on its Unix socket, and on one that a dead process left behind."""
    path = tmp_path / "a.sock"
    with socket.socket(socket.AF_UNIX) as left_behind:
        left_behind.bind(str(path))
    shell = Shell(Limits())
    await shell.start(ListenConfig(port=0, socket=str(path)))
    await shell.set_serving(True)
    assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, "for this user alone"
    try:
        async with grpc.aio.insecure_channel(f"unix:{path}") as channel:
            request = health_pb2.HealthCheckRequest()
            assert (await health_of(channel).Check(request)).status == SERVING
    finally:
        await shell.drain(0)


async def test_a_socket_that_cannot_be_bound_is_named(tmp_path: Path) -> None:
    """A socket in a folder that is not there is refused like a port in use."""
    path = tmp_path / "nowhere" / "a.sock"
    with pytest.raises(CannotListen, match=r"nowhere/a\.sock"):
        await Shell(Limits()).start(ListenConfig(port=0, socket=str(path)))
