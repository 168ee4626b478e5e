"""Exports of several shards as one stream.

Laws: knows streams and asyncio, neither channels nor messages: what a shard sends is passed on as
it came. A shard is read no faster than the caller takes: at most one message of each waits, and
one is on its way. A shard that fails ends alone; the others go on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol, TypeAlias

from fanlight.errors import DeadlineExceeded, FanlightError, InvalidRequest
from fanlight.exports import ExportRequest
from fanlight_router.deadline import Deadline
from fanlight_router.gather import gather

Stream: TypeAlias = AsyncGenerator[bytes, None]


class ExportingShard(Protocol):
    """What an export asks of a shard; raises as `fanlight_router.shards.Shard` does."""

    def export(self, request: ExportRequest, timeout_s: float) -> Stream:
        """Give the messages of this shard, encoded."""
        ...


@dataclass(frozen=True, slots=True)
class FailedShard:
    """The end of a shard's part that is not whole.

    Attributes:
        shard: its index.
        error: why.
    """

    shard: int
    error: FanlightError


Part: TypeAlias = bytes | FailedShard


async def export(
    shards: Sequence[ExportingShard], request: ExportRequest, deadline: Deadline
) -> AsyncGenerator[Part, None]:
    """Give what the shards send, each one's messages in order, and which of them failed.

    Raises:
        InvalidRequest: a shard that is none, or as all shards say.
        FanlightError: the fault that all shards agree on, before anything was sent.
    """
    wanted = _wanted(request, len(shards))
    left_s = deadline.left_s()
    streams = {
        index: shards[index].export(replace(request, shards=(index,)), left_s) for index in wanted
    }
    try:
        firsts = await gather({i: anext(stream) for i, stream in streams.items()}, left_s)
        if firsts.verdict is not None:
            raise firsts.verdict
        for first in firsts.answers.values():
            yield first
        for index, error in firsts.failures.items():
            yield FailedShard(index, error)
        rest = {index: streams[index] for index in firsts.answers}
        async with aclosing(_together(rest, deadline)) as parts:
            async for part in parts:
                yield part
    finally:
        for stream in streams.values():
            await stream.aclose()


def _wanted(request: ExportRequest, count: int) -> list[int]:
    wanted = sorted(set(request.shards)) or list(range(count))
    if wanted[-1] >= count:
        raise InvalidRequest.of_field("shards", f"indexes below {count}", str(wanted[-1]))
    return wanted


async def _together(
    streams: Mapping[int, Stream], deadline: Deadline
) -> AsyncGenerator[Part, None]:
    """Give the messages of streams in the order in which they come, until all have ended."""
    arrived: asyncio.Queue[Part | None] = asyncio.Queue(maxsize=max(1, len(streams)))
    readers = [
        asyncio.create_task(_read(index, stream, arrived, deadline))
        for index, stream in streams.items()
    ]
    try:
        running = len(readers)
        while running:
            part = await arrived.get()
            if part is None:
                running -= 1
            else:
                yield part
        for reader in readers:
            reader.result()
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(
    index: int, stream: Stream, arrived: asyncio.Queue[Part | None], deadline: Deadline
) -> None:
    """Pass on one stream, and say when it has ended and how."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout_at(loop.time() + deadline.left_s()):
            async for message in stream:
                await arrived.put(message)
    except TimeoutError:
        await arrived.put(FailedShard(index, DeadlineExceeded("sent not all items in time")))
    except FanlightError as error:
        await arrived.put(FailedShard(index, error))
    except Exception:
        await arrived.put(None)  # a bug, which `_together` raises
        raise
    await arrived.put(None)
