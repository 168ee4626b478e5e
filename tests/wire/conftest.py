"""A real server on loopback, with a fake core behind it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import grpc
import pytest
from tests.wire.serving_shard import ServingShard, serving_shard

from fanlight.limits import Limits


@pytest.fixture
async def serve() -> AsyncIterator[Callable[..., Awaitable[ServingShard]]]:
    """Give `await serve(limits=..., threads=...)`, which starts a server for this test."""
    async with AsyncExitStack() as stack:

        async def start(limits: Limits | None = None, threads: int = 2) -> ServingShard:
            return await stack.enter_async_context(serving_shard(limits or Limits(), threads))

        yield start


@pytest.fixture
async def shard(serve: Callable[..., Awaitable[ServingShard]]) -> ServingShard:
    """Start a server with the usual limits."""
    return await serve()


@pytest.fixture
def channel(shard: ServingShard) -> grpc.aio.Channel:
    """Connect to `shard`."""
    return shard.channel
