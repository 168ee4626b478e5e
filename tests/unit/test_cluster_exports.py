"""Exports over shards: passed on as they come, in bounds, and a shard that fails ends alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import pytest
from tests.unit.fake_shards import soon

from fanlight.errors import FanlightError, InvalidRequest, NotFound, NotReady
from fanlight.exports import ExportRequest
from fanlight_router.exports import FailedShard, Part, export

REQUEST = ExportRequest("things")


class FakeExporting:
    """A shard of some messages.

    Attributes:
        sent: messages that were taken from it.
        fault: raised before message `fails_at`.
        is_closed: whether its stream was ended.
        asked: the requests that came.
    """

    def __init__(self, index: int, messages: int, fails_at: int | None = None) -> None:
        self.index, self.messages, self.fails_at = index, messages, fails_at
        self.fault: Exception = NotReady("cannot be reached")
        self.sent = 0
        self.is_closed = False
        self.asked: list[ExportRequest] = []

    async def export(self, request: ExportRequest, timeout_s: float) -> AsyncGenerator[bytes, None]:
        self.asked.append(request)
        try:
            for number in range(self.messages):
                await asyncio.sleep(0)
                if number == self.fails_at:
                    raise self.fault
                self.sent += 1
                yield b"%d:%d" % (self.index, number)
        finally:
            self.is_closed = True


async def all_of(shards: list[FakeExporting], request: ExportRequest = REQUEST) -> list[Part]:
    return [part async for part in export(shards, request, soon())]


async def test_every_message_comes_once_and_in_order() -> None:
    """Each shard's messages keep their order; all streams are closed."""
    shards = [FakeExporting(0, 5), FakeExporting(1, 1), FakeExporting(2, 9)]
    parts = await all_of(shards)
    for shard in shards:
        own = [
            part for part in parts if isinstance(part, bytes) and part[:1] == b"%d" % shard.index
        ]
        assert own == [b"%d:%d" % (shard.index, number) for number in range(shard.messages)]
        assert shard.is_closed
        assert shard.asked[0].shards == (shard.index,)
    assert len(parts) == 15


async def test_some_shards_only() -> None:
    """Only those that are named are asked; one that is none is refused by name."""
    shards = [FakeExporting(index, 2) for index in range(3)]
    assert len(await all_of(shards, ExportRequest("things", shards=(2,), after=4))) == 2
    assert [len(shard.asked) for shard in shards] == [0, 0, 1]
    assert shards[2].asked[0].after == 4
    with pytest.raises(InvalidRequest, match="shards: expected indexes below 3, got 3"):
        await all_of(shards, ExportRequest("things", shards=(3,)))


@pytest.mark.parametrize("fails_at", [0, 1, 4])
async def test_a_shard_that_fails_ends_alone(fails_at: int) -> None:
    """Whenever it fails, it is told with its reason, and the others are whole."""
    shards = [FakeExporting(0, 5), FakeExporting(1, 5, fails_at)]
    parts = await all_of(shards)
    (failed,) = [part for part in parts if isinstance(part, FailedShard)]
    assert (failed.shard, failed.error.message) == (1, "cannot be reached")
    assert len(parts) == 5 + fails_at + 1


async def test_what_all_shards_say_is_the_callers_fault() -> None:
    """Nothing is sent, and the error is the shards'."""
    shards = [FakeExporting(index, 3, fails_at=0) for index in range(3)]
    for shard in shards:
        shard.fault = NotFound("there is none")
    with pytest.raises(NotFound, match="there is none"):
        await all_of(shards)


async def test_shards_are_read_no_faster_than_the_caller_takes(
    wait_until_async: Callable[..., object],
) -> None:
    """What waits is bounded, however much the shards have; leaving early ends their streams."""
    shards = [FakeExporting(index, 10_000) for index in range(3)]
    async with aclosing(export(shards, REQUEST, soon())) as parts:
        for _ in range(10):
            await anext(parts)
        for _ in range(1_000):
            await asyncio.sleep(0)
        assert sum(shard.sent for shard in shards) <= 10 + 2 * len(shards) + 1
    assert all(shard.is_closed for shard in shards)


async def test_a_bug_in_a_shard_is_not_swallowed() -> None:
    shards = [FakeExporting(0, 3), FakeExporting(1, 3, fails_at=1)]
    shards[1].fault = ZeroDivisionError()
    with pytest.raises(ZeroDivisionError):
        await all_of(shards)


async def test_a_shard_that_stalls_costs_the_deadline() -> None:
    """It is told as late; the messages of the others have come by then."""

    class Stalling(FakeExporting):
        async def export(
            self, request: ExportRequest, timeout_s: float
        ) -> AsyncGenerator[bytes, None]:
            yield b"1:0"
            await asyncio.Event().wait()

    shards = [FakeExporting(0, 3), Stalling(1, 3)]
    parts = [part async for part in export(shards, REQUEST, soon(0.2))]
    failed = [part for part in parts if isinstance(part, FailedShard)]
    assert [part.shard for part in failed] == [1]
    assert isinstance(failed[0].error, FanlightError)
    assert len(parts) == 5
